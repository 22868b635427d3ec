"""Batches of whole images: spec, batch and sampler."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from foreseen.batches.sampler import FrameSampler
from foreseen.core.batch import BatchSpec, samples
from foreseen.geometry.cameras import Camera


@dataclass(frozen=True)
class ImageSpec(BatchSpec):
    """How images are drawn.

    Attributes:
        images: images in a batch.
        layers: names of the layers that a batch carries (see `foreseen.data.layers`).
    """

    images: int = 1
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageBatch:
    """B whole pictures.

    Attributes:
        cameras: that took them.
        images: `[H, W, 3]` each, alpha composited on the stated background.
        alphas: `[H, W]` each; empty where the images have no opacity.
        times: `[B]`, in the data set's unit.
        sequences: `[B]` int64, index of the sequence.
        time_indices: `[B]` int64, index into `SceneInfo.times[sequence]`.
        layers: name -> B tensors `[H, W]` or `[H, W, C]`, as `LayerStore` reads them.
    """

    cameras: tuple[Camera, ...]
    images: tuple[Tensor, ...]
    alphas: tuple[Tensor, ...]
    times: Tensor
    sequences: Tensor
    time_indices: Tensor
    layers: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)

    @property
    def pixels(self) -> int:
        """Number of pixels in the batch."""
        return sum(image.shape[0] * image.shape[1] for image in self.images)

    def to(self, device: torch.device) -> ImageBatch:
        """The same batch on another device; cameras stay where they are."""
        return replace(
            self,
            images=tuple(image.to(device) for image in self.images),
            alphas=tuple(alpha.to(device) for alpha in self.alphas),
            times=self.times.to(device),
            sequences=self.sequences.to(device),
            time_indices=self.time_indices.to(device),
            layers={name: tuple(x.to(device) for x in values) for name, values in self.layers.items()},
        )


@samples(ImageSpec)
class ImageSampler(FrameSampler):
    """Draws batches of whole pictures."""

    def batch(self, spec: ImageSpec, step: int) -> ImageBatch:
        """The next batch: `spec.images` pictures, on the CPU."""
        del step
        drawn = torch.randint(len(self.frames), (spec.images,), generator=self.generator)
        pictures = [self.colors_of(self.store.picture(i), self.backgrounds[i]) for i in drawn.tolist()]
        return ImageBatch(
            cameras=tuple(self.frames[i].camera for i in drawn.tolist()),
            images=tuple(image for image, _ in pictures),
            alphas=tuple(alpha for _, alpha in pictures if alpha is not None),
            times=self.times[drawn],
            sequences=self.sequences[drawn],
            time_indices=self.time_indices[drawn],
            layers={name: tuple(self.layer(name).picture(i) for i in drawn.tolist()) for name in spec.layers},
        )
