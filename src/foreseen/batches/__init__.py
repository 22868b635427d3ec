"""What a step of training learns from: one file for each kind of batch, with its spec, batch and sampler."""

from foreseen.batches.images import ImageBatch, ImageSampler, ImageSpec
from foreseen.batches.rays import RayBatch, RaySampler, RaySpec

__all__ = ["ImageBatch", "ImageSampler", "ImageSpec", "RayBatch", "RaySampler", "RaySpec"]
