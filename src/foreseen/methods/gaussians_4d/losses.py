"""What keeps the planes smooth."""

from __future__ import annotations

import torch
from torch import Tensor

from foreseen.nn.planes import FeaturePlanes

TIME = 3
"""Index of the time among the coordinates."""


def plane_losses(planes: FeaturePlanes, rough: float, jerk: float, rest: float) -> dict[str, Tensor]:
    """Total variation of the planes of space, second differences along time, and distance from 1 of the planes with
    time, each weighted and averaged over a plane and summed over planes and scales (K-Planes: Fridovich-Keil et al.
    2023, section 4.3)."""
    zero = planes.data.new_zeros(())
    roughness, jerkiness, change = zero, zero, zero
    for scale in range(len(planes.layout)):
        for index, (a, b) in enumerate(planes.axes):
            plane = planes.plane(scale, index)  # rows run along b, columns along a
            if TIME not in (a, b):
                roughness = roughness + _squares(plane.diff(dim=1)) + _squares(plane.diff(dim=2))
                continue
            along = 1 if b == TIME else 2
            jerkiness = jerkiness + _squares(plane.diff(n=2, dim=along))
            change = change + (1 - plane).abs().mean()
    return {"rough": rough * roughness, "jerk": jerk * jerkiness, "rest": rest * change}


def _squares(x: Tensor) -> Tensor:
    return x.square().mean() if x.numel() else torch.zeros((), device=x.device)
