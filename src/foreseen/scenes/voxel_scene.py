"""Voxel grids, each static in the frame of a rigid part, composed in one space."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from foreseen.nn.voxels import VoxelGrids
from foreseen.scenes.composed_field import ComposedField

FAR_AWAY = 1e6
"""Each coordinate [scene units] of a part that is not in the scene: no ray reaches it."""


@dataclass(frozen=True)
class VoxelScene:
    """K parts, each a box with voxels inside that moves with it. Where boxes overlap densities add up.

    There are R poses: 1, or as many as there are times in a training batch.

    Attributes:
        voxels: K boxes of voxels.
        rotations: `[R, K, 3, 3]`, from a part's frame to the space of the rays.
        centres: `[R, K, 3]`.
        rows: `[N]` int64, the pose that ray n sees; None where there is one.
        half_extents: `[K, 3]` half sizes of the boxes.
        light: `[3]` direction to the light, times its strength relative to a lamp at the viewer.
        grid: `[K, G, G, G]` cached densities: empty cells are skipped.
        threshold: cached densities up to this count as empty.
        step: distance between two steps of ray marching.
        ray_strides: `[K]` int64; a part is sampled at every so many steps.
        near, far: bounds of every ray.
        background: colour behind everything.
    """

    voxels: VoxelGrids
    rotations: Tensor
    centres: Tensor
    rows: Tensor | None
    half_extents: Tensor
    light: Tensor
    grid: Tensor
    threshold: float
    step: float
    ray_strides: Tensor
    near: float
    far: float
    background: tuple[float, float, float]

    def only(self, boxes: Tensor) -> VoxelScene:
        """The scene with the boxes of `boxes` `[K]` bool only: the others are moved far away."""
        return replace(self, centres=torch.where(boxes[:, None], self.centres, FAR_AWAY))

    def composed(self) -> ComposedField:
        """The same scene for the packed renderer, with the voxels' plain form: any device and float type."""
        rows, scales = self.rows, self.voxels.scales(self.half_extents)
        poses = self.rotations if rows is None else self.rotations[rows]
        centres = self.centres if rows is None else self.centres[rows]

        def query(local: Tensor, part: Tensor, ray: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
            # No gradient flows from the shading to the pose.
            rotation = poses[ray if rows is not None else torch.zeros_like(ray), part].detach()
            toward = torch.einsum("mba,mb->ma", rotation, self.light.to(view) - view)
            features = self.voxels.features(local, part)
            return self.voxels.density(features) * scales[part], self.voxels.color(features, toward)

        return ComposedField(
            query=query,
            rotations=poses,
            centres=centres,
            half_extents=self.half_extents,
            cells=torch.arange(len(self.half_extents)).expand(len(poses), -1),
            grid=self.grid,
            threshold=self.threshold,
            step=self.step,
            ray_strides=self.ray_strides,
            near=self.near,
            far=self.far,
            background=self.background,
        )
