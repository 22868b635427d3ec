"""Batches of whole pictures."""

from __future__ import annotations

import torch

from foreseen.methods.base import BatchSpec, ImageBatch
from foreseen.training.sampler import FrameSampler


class ImageSampler(FrameSampler):
    """Draws `ImageBatch`es as a `BatchSpec` asks."""

    def batch(self, spec: BatchSpec, step: int) -> ImageBatch:
        """The next batch: `spec.images` pictures, on the CPU."""
        del step
        drawn = torch.randint(len(self.frames), (spec.images,), generator=self.generator)
        pictures = [self.colors_of(self.store.picture(i)) for i in drawn.tolist()]
        return ImageBatch(
            cameras=tuple(self.frames[i].camera for i in drawn.tolist()),
            images=tuple(image for image, _ in pictures),
            alphas=tuple(alpha for _, alpha in pictures if alpha is not None),
            times=self.times[drawn],
            sequences=self.sequences[drawn],
            time_indices=self.time_indices[drawn],
        )
