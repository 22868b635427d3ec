"""D-NeRF, preset `fast`: the deformation network in front of a canonical field of voxels, packed rendering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foreseen.batches.rays import RayBatch, RaySpec
from foreseen.core.batch import BatchSpec
from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.fields.packed import SampleBudget, ray_losses, single_box_field, voxel_tv_loss
from foreseen.methods.d_nerf.config import DNeRFFastConfig
from foreseen.methods.d_nerf.time_conditioning import DNeRFState, TimeCondition, TimeConditionedMethod
from foreseen.nn.encodings import PositionalEncoding
from foreseen.nn.mlp import MLP
from foreseen.nn.voxels import VoxelGrids, VoxelTable
from foreseen.reconstruction.silhouettes import SilhouetteView
from foreseen.reconstruction.visual_hull import are_synchronised, hull_by_time
from foreseen.render import render_rays
from foreseen.render.occupancy import OccupancyGrid
from foreseen.scenes import ComposedField


class FastDNeRF(TimeConditionedMethod):
    """The canonical field is evaluated at displaced points. Outside the training window the network extrapolates, as in
    the preset `paper`.

    There is one occupancy grid for each interval of time, shared by all sequences; times outside the window read the
    nearest one.
    """

    origin: Tensor

    def __init__(self, config: DNeRFFastConfig, info: SceneInfo) -> None:
        super().__init__(info)
        self.config = config
        self.ray_spec = RaySpec(rays=config.rays, foreground=config.foreground)
        low, high = torch.tensor(info.bounds)
        half_extents = (high - low) / 2
        self.register_buffer("origin", torch.tensor(info.time_range[0]))
        self.encode_position = PositionalEncoding(config.position_levels, 3)
        self.encode_time = PositionalEncoding(config.time_levels, 1)
        inputs = self.encode_position.outputs + self.encode_time.outputs + self.initial.shape[1]
        self.deformation = MLP(inputs, 3, width=config.width, layers=config.deformation_layers)
        with torch.no_grad():
            self.deformation.output.weight.mul_(config.initial_output_scale)
            nn.init.zeros_(self.deformation.output.bias)
        everywhere = torch.ones(1, 2, 2, 2, dtype=torch.bool)
        self.canonical = VoxelGrids(VoxelTable.build([config.levels], everywhere), config.initial_thickness)
        self.scale = float(self.canonical.scales(half_extents[None]))
        self.step_length = 2 * float(half_extents.max()) / config.ray_steps
        self.occupancy = OccupancyGrid(
            config.time_boxes, config.grid_resolution, threshold=config.empty_alpha / self.step_length
        )
        self.budget = SampleBudget(config.samples, config.rays, config.packed)
        self.progress = 0.0

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[PoseLabels | None]) -> str | None:
        """Closes the cells that are empty according to silhouettes."""
        if not self.info.ndc:  # hulls are carved in the space of the cameras, not in NDC
            names = self.info.names or (frames[0].sequence,)
            starts = dict(zip(names, self.start_times.tolist()))
            silhouettes = self.config.hulls.silhouettes
            views = [
                [SilhouetteView.of(f, starts[name], self.length, silhouettes) for f in frames if f.sequence == name]
                for name in names
            ]
            self.occupancy.close(~self._open_cells(views))
        return super().warm_start(frames, labels)

    def _open_cells(self, views: Sequence[list[SilhouetteView]]) -> Tensor:
        """`[time boxes, G, G, G]` bool: cells that may hold matter, by the views of each sequence.

        One sequence: each interval of time has its own cells. Several: a cell is closed if it is empty at all times of
        all of them, because a new sequence may be where they were, but earlier or later. Static cameras that are not
        synchronised see too little of each sequence to close anything.
        """
        c, bounds = self.config, np.array(self.info.bounds)
        if not self.conditioned:
            return torch.from_numpy(
                hull_by_time(views[0], self.info.background, bounds, c.grid_resolution, c.time_boxes, c.hulls)
            )
        if self.info.static_cameras and not all(are_synchronised(of_sequence, c.hulls) for of_sequence in views):
            return torch.ones_like(self.occupancy.density, dtype=torch.bool)
        hulls = [
            hull_by_time(of_sequence, self.info.background, bounds, c.grid_resolution, 1, c.hulls)
            for of_sequence in views
        ]
        return torch.from_numpy(np.any(hulls, axis=0)).expand_as(self.occupancy.density)

    def scene(self, state: DNeRFState) -> ComposedField:
        """The canonical field, displaced to the state's time."""
        return self._compose(self.time_condition(state), torch.zeros_like)

    def _displaced(self, local: Tensor, at: TimeCondition) -> Tensor:
        """Canonical coordinates `[M, 3]` of points `local`; with one sequence, `local` at its first time."""
        encoded = [self.encode_position(local), self.encode_time(torch.pi * at.time_since_start[:, None]), at.initial]
        shift = self.deformation(torch.cat(encoded, dim=-1))
        return local + (shift if self.conditioned else torch.where(at.time_since_start[:, None] == 0, 0.0, shift))

    def _features(self, local: Tensor, at: TimeCondition) -> Tensor:
        """Features `[M, 7]` of the canonical voxels at points `local`."""
        box = torch.zeros(len(local), dtype=torch.int64, device=local.device)
        return self.canonical.features(self._displaced(local, at), box)

    def _compose(self, time_conditions: TimeCondition, row_of: Callable[[Tensor], Tensor]) -> ComposedField:
        """The field whose ray r sees row `row_of(r)` of `time_conditions`."""

        def query(local: Tensor, part: Tensor, ray: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
            del part
            features = self._features(local, time_conditions.of(row_of(ray)))
            return self.canonical.density(features) * self.scale, self.canonical.color(features, -view)

        boxes = self.config.time_boxes
        cells = (time_conditions.time_since_start * boxes).long().clamp(0, boxes - 1)
        return single_box_field(self.info, query, cells, self.occupancy, self.step_length)

    def losses(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Squared colour error, opacity in front of the stated background, and total variation of the voxels."""
        result = render_rays(self._compose(self.time_conditions(batch), lambda rays: rays), batch.rays, stratified=True)
        self.budget.note(result)
        c = self.config
        terms = ray_losses(result, batch, self.info.background, c.background_opacity_weight, c.packed)
        return terms | voxel_tv_loss(self.canonical, c.tv_weight * c.tv_weight_decay**self.progress, step, c.packed)

    def batch_spec(self, step: int) -> BatchSpec:
        """As many rays as the budget of samples allows."""
        del step
        return replace(self.ray_spec, rays=self.budget.rays())

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Voxels and deformation network; both learning rates fall exponentially over the budget."""
        c, decay = self.config, self.config.lr_decay**progress
        return [
            {"name": "voxels", "params": [self.canonical.values], "lr": c.voxel_lr * decay},
            {"name": "network", "params": list(self.deformation.parameters()), "lr": c.network_lr * decay},
        ]

    def before_step(self, step: int, progress: float) -> str | None:
        """Refreshes the occupancy."""
        c, self.progress = self.config, progress
        if step > c.refresh_after and step % c.refresh_every == 0:
            # A visit evaluates one sequence; with S sequences the cached densities of the others must last S visits.
            decay = c.packed.occupancy_decay ** (1 / len(self.start_times))
            self.occupancy.refresh(self._cell_density, c.refresh_share * c.packed.refresh_factor(step), decay)
        return None

    def _cell_density(self, coords: Tensor, box: Tensor) -> Tensor:
        times = (box + torch.rand(len(box), device=box.device)) / self.config.time_boxes
        conditions = TimeCondition(times, self._sample_initial_conditions(len(box)))
        return self.canonical.density(self._features(coords, conditions)) * self.scale

    def _sample_initial_conditions(self, count: int) -> Tensor:
        """`[count, C]`: random points between the initial conditions of two sequences, where new ones may start."""
        if not self.conditioned:
            return self.initial.expand(count, -1)
        device = self.initial.device
        first, second = torch.randint(len(self.initial), (2, count), device=device)
        return torch.lerp(self.initial[first], self.initial[second], torch.rand(count, 1, device=device))
