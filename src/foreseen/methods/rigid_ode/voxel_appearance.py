"""How rigid parts and what surrounds them look: voxels at rest in each part's frame."""

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

EMPTY_ALPHA = 0.005
"""A cell counts as empty when one step through it takes less than this share of the light."""


class VoxelAppearance(FieldAppearance):
    """K boxes that ride with the parts, and one around everything that is at rest.

    Args:
        halves: `[K, 3]` half sizes of the parts' boxes.
        voxels: of those boxes, and of the one around everything.
    """

    middle: Tensor
    half_extents: Tensor

    def __init__(self, config: RigidODEConfig, info: SceneInfo, half_extents: Tensor, voxels: VoxelGrids) -> None:
        super().__init__(config, info, SampleBudget(config.samples, config.rays))
        self.voxels = voxels
        low, high = (torch.tensor(b) for b in info.bounds)
        self.register_buffer("middle", (low + high) / 2)
        self.register_buffer("half_extents", torch.cat([half_extents, (high - low)[None] / 2]))
        # Where the light comes from is learned; at first there is a lamp at the viewer only.
        self.light = nn.Parameter(torch.zeros(3))
        self.step = 2 * float(half_extents.min()) / config.part_samples
        self.ray_stride = max(1, round(2 * float(self.half_extents[-1].max()) / config.static_samples / self.step))
        self.occupancy = OccupancyGrid(len(self.half_extents), config.grid_resolution, EMPTY_ALPHA / self.step)

    @staticmethod
    def from_open_cells(
        config: RigidODEConfig, info: SceneInfo, half_extents: Tensor, open_cells: Tensor
    ) -> VoxelAppearance:
        """Untrained voxels where something may be: `open_cells` `[K + 1, G, G, G]` bool, in each box's own frame."""
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
        """Of the shapes that a state dict has under "look.", of so many parts.

        Raises:
            UserError: they are of another number, or a box has no size.
        """
        half_extents, voxels = (
            tensors["appearance.half_extents"],
            VoxelGrids.from_tensors(tensors, "appearance.voxels.", config.initial_thickness),
        )
        if half_extents.shape != (parts + 1, 3) or len(voxels.layout) != parts + 1:
            found = f"{list(half_extents.shape)} and {list(voxels.layout.shape)}"
            raise UserError(f"look: halves and voxels.layout are {found}, not of {parts} parts and what rests")
        if not bool((half_extents.isfinite() & (half_extents > 0)).all()):
            raise UserError("look: halves holds a size that is not a positive number")
        return VoxelAppearance(config, info, half_extents[:-1], voxels)

    def scene_of(self, state: RigidPartsState, rows: Tensor | None) -> VoxelScene:
        """The scene in which ray r sees the parts as they are in row `rows[r]` of `state`."""
        times, count = len(state.centres), len(self.half_extents) - 1
        finer = 1 if self.training else 2  # a ladder that is shifted at random may be coarser than one that is not
        at_rest = torch.eye(3).to(state.rotations).expand(times, 1, 3, 3)
        return VoxelScene(
            voxels=self.voxels,
            rotations=torch.cat([rotation_matrix(state.rotations), at_rest], dim=1),
            centres=torch.cat([state.centres, self.middle.expand(times, 1, 3)], dim=1),
            rows=rows,
            half_extents=self.half_extents,
            light=self.light,
            grid=self.occupancy.density,
            threshold=self.occupancy.threshold,
            step=self.step / finer,
            ray_strides=torch.tensor([1] * count + [self.ray_stride], device=self.half_extents.device),
            near=self.info.near,
            far=self.info.far,
            background=self.info.background,
        )

    def layer(self, state: RigidPartsState, which: Layer) -> VoxelScene:
        """By boxes: the last one is around everything."""
        scene = self.scene_of(RigidPartsState(state.centres[None], state.rotations[None], state.latent[None]), None)
        around = torch.arange(len(self.half_extents), device=self.half_extents.device) == len(self.half_extents) - 1
        return scene.only(around if which == "static" else ~around)

    def cell_density(self, coords: Tensor, box: Tensor) -> Tensor:
        return self.voxels.density(self.voxels.features(coords, box)) * self.voxels.scales(self.half_extents)[box]

    def penalties(self, step: int, progress: float) -> dict[str, Tensor]:
        """Loss terms that need no rays: the voxels' roughness."""
        c = self.config
        return voxel_tv_loss(self.voxels, c.tv_weight * c.tv_weight_decay**progress, step)

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Voxels and light."""
        c, decay = self.config, self.config.lr_decay**progress
        return [
            {"name": "voxels", "params": [self.voxels.values], "lr": c.voxel_lr * decay},
            {"name": "light", "params": [self.light], "lr": c.light_lr * decay},
        ]
