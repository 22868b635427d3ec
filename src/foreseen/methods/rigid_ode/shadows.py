"""Shadows that moving parts cast: on a plane that nothing else shows, and on Gaussians."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foreseen.reconstruction.shadow_light import ShadowLight
from foreseen.scenes.voxel_scene import FAR_AWAY

EDGE_WIDTH = 0.1
"""Edge of a shadow, in radii of what casts it."""


class Shadows(nn.Module):
    """The light that was found, if any; see `ShadowLight`. Parts cast shadows as spheres do.

    Attributes:
        light, plane: `[4]`, as of `ShadowLight`.
        growth: as of `ShadowLight`; 0 where no light is known.
    """

    light: Tensor
    plane: Tensor
    growth: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("light", torch.zeros(4))
        self.register_buffer("plane", torch.zeros(4))
        self.register_buffer("growth", torch.tensor(0.0))

    def set_light(self, shadow_light: ShadowLight) -> None:
        """Takes over what was found."""
        self.light.copy_(torch.from_numpy(shadow_light.light))
        self.plane.copy_(torch.from_numpy(shadow_light.plane))
        self.growth.fill_(shadow_light.growth)

    @property
    def has_light(self) -> bool:
        """Whether there is a light."""
        return bool(self.growth)

    def length(self) -> Tensor:
        """Longer half axis of a sphere's shadow on the plane, over the sphere's radius."""
        toward, normal = self.light[:3], self.plane[:3]
        return self.growth * toward.norm() / (toward @ normal).abs().clamp_min(1e-6)

    def project_to_plane(self, centres: Tensor) -> tuple[Tensor, Tensor]:
        """Where the shadows of parts at `centres` `[K, 3]` fall: `[K, 3]`, and how much larger they are `[K]`. Parts
        on the other side of the plane cast none: theirs are far away."""
        normal, offset = self.plane[:3], self.plane[3]
        toward = self.light[:3] - self.light[3] * centres
        slope = toward @ normal
        steps = (centres @ normal - offset) / torch.where(slope.abs() < 1e-6, torch.full_like(slope, 1e-6), slope)
        places = centres - steps[:, None] * toward
        there = (steps > 0)[:, None]
        return torch.where(there, places, torch.full_like(places, FAR_AWAY)), 1 + (steps * self.light[3]).clamp_min(0)

    def covered(self, points: Tensor, part_ids: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
        """Share of the light `[N]` that parts at `centres` `[K, 3]` of `radii` `[K]` keep from `points` `[N, 3]`; no
        part from its own (`part_ids` `[N]` int64)."""
        toward = nn.functional.normalize(self.light[:3] - self.light[3] * points, dim=-1)
        to = centres - points[:, None]
        along = (to * toward[:, None]).sum(-1)
        beside = (to.square().sum(-1) - along.square()).clamp_min(1e-12).sqrt()
        reach = self.growth * radii
        inside = torch.sigmoid((reach - beside) / (EDGE_WIDTH * reach))
        others = part_ids[:, None] != torch.arange(len(centres), device=part_ids.device)
        return (inside * ((along > 0) & others)).amax(-1)
