"""What a step of training learns from: one file for each kind of batch, with its spec, batch and sampler."""

from foreseen.batches.clips import ClipBatch, ClipSampler, ClipSpec
from foreseen.batches.images import ImageBatch, ImageSampler, ImageSpec
from foreseen.batches.neighbours import RayNeighbours
from foreseen.batches.rays import RayBatch, RaySampler, RaySpec
from foreseen.batches.trajectories import TrajectoryBatch, TrajectorySampler, TrajectorySpec

__all__ = [
    "ClipBatch",
    "ClipSampler",
    "ClipSpec",
    "ImageBatch",
    "ImageSampler",
    "ImageSpec",
    "RayBatch",
    "RayNeighbours",
    "RaySampler",
    "RaySpec",
    "TrajectoryBatch",
    "TrajectorySampler",
    "TrajectorySpec",
]
