"""Rigid parts as balls that collide."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from foreseen.dynamics.impacts import ImpactDynamics, PathSmoother
from foreseen.dynamics.impacts_config import ImpactsConfig


@dataclass(frozen=True)
class BallParameters:
    """What poses `[N, 6 K]` of K parts hold: of each part its centre `[3]` and its rotation vector `[3]`, both times
    the part's unit.

    Attributes:
        radii: `[K]`, approximate.
        units: `[K]`.
        smoother: how the centres in the poses follow from the true ones; None if they were observed directly.
    """

    radii: Tensor
    units: Tensor
    smoother: PathSmoother | None = None

    def until(self, count: int, total: int, min_weight: float) -> BallParameters:
        """For the first `count` of `total` poses, whose time then runs from 0 to 1. Smaller weights than `min_weight`
        of the smoother do not count at the cut."""
        if self.smoother is None:
            return self
        return replace(self, smoother=self.smoother.until(count, (total - 1) / (count - 1), min_weight))


class BallMotion(nn.Module):
    """Centres move by `ImpactDynamics`; rotations continue at the angular velocity at the end of the window.

    Poses are `[..., 6 K]` float64; time runs from 0 to 1 over the window.

    Args:
        count: K.
    """

    units: Tensor
    rotations: Tensor

    def __init__(self, count: int, config: ImpactsConfig) -> None:
        super().__init__()
        self.config = config
        self.impacts = ImpactDynamics(count, config)
        self.register_buffer("units", torch.ones(count, dtype=torch.float64))
        # [2, 2, K, 3]: at the start and the end of the window, the rotation vectors and their rates.
        self.register_buffer("rotations", torch.zeros(2, 2, count, 3, dtype=torch.float64))

    def fit(self, poses: Tensor, balls: BallParameters) -> None:
        """Fits to `poses` `[N, 6 K]` at even times 0..1. If they do not move as balls do, `impacts` is not fitted
        afterwards."""
        times = torch.linspace(0, 1, len(poses), dtype=torch.float64)
        self.units.copy_(balls.units)
        centres, rotations = (poses.unflatten(-1, (-1, 6)) / self.units[:, None]).split(3, dim=-1)
        step = min(self.config.rotation_poses, len(poses) - 1)
        rates = torch.stack([rotations[step] - rotations[0], rotations[-1] - rotations[-1 - step]]) / times[step]
        self.rotations.copy_(torch.stack([rotations[[0, -1]], rates], dim=1))
        self.impacts.fit(times, centres, balls.radii, balls.smoother)

    def extrapolate(self, times: Tensor) -> Tensor:
        """Poses `[T, 6 K]` at `times` `[T]` outside of 0..1, any order."""
        since = torch.where(times < 0, times, times - 1)[:, None, None]
        rotations, rates = self.rotations[torch.where(times < 0, 0, 1)].unbind(1)
        both = torch.cat([self.impacts.extrapolate(times), rotations + rates * since], dim=-1)
        return (both * self.units[:, None]).flatten(1)
