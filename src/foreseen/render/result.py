"""What rendering gives: rays in training, whole pictures elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class RayResult:
    """What N rays see.

    Attributes:
        rgb: `[N, 3]`, composited on the scene's background.
        depth: `[N]` sum of the distances along the ray, each weighted by its sample's weight: 0 where nothing is seen;
            divided by `opacity` it is the expected distance. In scene units, or in 0..1 for rays in normalised device
            coordinates, where a distance s stands for near / (1 - s) along z.
        opacity: `[N]` in 0..1: the sum of the weights, 1 minus the transmittance of the whole ray.
        coarse_rgb: `[N, 3]` of the coarse network of a pair, else None.
        samples: number of points at which the scene was evaluated, for all rays together.
        channels: extra channels of the scene by name, `[N, C]` each, composited with the same weights as the colour on
            a background of 0.
        sample_weights: `[N, S]` weight of each sample, where the caller asked for samples, else None.
        sample_distances: `[N, S]` distance of each sample along its ray, as above.
    """

    rgb: Tensor
    depth: Tensor
    opacity: Tensor
    coarse_rgb: Tensor | None = None
    samples: int = 0
    channels: dict[str, Tensor] = field(default_factory=dict)
    sample_weights: Tensor | None = None
    sample_distances: Tensor | None = None


@dataclass(frozen=True)
class ImageResult:
    """What a camera sees, on the CPU.

    Attributes:
        rgb: `[H, W, 3]`, as in `RayResult`.
        depth, opacity: `[H, W]`, as in `RayResult`.
        channels: extra channels of the scene by name, `[H, W, C]` each.
    """

    rgb: Tensor
    depth: Tensor
    opacity: Tensor
    channels: dict[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def concatenate(results: Sequence[ImageResult]) -> ImageResult:
        """Joins results along their first axis, such as bands of lines of one picture."""
        rgb, depth, opacity = (torch.cat([getattr(r, name) for r in results]) for name in ("rgb", "depth", "opacity"))
        channels = {name: torch.cat([r.channels[name] for r in results]) for name in results[0].channels}
        return ImageResult(rgb, depth, opacity, channels)
