"""Pinhole cameras. Axes are OpenCV's: x right, y down, z forward; pixel centres lie at +0.5."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from foreseen.geometry.ndc import NDC
from foreseen.geometry.rays import Rays


@dataclass(frozen=True)
class Camera:
    """One pinhole camera.

    `camera_to_world` is a rigid `[4, 4]` matrix in scene units. Focal lengths and the centre are in pixels. `near`
    and `far` bound what a ray sees, as distances along it: in scene units, or 0 and 1 where `ndc` is set: then
    `rays` are given in the normalised device coordinates that it defines for the whole data set.
    """

    camera_to_world: Tensor
    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    near: float
    far: float
    ndc: NDC | None = None

    @property
    def position(self) -> Tensor:
        """`[3]`, in scene units."""
        return self.camera_to_world[:3, 3]

    @property
    def rays_key(self) -> bytes:
        """Equal for cameras whose pixels have the same rays: pose, intrinsics and size, not near and far."""
        size = [self.fx, self.fy, self.cx, self.cy, self.width, self.height]
        return self.camera_to_world.cpu().numpy().tobytes() + np.array(size).tobytes()

    def downscale(self, factor: int) -> Camera:
        """The camera of an image shrunk by a whole factor (rounded down, as the image loader does)."""
        return self.resize(self.width // factor, self.height // factor)

    def resize(self, width: int, height: int) -> Camera:
        """The same view in another number of pixels."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self, fx=self.fx * sx, fy=self.fy * sy, cx=self.cx * sx, cy=self.cy * sy, width=width, height=height
        )

    def pixel_centres(self) -> Tensor:
        """`[H, W, 2]`: x and y of every pixel's centre."""
        y, x = torch.meshgrid(
            torch.arange(self.height, dtype=torch.float32) + 0.5,
            torch.arange(self.width, dtype=torch.float32) + 0.5,
            indexing="ij",
        )
        return torch.stack([x, y], dim=-1)

    def rays(self, pixels: Tensor) -> Rays:
        """Rays through `pixels` `[..., 2]` (x, y)."""
        local = torch.stack(
            [
                (pixels[..., 0] - self.cx) / self.fx,
                (pixels[..., 1] - self.cy) / self.fy,
                torch.ones_like(pixels[..., 0]),
            ],
            dim=-1,
        )
        c2w = self.camera_to_world.to(pixels)
        directions = torch.nn.functional.normalize(local @ c2w[:3, :3].T, dim=-1)
        rays = Rays(c2w[:3, 3].expand_as(directions), directions, directions)
        return self.ndc.rays(rays) if self.ndc is not None else rays

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels `[..., 2]` and depths along z `[...]` of world points `[..., 3]`."""
        c2w = self.camera_to_world.to(points)
        local = (points - c2w[:3, 3]) @ c2w[:3, :3]
        depth = local[..., 2]
        safe = torch.where(depth.abs() < 1e-9, torch.full_like(depth, 1e-9), depth)
        x = self.fx * local[..., 0] / safe + self.cx
        y = self.fy * local[..., 1] / safe + self.cy
        return torch.stack([x, y], dim=-1), depth
