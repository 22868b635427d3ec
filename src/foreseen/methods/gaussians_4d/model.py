"""A canonical cloud, and planes over space and time that say how it is displaced."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from foreseen.methods.base import ImageBatch, SceneInfo
from foreseen.methods.gaussian_cloud.method import MovingGaussianMethod
from foreseen.methods.gaussians_4d.config import Gaussians4DConfig
from foreseen.methods.gaussians_4d.losses import TIME, plane_losses
from foreseen.nn.planes import TRI_PLANE, FeaturePlanes
from foreseen.scenes.gaussians import Gaussians

AXES = (*TRI_PLANE, *((axis, TIME) for axis in range(3)))
"""The six planes of space and time."""
SMALL = 0.01
"""Factor on the last weights of the heads: at first next to nothing is displaced."""


class PlaneDeformation(nn.Module):
    """Features of a place and a time, and three heads on them (Wu et al. 2024, section 4)."""

    def __init__(self, config: Gaussians4DConfig) -> None:
        super().__init__()
        c, w = config, config.width
        resolutions = tuple((*(c.nodes * factor,) * 3, c.time_nodes) for factor in c.scales)
        self.planes = FeaturePlanes(AXES, resolutions, c.channels, initial=(0.1, 0.5), unit_axes=(TIME,))
        self.trunk = nn.Linear(self.planes.features, w)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.ReLU(), nn.Linear(w, w), nn.ReLU(), nn.Linear(w, outputs)) for outputs in (3, 4, 3)
        )
        for head in self.heads:
            last: nn.Linear = head[-1]  # type: ignore[index]
            with torch.no_grad():
                last.weight.mul_(SMALL)
                last.bias.zero_()

    def forward(self, position: Tensor, since: float) -> list[Tensor]:
        """Displacements of the means `[N, 3]` in the scene's half size, of quaternions `[N, 4]` and of scales'
        logarithms `[N, 3]`, at `position` `[N, 3]` in -1..1 and `since` (the training window is 0..1)."""
        time = torch.full_like(position[:, :1], 2 * since - 1)
        hidden = self.trunk(self.planes(torch.cat([position, time], dim=-1)))
        return [head(hidden).float() for head in self.heads]

    def network_parameters(self) -> list[nn.Parameter]:
        """All but the planes."""
        return [*self.trunk.parameters(), *self.heads.parameters()]


class PlaneGaussians(MovingGaussianMethod):
    """Times after the window read the planes' last row: the motion stops."""

    middle: Tensor

    def __init__(self, config: Gaussians4DConfig, info: SceneInfo) -> None:
        super().__init__("4d-gaussians", config.cloud, config.warm_up, info)
        self.config, self.default_steps = config, config.default_steps
        self.deformation = PlaneDeformation(config)
        self.register_buffer("middle", torch.tensor(info.bounds).mean(0), persistent=False)

    def moved(self, rest: Gaussians, since: float) -> Gaussians:
        """Every Gaussian displaced as planes and heads say, by where it rests."""
        if not self.displaces():
            return rest
        shift, turn, growth = self.deformation((rest.means - self.middle) / self.extent, since)
        return replace(
            rest,
            means=rest.means + self.extent * shift,
            quaternions=rest.quaternions + turn,
            scales=rest.scales * growth.exp(),
        )

    def losses(self, batch: ImageBatch, step: int) -> dict[str, Tensor]:
        """As of any cloud, and the planes' smoothness."""
        c = self.config
        terms = super().losses(batch, step)
        if self.displaces():
            terms |= plane_losses(self.deformation.planes, c.rough_weight, c.jerk_weight, c.rest_weight)
        return terms

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """The cloud's, the planes, and the network on them."""
        c = self.config
        planes = c.planes_lr * (c.planes_lr_final / c.planes_lr) ** progress
        network = c.network_lr * (c.network_lr_final / c.network_lr) ** progress
        return [
            *super().parameter_groups(progress),
            {"name": "planes", "params": [self.deformation.planes.data], "lr": planes},
            {"name": "network", "params": self.deformation.network_parameters(), "lr": network},
        ]


build = PlaneGaussians
