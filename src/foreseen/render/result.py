"""What rendering gives: rays in training, images afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class RayResult:
    """What N rays see.

    Attributes:
        rgb: `[N, 3]`, composited on the scene's background.
        depth: `[N]` distance along the ray weighted by each sample's contribution: 0 where nothing is seen;
            divided by `opacity`, the expected distance of what is. In scene units, or in 0..1 for rays in
            normalised device coordinates, where a distance s stands for near / (1 - s) along z.
        opacity: `[N]` in 0..1: the share of the light that does not come from the background.
        coarse_rgb: `[N, 3]` of the coarse network of a pair, else None.
        samples: how many points were looked at for all rays together.
    """

    rgb: Tensor
    depth: Tensor
    opacity: Tensor
    coarse_rgb: Tensor | None = None
    samples: int = 0


@dataclass(frozen=True)
class ImageResult:
    """What a camera sees, on the CPU: `rgb` `[H, W, 3]`, `depth` and `opacity` `[H, W]` as in `RayResult`."""

    rgb: Tensor
    depth: Tensor
    opacity: Tensor
