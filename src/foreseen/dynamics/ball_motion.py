"""Poses of parts, read as balls that collide."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from foreseen.dynamics.impacts import ImpactDynamics, PathSmoother

ROTATION_POSES = 3
"""The last so many poses tell how fast a part turns."""


@dataclass(frozen=True)
class BallParameters:
    """What poses `[N, 6 K]` are of: K parts, of each its centre `[3]` and its rotation vector `[3]`, times its unit.

    Attributes:
        radii: `[K]`, roughly.
        units: `[K]`.
        smoother: how the poses' centres come from the true ones; None where they were seen as they are.
    """

    radii: Tensor
    units: Tensor
    smoother: PathSmoother | None = None

    def until(self, count: int, total: int) -> BallParameters:
        """For the first `count` of `total` poses alone, whose time then runs from 0 to 1."""
        if self.smoother is None:
            return self
        return replace(self, smoother=self.smoother.until(count, (total - 1) / (count - 1)))


class BallMotion(nn.Module):
    """Centres by the law of impacts; turns go on as fast as they did at the window's end.

    Poses are `[..., 6 K]` float64; time runs from 0 to 1 over the window.

    Args:
        count: K.
    """

    units: Tensor
    rotations: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.impacts = ImpactDynamics(count)
        self.register_buffer("units", torch.ones(count, dtype=torch.float64))
        self.register_buffer(
            "rotations", torch.zeros(2, 2, count, 3, dtype=torch.float64)
        )  # at the ends; and their rates

    def fit(self, poses: Tensor, balls: BallParameters) -> None:
        """To `poses` `[N, 6 K]` at even times 0..1; where they show no law, `impacts` is not fitted afterwards."""
        times = torch.linspace(0, 1, len(poses), dtype=torch.float64)
        self.units.copy_(balls.units)
        centres, rotations = (poses.unflatten(-1, (-1, 6)) / self.units[:, None]).split(3, dim=-1)
        step = min(ROTATION_POSES, len(poses) - 1)
        rates = torch.stack([rotations[step] - rotations[0], rotations[-1] - rotations[-1 - step]]) / times[step]
        self.rotations.copy_(torch.stack([rotations[[0, -1]], rates], dim=1))
        self.impacts.fit(times, centres, balls.radii, balls.smoother)

    def extrapolate(self, times: Tensor) -> Tensor:
        """Poses `[T, 6 K]` at `times` `[T]` outside of 0..1, any order."""
        since = torch.where(times < 0, times, times - 1)[:, None, None]
        rotations, rates = self.rotations[torch.where(times < 0, 0, 1)].unbind(1)
        both = torch.cat([self.impacts.extrapolate(times), rotations + rates * since], dim=-1)
        return (both * self.units[:, None]).flatten(1)
