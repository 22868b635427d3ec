"""A method of somebody else: a static grid of density and colour. The simplest baseline of a moving scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from foreseen.batches import RayBatch, RaySpec
from foreseen.core import Method, Observation, SceneInfo, Traits
from foreseen.render import render_rays
from foreseen.scenes import RadianceField


@dataclass(frozen=True)
class StaticGridConfig:
    """Settings of the grid."""

    resolution: int = 32
    """Cells along each axis. More are sharper and slower."""
    samples: int = 64
    """Samples along a ray."""
    rays: int = 1024
    """Rays in a step."""
    lr: float = 5e-2
    """Learning rate of Adam."""


PRESETS = {"small": StaticGridConfig()}


@dataclass(frozen=True)
class Time:
    """The state: the time itself, `[...]`, in the data set's unit."""

    time: Tensor


class StaticGrid(Method[Time, RayBatch]):
    """The same scene at all times."""

    traits = Traits(static=True)
    low: Tensor
    high: Tensor

    def __init__(self, config: StaticGridConfig, info: SceneInfo) -> None:
        super().__init__()
        self.config, self.info = config, info
        self.register_buffer("low", torch.tensor(info.bounds[0]))
        self.register_buffer("high", torch.tensor(info.bounds[1]))
        self.grid = nn.Parameter(torch.zeros(1, 4, *[config.resolution] * 3))

    def observe(self, observation: Observation) -> Time:
        """The first time of the observed window."""
        return Time(torch.tensor(self.info.time_range[0]))

    def evolve(self, state: Time, times: Tensor) -> Time:
        """`times` themselves."""
        return Time(times)

    def scene(self, state: Time) -> RadianceField:
        """The grid."""
        c, info = self.config, self.info
        return RadianceField(self._query, info.near, info.far, info.background, options={"samples": c.samples})

    def _query(self, positions: Tensor, directions: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
        unit = (positions - self.low) / (self.high - self.low) * 2 - 1
        # grid_sample wants the last axis first.
        values = nn.functional.grid_sample(self.grid, unit.flip(-1).view(1, 1, 1, -1, 3), align_corners=True)
        values = values.view(4, -1).T
        inside = (unit.abs() <= 1).all(-1)
        density = nn.functional.softplus(values[:, 3]) * inside / (self.high - self.low).mean()
        return density, values[:, :3].sigmoid()

    def losses(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Mean squared error of the colours."""
        result = render_rays(self.scene(Time(batch.times)), batch.rays, stratified=True)
        return {"color": (result.rgb - batch.colors).square().mean()}

    def batch_spec(self, step: int) -> RaySpec:
        """Rays of all training frames."""
        return RaySpec(rays=self.config.rays)

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """The grid; its learning rate falls to a tenth."""
        return [{"name": "grid", "params": [self.grid], "lr": self.config.lr * 0.1**progress}]
