"""Appearance of rigid parts and of the static scene: voxels in each part's own frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from foreseen.core.capabilities import Layer
from foreseen.core.scene_info import SceneInfo
from foreseen.errors import UserError
from foreseen.fields.packed import SampleBudget, voxel_tv_loss
from foreseen.geometry.rotations import rotation_matrix
from foreseen.methods.rigid_ode.config import RigidODEConfig
from foreseen.methods.rigid_ode.field_appearance import FieldAppearance
from foreseen.methods.rigid_ode.parts import RigidPartsState
from foreseen.nn.voxels import VoxelGrids, VoxelTable
from foreseen.render.occupancy import OccupancyGrid
from foreseen.scenes.voxel_scene import VoxelScene


class VoxelAppearance(FieldAppearance):
    """K boxes that are attached to the parts, and one static box around the whole scene.

    Args:
        half_extents: `[K, 3]` half sizes of the parts' boxes.
        voxels: voxels of those boxes, and of the static one.
    """

    middle: Tensor
    half_extents: Tensor

    def __init__(self, config: RigidODEConfig, info: SceneInfo, half_extents: Tensor, voxels: VoxelGrids) -> None:
        super().__init__(config, info, SampleBudget(config.samples, config.rays, config.packed))
        self.voxels = voxels
        low, high = (torch.tensor(b) for b in info.bounds)
        self.register_buffer("middle", (low + high) / 2)
        self.register_buffer("half_extents", torch.cat([half_extents, (high - low)[None] / 2]))
        # Direction and strength of one light are learned; at first there is only a lamp at the viewer.
        self.light = nn.Parameter(torch.zeros(3))
        self.step = 2 * float(half_extents.min()) / config.part_samples
        self.ray_stride = max(1, round(2 * float(self.half_extents[-1].max()) / config.static_samples / self.step))
        self.occupancy = OccupancyGrid(len(self.half_extents), config.grid_resolution, config.empty_alpha / self.step)

    @staticmethod
    def from_open_cells(
        config: RigidODEConfig, info: SceneInfo, half_extents: Tensor, open_cells: Tensor
    ) -> VoxelAppearance:
        """Untrained voxels in cells that may hold matter: `open_cells` `[K + 1, G, G, G]` bool, in each box's frame."""
        levels = [config.part_levels] * len(half_extents) + [config.static_levels]
        appearance = VoxelAppearance(
            config, info, half_extents, VoxelGrids(VoxelTable.build(levels, open_cells), config.initial_thickness)
        )
        appearance.occupancy.close(~open_cells)
        return appearance

    @staticmethod
    def from_tensors(
        config: RigidODEConfig, info: SceneInfo, tensors: Mapping[str, Tensor], parts: int
    ) -> VoxelAppearance:
        """With the shapes that a state dict has under "appearance.", for a number of parts.

        Raises:
            UserError: the shapes belong to another number of parts, or a box has no size.
        """
        half_extents = tensors["appearance.half_extents"]
        voxels = VoxelGrids.from_tensors(tensors, "appearance.voxels.", config.initial_thickness)
        if half_extents.shape != (parts + 1, 3) or len(voxels.layout) != parts + 1:
            shapes = f"{list(half_extents.shape)} and {list(voxels.layout.shape)}"
            raise UserError(
                f"appearance: the shapes of half_extents and voxels.layout are {shapes}, not those of {parts} parts "
                "and a static box"
            )
        if not bool((half_extents.isfinite() & (half_extents > 0)).all()):
            raise UserError("appearance: half_extents holds a size that is not a positive number")
        return VoxelAppearance(config, info, half_extents[:-1], voxels)

    def scene_of(self, state: RigidPartsState, rows: Tensor | None) -> VoxelScene:
        """The scene in which ray r sees the parts in row `rows[r]` of `state`."""
        times, count = len(state.centres), len(self.half_extents) - 1
        # In training sample positions are random, which averages out what larger steps miss.
        refinement = 1 if self.training else self.config.render_refinement
        identity = torch.eye(3).to(state.rotations).expand(times, 1, 3, 3)
        return VoxelScene(
            voxels=self.voxels,
            rotations=torch.cat([rotation_matrix(state.rotations), identity], dim=1),
            centres=torch.cat([state.centres, self.middle.expand(times, 1, 3)], dim=1),
            rows=rows,
            half_extents=self.half_extents,
            light=self.light,
            grid=self.occupancy.density,
            threshold=self.occupancy.threshold,
            step=self.step / refinement,
            ray_strides=torch.tensor([1] * count + [self.ray_stride], device=self.half_extents.device),
            near=self.info.near,
            far=self.info.far,
            background=self.info.background,
        )

    def layer(self, state: RigidPartsState, which: Layer) -> VoxelScene:
        """The last box is the static layer, the others the dynamic one."""
        scene = self.scene_of(RigidPartsState(state.centres[None], state.rotations[None], state.latent[None]), None)
        is_static = torch.arange(len(self.half_extents), device=self.half_extents.device) == len(self.half_extents) - 1
        return scene.only(is_static if which == "static" else ~is_static)

    def cell_density(self, coords: Tensor, box: Tensor) -> Tensor:
        return self.voxels.density(self.voxels.features(coords, box)) * self.voxels.scales(self.half_extents)[box]

    def penalties(self, step: int, progress: float) -> dict[str, Tensor]:
        """Loss terms that need no rays: total variation of the voxels."""
        c = self.config
        return voxel_tv_loss(self.voxels, c.tv_weight * c.tv_weight_decay**progress, step, c.packed)

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Voxels and light."""
        c, decay = self.config, self.config.lr_decay**progress
        return [
            {"name": "voxels", "params": [self.voxels.values], "lr": c.voxel_lr * decay},
            {"name": "light", "params": [self.light], "lr": c.light_lr * decay},
        ]
