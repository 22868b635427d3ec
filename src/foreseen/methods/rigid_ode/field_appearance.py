"""What appearances made of radiance fields share: rays, occupancy, a budget of samples."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from foreseen.batches.rays import RayBatch, RaySpec
from foreseen.core.batch import BatchSpec
from foreseen.core.scene_info import SceneInfo
from foreseen.fields.packed import SampleBudget, ray_losses
from foreseen.methods.rigid_ode.appearance import Appearance
from foreseen.methods.rigid_ode.config import RigidODEConfig
from foreseen.methods.rigid_ode.parts import RigidPartsState
from foreseen.render import render_rays
from foreseen.render.occupancy import OccupancyGrid
from foreseen.scenes import ComposedField, VoxelScene


class FieldAppearance(Appearance[RayBatch]):
    """Learns from rays, as many as the budget of samples allows: many once empty space is known."""

    occupancy: OccupancyGrid

    def __init__(self, config: RigidODEConfig, info: SceneInfo, budget: SampleBudget) -> None:
        super().__init__()
        self.config, self.info, self.budget = config, info, budget
        self.register_buffer("half_extents", torch.zeros(0, 3))
        self.progress = 0.0

    @abstractmethod
    def scene_of(self, state: RigidPartsState, rows: Tensor | None) -> VoxelScene | ComposedField:
        """The scene in which ray r sees the parts in row `rows[r]` of `state`."""

    @abstractmethod
    def cell_density(self, coords: Tensor, box: Tensor) -> Tensor:
        """Density per scene unit `[N]` at `coords` `[N, 3]` in -1..1 of the boxes `box` `[N]`."""

    def penalties(self, step: int, progress: float) -> dict[str, Tensor]:
        """Loss terms that need no rays."""
        del step, progress
        return {}

    def scene(self, state: RigidPartsState) -> VoxelScene | ComposedField:
        """The scene at one time."""
        return self.scene_of(RigidPartsState(state.centres[None], state.rotations[None], state.latent[None]), None)

    def batch_spec(self) -> BatchSpec:
        """As many rays as the budget of samples allows."""
        return RaySpec(rays=self.budget.rays(), foreground=self.config.foreground)

    def losses(self, states: RigidPartsState, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Squared colour error, and opacity in front of the stated background."""
        c = self.config
        result = render_rays(self.scene_of(states, batch.time_indices), batch.rays, stratified=True)
        self.budget.note(result)
        terms = ray_losses(result, batch, self.info.background, c.background_opacity_weight, c.packed)
        return terms | self.penalties(step, self.progress)

    def before_step(self, step: int, progress: float) -> None:
        """Refreshes the occupancy grids."""
        c, self.progress = self.config, progress
        if step and step % c.refresh_every == 0:
            self.refresh(c.refresh_share * c.packed.refresh_factor(step))

    def refresh(self, share: float) -> None:
        """Evaluates the density in a random share of the occupancy grids' cells."""
        self.occupancy.refresh(self.cell_density, share, self.config.packed.occupancy_decay)
