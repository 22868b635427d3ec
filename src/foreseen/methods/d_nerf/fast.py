"""D-NeRF, preset `fast`: the deformation network in front of a canonical field of voxels, packed rendering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foreseen.data.labels import Labels
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.methods.base import BatchSpec, Method, Observation, RayBatch, SceneInfo
from foreseen.methods.d_nerf.config import FastConfig
from foreseen.methods.d_nerf.paper import TimeState
from foreseen.methods.hulls import View, hull_by_time
from foreseen.methods.packed import SampleBudget, one_box, packed_losses, rough_loss
from foreseen.nn.encodings import PositionalEncoding
from foreseen.nn.mlp import MLP
from foreseen.nn.voxels import VoxelGrids, VoxelTable
from foreseen.render import render_rays
from foreseen.render.occupancy import OccupancyGrid
from foreseen.scenes import ComposedField

EMPTY_ALPHA = 0.002
"""A cell counts as empty when one step through it takes less than this share of the light."""


class FastDNeRF(Method):
    """The state is the time; the canonical field is asked at displaced points. What lies outside the training window
    is the network's own extrapolation, as in the paper's form.

    The occupancy has one grid for each stretch of time; times outside the window read the nearest one. Raises
    `UserError` for several sequences.
    """

    origin: Tensor

    def __init__(self, config: FastConfig, info: SceneInfo) -> None:
        super().__init__()
        if len(info.times) != 1:
            raise UserError(
                f"d-nerf learns one sequence, and the data set has {len(info.times)}: give a folder with one of them."
            )
        self.config, self.info = config, info
        self.batch = BatchSpec(rays=config.rays, foreground=config.foreground)
        low, high = torch.tensor(info.bounds)
        halves = (high - low) / 2
        first, last = info.time_range
        self.register_buffer("origin", torch.tensor(first))
        self.length = (last - first) or 1.0
        self.encode_position = PositionalEncoding(config.position_levels, 3)
        self.encode_time = PositionalEncoding(config.time_levels, 1)
        inputs = self.encode_position.outputs + self.encode_time.outputs
        self.deformation = MLP(inputs, 3, width=config.width, layers=config.deformation_layers)
        with torch.no_grad():
            self.deformation.output.weight.mul_(0.01)
            nn.init.zeros_(self.deformation.output.bias)
        everywhere = torch.ones(1, 2, 2, 2, dtype=torch.bool)
        self.canonical = VoxelGrids(VoxelTable.build([config.levels], everywhere), config.initial)
        self.scale = float(self.canonical.scales(halves[None]))
        self.step_length = 2 * float(halves.max()) / config.ladder
        self.occupancy = OccupancyGrid(config.time_boxes, config.cells, threshold=EMPTY_ALPHA / self.step_length)
        self.budget = SampleBudget(config.samples, config.rays)
        self.progress = 0.0

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[Labels | None]) -> None:
        """Closes what silhouettes say is empty, stretch of time by stretch of time."""
        del labels
        if self.info.ndc:  # hulls are carved in the space of the cameras, where rays in NDC do not run
            return
        views = [View.of(frame, float(self.origin), self.length) for frame in frames]
        c = self.config
        may_be = hull_by_time(views, self.info.background, np.array(self.info.bounds), c.cells, c.time_boxes)
        self.occupancy.close(~torch.from_numpy(may_be))

    def observe(self, observation: Observation) -> TimeState:
        """The first training time, which is the canonical one."""
        if observation.sequence != 0:
            raise UserError(f"this run learned one sequence; there is no sequence {observation.sequence}.")
        return TimeState(self.origin)

    def evolve(self, state: TimeState, times: Tensor) -> TimeState:
        """`times` themselves."""
        return TimeState(times.to(state.time))

    def scene(self, state: TimeState) -> ComposedField:
        """The canonical field as it looks at the state's time."""
        return self._compose(((state.time - self.origin) / self.length)[None], lambda rays: torch.zeros_like(rays))

    def _displaced(self, local: Tensor, times: Tensor) -> Tensor:
        """Canonical coordinates `[M, 3]` of points `local` at `times` `[M]` (the window is 0..1); themselves at 0."""
        encoded = [self.encode_position(local), self.encode_time(torch.pi * times[:, None])]
        shift = self.deformation(torch.cat(encoded, dim=-1))
        return local + torch.where(times[:, None] == 0, 0.0, shift)

    def _features(self, local: Tensor, times: Tensor) -> Tensor:
        """What the canonical voxels hold, `[M, 7]`, where `local` is at `times`."""
        box = torch.zeros(len(local), dtype=torch.int64, device=local.device)
        return self.canonical.features(self._displaced(local, times), box)

    def _compose(self, times: Tensor, row_of: Callable[[Tensor], Tensor]) -> ComposedField:
        """The field whose ray r sees time `times[row_of(r)]`."""

        def query(local: Tensor, part: Tensor, ray: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
            del part
            features = self._features(local, times[row_of(ray)])
            return self.canonical.density(features) * self.scale, self.canonical.color(features, -view)

        boxes = self.config.time_boxes
        cells = (times * boxes).long().clamp(0, boxes - 1)
        return one_box(self.info, query, cells, self.occupancy, self.step_length)

    def losses(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Squared colour error, opacity where the plain background was seen, and the voxels' roughness."""
        times = (batch.times - self.origin) / self.length
        result = render_rays(self._compose(times, lambda rays: rays), batch.rays, stratified=True)
        self.budget.note(result)
        terms = packed_losses(result, batch, self.info.background, self.config.empty_weight)
        c = self.config
        return terms | rough_loss(self.canonical, c.rough_weight * c.rough_decay**self.progress, step)

    def batch_spec(self, step: int) -> BatchSpec:
        """As many rays as the step's budget of samples allows."""
        del step
        return replace(self.batch, rays=self.budget.rays())

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Voxels, and the deformation; both rates fall exponentially over the budget."""
        c, decay = self.config, self.config.lr_decay**progress
        return [
            {"name": "voxels", "params": [self.canonical.values], "lr": c.voxel_lr * decay},
            {"name": "network", "params": list(self.deformation.parameters()), "lr": c.network_lr * decay},
        ]

    def before_step(self, step: int, progress: float) -> str | None:
        """Refreshes the occupancy."""
        self.progress = progress
        if step > self.config.refresh_after and step % self.config.refresh_every == 0:
            self.occupancy.refresh(self._cached_density, self.config.refresh_share * (4 if step <= 256 else 1))
        return None

    def _cached_density(self, coords: Tensor, box: Tensor) -> Tensor:
        times = (box + torch.rand(len(box), device=box.device)) / self.config.time_boxes
        return self.canonical.density(self._features(coords, times)) * self.scale
