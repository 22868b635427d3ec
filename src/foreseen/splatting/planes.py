"""A canonical cloud, displaced by feature planes over space and time (4D Gaussians)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from foreseen.batches.images import ImageBatch
from foreseen.core.scene_info import SceneInfo
from foreseen.nn.planes import TRI_PLANE, FeaturePlanes
from foreseen.scenes.gaussians import Gaussians
from foreseen.splatting.config import PlanesConfig
from foreseen.splatting.method import CloudState, DeformingCloudMethod

TIME = 3
"""Index of time among the four coordinates."""
AXES = (*TRI_PLANE, *((axis, TIME) for axis in range(3)))
"""The six planes of space and time."""
CHANGES = (3, 4, 3)
"""Outputs of the three heads: displacement of the mean, of the quaternion, of the scales' logarithms."""


class PlaneDeformation(nn.Module):
    """Features at a position and time, and three heads on them (Wu et al. 2024, section 4)."""

    def __init__(self, config: PlanesConfig) -> None:
        super().__init__()
        c, w = config, config.width
        resolutions = tuple((*(c.nodes * factor,) * 3, c.time_nodes) for factor in c.scales)
        self.planes = FeaturePlanes(AXES, resolutions, c.channels, initial=c.initial_features, unit_axes=(TIME,))
        self.trunk = nn.Linear(self.planes.features, w)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.ReLU(), nn.Linear(w, w), nn.ReLU(), nn.Linear(w, outputs)) for outputs in CHANGES
        )
        for head in self.heads:
            last: nn.Linear = head[-1]  # type: ignore[index]
            with torch.no_grad():
                last.weight.mul_(c.initial_output_scale)
                last.bias.zero_()

    def forward(self, position: Tensor, normalized_time: float) -> Tensor:
        """Changes `[N, 10]` of Gaussians: of means (3, in the scene's half size), of quaternions (4) and of the scales'
        logarithms (3), at `position` `[N, 3]` in -1..1 and `normalized_time` (the training window is 0..1)."""
        time = torch.full_like(position[:, :1], 2 * normalized_time - 1)
        hidden = self.trunk(self.planes(torch.cat([position, time], dim=-1)))
        return torch.cat([head(hidden).float() for head in self.heads], dim=-1)

    def network_parameters(self) -> list[nn.Parameter]:
        """All parameters but the planes."""
        return [*self.trunk.parameters(), *self.heads.parameters()]


class PlaneGaussians(DeformingCloudMethod[CloudState]):
    """Times after the window read the planes' last row, so the motion stops there."""

    middle: Tensor

    def __init__(self, name: str, config: PlanesConfig, info: SceneInfo) -> None:
        super().__init__(name, config.cloud, config.warm_up, info)
        self.config = config
        self.traits = replace(self.traits, default_steps=config.default_steps)
        self.deformation = PlaneDeformation(config)
        self.register_buffer("middle", torch.tensor(info.bounds).mean(0), persistent=False)

    def deformed(self, canonical: Gaussians, normalized_time: float) -> Gaussians:
        """The cloud with the displacements that the planes give at its canonical means."""
        return (
            self.apply_changes(canonical, self.changes(canonical, normalized_time))
            if self.is_deforming()
            else canonical
        )

    def changes(self, canonical: Gaussians, normalized_time: float) -> Tensor:
        """Changes `[N, 10]` of the cloud `canonical` at a time, see `PlaneDeformation`; 0 for static Gaussians."""
        position = (canonical.means[self.moving_indices()] - self.middle) / self.extent
        return self.scatter_moving(self.deformation(position, normalized_time))

    def apply_changes(self, canonical: Gaussians, changes: Tensor) -> Gaussians:
        """The cloud `canonical` with `changes` `[N, 10]`."""
        shift, rotation, growth = changes.split(CHANGES, dim=-1)
        return replace(
            canonical,
            means=canonical.means + self.extent * shift,
            quaternions=canonical.quaternions + rotation,
            scales=canonical.scales * growth.exp(),
        )

    def losses(self, batch: ImageBatch, step: int) -> dict[str, Tensor]:
        """Losses of the cloud, and those that keep the planes smooth."""
        c = self.config
        terms = super().losses(batch, step)
        if self.is_deforming():
            terms |= plane_losses(self.deformation.planes, c.tv_weight, c.jerk_weight, c.identity_weight)
        return terms

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Groups of the cloud, the planes, and the network on them."""
        c = self.config
        planes = c.planes_lr * (c.planes_lr_final / c.planes_lr) ** progress
        network = c.network_lr * (c.network_lr_final / c.network_lr) ** progress
        return [
            *super().parameter_groups(progress),
            {"name": "planes", "params": [self.deformation.planes.data], "lr": planes},
            {"name": "network", "params": self.deformation.network_parameters(), "lr": network},
        ]


def plane_losses(
    planes: FeaturePlanes, tv_weight: float, jerk_weight: float, identity_weight: float
) -> dict[str, Tensor]:
    """Total variation of the planes of space, second differences along time, and mean distance from 1 of the planes
    with time. Each is weighted, averaged over a plane, and summed over planes and scales (K-Planes: Fridovich-Keil et
    al. 2023, section 4.3)."""
    zero = planes.data.new_zeros(())
    variation, jerk, distance = zero, zero, zero
    for scale in range(len(planes.layout)):
        for index, (a, b) in enumerate(planes.axes):
            plane = planes.plane(scale, index)  # rows run along b, columns along a
            if TIME not in (a, b):
                variation = variation + _mean_square(plane.diff(dim=1)) + _mean_square(plane.diff(dim=2))
                continue
            along = 1 if b == TIME else 2
            jerk = jerk + _mean_square(plane.diff(n=2, dim=along))
            distance = distance + (1 - plane).abs().mean()
    return {"tv": tv_weight * variation, "jerk": jerk_weight * jerk, "time_identity": identity_weight * distance}


def _mean_square(x: Tensor) -> Tensor:
    return x.square().mean() if x.numel() else torch.zeros((), device=x.device)
