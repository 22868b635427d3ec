"""Shadows of moving parts: on a plane that is not part of the scene, and on other Gaussians."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foreseen.reconstruction.shadow_light import ShadowLight
from foreseen.scenes.voxel_scene import FAR_AWAY


class Shadows(nn.Module):
    """Shadows of spheres under one light, if a light was found; see `ShadowLight`.

    Args:
        edge_width: width of a shadow's soft edge, in radii of the part.

    Attributes:
        light, plane: `[4]`, as in `ShadowLight`.
        growth: as in `ShadowLight`; 0 without a light.
    """

    light: Tensor
    plane: Tensor
    growth: Tensor

    def __init__(self, edge_width: float) -> None:
        super().__init__()
        self.edge_width = edge_width
        self.register_buffer("light", torch.zeros(4))
        self.register_buffer("plane", torch.zeros(4))
        self.register_buffer("growth", torch.tensor(0.0))

    def set_light(self, shadow_light: ShadowLight) -> None:
        """Copies a light that was found."""
        self.light.copy_(torch.from_numpy(shadow_light.light))
        self.plane.copy_(torch.from_numpy(shadow_light.plane))
        self.growth.fill_(shadow_light.growth)

    @property
    def has_light(self) -> bool:
        """Whether there is a light."""
        return bool(self.growth)

    def length(self) -> Tensor:
        """Longer half axis of a sphere's shadow on the plane, in radii of the sphere."""
        toward, normal = self.light[:3], self.plane[:3]
        return self.growth * toward.norm() / (toward @ normal).abs().clamp_min(1e-6)

    def project_to_plane(self, centres: Tensor) -> tuple[Tensor, Tensor]:
        """Positions `[K, 3]` of the shadows of parts at `centres` `[K, 3]`, and their sizes relative to the parts
        `[K]`. Parts behind the plane cast no shadow: its position is far away."""
        normal, offset = self.plane[:3], self.plane[3]
        toward = self.light[:3] - self.light[3] * centres
        slope = toward @ normal
        steps = (centres @ normal - offset) / torch.where(slope.abs() < 1e-6, torch.full_like(slope, 1e-6), slope)
        positions = centres - steps[:, None] * toward
        in_front = (steps > 0)[:, None]
        return torch.where(in_front, positions, torch.full_like(positions, FAR_AWAY)), 1 + (
            steps * self.light[3]
        ).clamp_min(0)

    def covered(self, points: Tensor, part_ids: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
        """Share of the light `[N]` that parts at `centres` `[K, 3]` of `radii` `[K]` block from `points` `[N, 3]`. A
        part does not block light from its own points (`part_ids` `[N]` int64)."""
        to_light = nn.functional.normalize(self.light[:3] - self.light[3] * points, dim=-1)
        offsets = centres - points[:, None]
        along_ray = (offsets * to_light[:, None]).sum(-1)
        ray_distance = (offsets.square().sum(-1) - along_ray.square()).clamp_min(1e-12).sqrt()
        shadow_radii = self.growth * radii
        blocked = torch.sigmoid((shadow_radii - ray_distance) / (self.edge_width * shadow_radii))
        is_other_part = part_ids[:, None] != torch.arange(len(centres), device=part_ids.device)
        return (blocked * ((along_ray > 0) & is_other_part)).amax(-1)
