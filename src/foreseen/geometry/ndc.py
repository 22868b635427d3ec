"""Normalised device coordinates: a forward-facing scene of unbounded depth in a box.

Source: Mildenhall et al. 2020 (NeRF), appendix C, restated for our camera axes (z forward, y down) and with the
reference camera written out instead of assumed to be the world's origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foreseen.geometry.rays import Rays


@dataclass(frozen=True)
class NDC:
    """The projection of one reference camera, shared by a data set.

    A world point with reference-camera coordinates (X, Y, Z), Z > 0, maps to (sx X / Z, sy Y / Z, 1 - 2 near / Z):
    z runs from -1 at the near plane to 1 at infinity.

    Attributes:
        world_to_reference: `[4, 4]` rigid, OpenCV axes.
        sx, sy: focal length over half the image size, so that the reference image spans [-1, 1].
        near: depth of the near plane, in scene units.
    """

    world_to_reference: Tensor
    sx: float
    sy: float
    near: float

    def points(self, points: Tensor) -> Tensor:
        """World points `[..., 3]` in NDC `[..., 3]`."""
        m = self.world_to_reference.to(points)
        x, y, z = (points @ m[:3, :3].T + m[:3, 3]).unbind(-1)
        return torch.stack([self.sx * x / z, self.sy * y / z, 1 - 2 * self.near / z], dim=-1)

    def rays(self, rays: Rays) -> Rays:
        """World rays as NDC rays: distance 0 lies on the near plane, distance 1 at infinity."""
        m = self.world_to_reference.to(rays.origins)
        o = rays.origins @ m[:3, :3].T + m[:3, 3]
        d = rays.directions @ m[:3, :3].T
        # Rays that run sideways never meet the far plane; they are bent a little rather than divided by zero.
        dz = torch.where(d[..., 2:].abs() < 1e-6, torch.full_like(d[..., 2:], 1e-6), d[..., 2:])
        o = o + (self.near - o[..., 2:]) / dz * d
        ox, oy, oz = o.unbind(-1)
        slope = d / dz
        origins = torch.stack([self.sx * ox / oz, self.sy * oy / oz, 1 - 2 * self.near / oz], dim=-1)
        directions = torch.stack(
            [self.sx * (slope[..., 0] - ox / oz), self.sy * (slope[..., 1] - oy / oz), 2 * self.near / oz], dim=-1
        )
        return Rays(origins, directions, rays.view_directions)
