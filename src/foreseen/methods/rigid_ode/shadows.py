"""Shadows that moving parts cast: on a plane that nothing else shows, and on Gaussians."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foreseen.reconstruction.light import Lamp
from foreseen.scenes.voxel_scene import AWAY

SOFT = 0.1
"""Edge of a shadow, in radii of what casts it."""


class Shadows(nn.Module):
    """The light that was found, if any; see `Lamp`. Parts cast shadows as spheres do.

    Attributes:
        light, plane: `[4]`, as of `Lamp`.
        growth: as of `Lamp`; 0 where no light is known.
    """

    light: Tensor
    plane: Tensor
    growth: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("light", torch.zeros(4))
        self.register_buffer("plane", torch.zeros(4))
        self.register_buffer("growth", torch.tensor(0.0))

    def light_up(self, lamp: Lamp) -> None:
        """Takes over what was found."""
        self.light.copy_(torch.from_numpy(lamp.light))
        self.plane.copy_(torch.from_numpy(lamp.plane))
        self.growth.fill_(lamp.growth)

    @property
    def known(self) -> bool:
        """Whether there is a light."""
        return bool(self.growth)

    def length(self) -> Tensor:
        """Longer half axis of a sphere's shadow on the plane, over the sphere's radius."""
        toward, normal = self.light[:3], self.plane[:3]
        return self.growth * toward.norm() / (toward @ normal).abs().clamp_min(1e-6)

    def on_plane(self, centres: Tensor) -> tuple[Tensor, Tensor]:
        """Where the shadows of parts at `centres` `[K, 3]` fall: `[K, 3]`, and how much larger they are `[K]`. Parts
        on the other side of the plane cast none: theirs are far away."""
        normal, offset = self.plane[:3], self.plane[3]
        toward = self.light[:3] - self.light[3] * centres
        slope = toward @ normal
        steps = (centres @ normal - offset) / torch.where(slope.abs() < 1e-6, torch.full_like(slope, 1e-6), slope)
        places = centres - steps[:, None] * toward
        there = (steps > 0)[:, None]
        return torch.where(there, places, torch.full_like(places, AWAY)), 1 + (steps * self.light[3]).clamp_min(0)

    def covered(self, points: Tensor, owners: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
        """Share of the light `[N]` that parts at `centres` `[K, 3]` of `radii` `[K]` keep from `points` `[N, 3]`; no
        part from its own (`owners` `[N]` int64)."""
        toward = nn.functional.normalize(self.light[:3] - self.light[3] * points, dim=-1)
        to = centres - points[:, None]
        along = (to * toward[:, None]).sum(-1)
        beside = (to.square().sum(-1) - along.square()).clamp_min(1e-12).sqrt()
        reach = self.growth * radii
        inside = torch.sigmoid((reach - beside) / (SOFT * reach))
        others = owners[:, None] != torch.arange(len(centres), device=owners.device)
        return (inside * ((along > 0) & others)).amax(-1)
