"""D-NeRF with the paper's shapes: a canonical radiance field and a deformation network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from foreseen.batches.rays import RayBatch, RaySpec
from foreseen.core.batch import BatchSpec
from foreseen.core.method import Traits
from foreseen.core.scene_info import SceneInfo
from foreseen.methods.d_nerf.config import DNeRFPaperConfig
from foreseen.methods.d_nerf.losses import color_loss
from foreseen.methods.d_nerf.time_conditioning import DNeRFState, TimeCondition, TimeConditionedMethod
from foreseen.nn.encodings import PositionalEncoding
from foreseen.nn.mlp import MLP
from foreseen.nn.nerf import NeRFNetwork, shifted_softplus
from foreseen.nn.recompute import recomputed
from foreseen.render import render_rays
from foreseen.scenes import RadianceField


class DeformationNetwork(nn.Module):
    """Displacement from a point at a time to the canonical configuration.

    Source: D-NeRF, section 4.1 and equation 1.

    Args:
        conditions: number of values of the initial condition. Where there are any, the canonical configuration is not
            the start of one sequence, and no displacement is fixed to 0.
    """

    def __init__(self, config: DNeRFPaperConfig, conditions: int = 0) -> None:
        super().__init__()
        self.pinned = conditions == 0
        self.encode_position = PositionalEncoding(config.position_levels, 3)
        self.encode_time = PositionalEncoding(config.time_levels, 1)
        inputs = self.encode_position.outputs + self.encode_time.outputs + conditions
        self.mlp = MLP(inputs, 3, width=config.width, layers=config.layers, skip=config.skip)

    def forward(self, positions: Tensor, times: Tensor, initial: Tensor) -> Tensor:
        """`[M, 3]` for `positions` `[M, 3]` at `times` `[M]` of sequences with initial conditions `initial` `[M, C]`;
        without conditions (C = 0) exactly 0 at time 0.

        Times are multiplied by pi before the encoding: the observed window 0..1 is half a period of the lowest
        frequency.
        """
        encoded = [self.encode_position(positions), self.encode_time(math.pi * times[:, None]), initial]
        shift = self.mlp(torch.cat(encoded, dim=-1))
        if not self.pinned:
            return shift
        # The network is evaluated in any case, so that every parameter has a gradient in every process.
        return torch.where(times[:, None] == 0, 0.0, shift)


class PaperDNeRF(TimeConditionedMethod):
    """A scene is the canonical field, evaluated at displaced points.

    Times are normalised so that the training window is 0..1. At later times the networks extrapolate: this is the
    baseline's forecast.
    """

    traits = Traits(bf16=True)
    centre: Tensor

    def __init__(self, config: DNeRFPaperConfig, info: SceneInfo) -> None:
        super().__init__(info)
        self.config = config
        self.traits = replace(self.traits, default_steps=config.default_steps)
        self.ray_spec = RaySpec(rays=config.rays, frames=1, centre_crop_steps=config.centre_crop_steps)
        self.deformation = DeformationNetwork(config, self.initial.shape[1])
        self.canonical = NeRFNetwork(
            width=config.width,
            layers=config.layers,
            skip=config.skip,
            position_levels=config.position_levels,
            direction_levels=config.direction_levels,
            rectify=shifted_softplus if config.density == "softplus" else torch.relu,
        )
        self.progress = 0.0
        self.max_num_times = max(len(times) for times in info.times)
        low, high = torch.tensor(info.bounds)
        self.register_buffer("centre", (low + high) / 2, persistent=False)
        # The longest side of the bounds becomes -pi..pi, one period of the lowest frequency, for any unit of length.
        self.scale = math.pi / max(float((high - low).max()) / 2, 1e-9)

    def scene(self, state: DNeRFState) -> RadianceField:
        """The canonical field, displaced to the state's time."""
        return self._field(self.time_condition(state), torch.zeros_like)

    def _field(self, time_conditions: TimeCondition, row_of: Callable[[Tensor], Tensor]) -> RadianceField:
        """The field whose ray r sees row `row_of(r)` of `time_conditions`."""

        def query(positions: Tensor, directions: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
            conditions = time_conditions.of(row_of(rays))
            local = (positions - self.centre) * self.scale
            inputs = (local, directions, conditions.time_since_start, conditions.initial)
            saves_memory = self.config.recompute and torch.is_grad_enabled()
            density, color = recomputed(self._evaluate, *inputs) if saves_memory else self._evaluate(*inputs)
            # The networks' density is per normalised length.
            return density * self.scale, color

        c, info = self.config, self.info
        options = {"samples": c.samples, "importance_samples": c.importance_samples}
        return RadianceField(query, info.near, info.far, info.background, options=options)

    def _evaluate(self, local: Tensor, directions: Tensor, times: Tensor, initial: Tensor) -> tuple[Tensor, Tensor]:
        return self.canonical(local + self.deformation(local, times, initial), directions)

    def losses(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Squared colour error of rays, each at its own time."""
        del step
        result = render_rays(self._field(self.time_conditions(batch), lambda rays: rays), batch.rays, stratified=True)
        return color_loss(result.rgb, batch.colors)

    def before_step(self, step: int, progress: float) -> str | None:
        """Keeps the progress, on which the curriculum and the crop depend."""
        self.progress = progress
        if step > 0 or self.curriculum_times(step) == self.max_num_times:
            return None
        return "training starts with the first times; later ones are added one by one."

    def curriculum_times(self, step: int) -> int:
        """Number of training times of each sequence, earliest first, that a step uses."""
        c, total = self.config, self.max_num_times
        share = max(step / max(c.curriculum_steps, 1), self.progress / max(c.max_warm_up_share, 1e-9))
        return total if share >= 1 else min(max(int(share * total), c.curriculum_start), total)

    def batch_spec(self, step: int) -> BatchSpec:
        """One picture at one of the times of the curriculum; its central half at the start."""
        count = self.curriculum_times(step)
        crop = self.config.centre_crop_steps if self.progress < self.config.max_warm_up_share else 0
        times = None if count == self.max_num_times else tuple(range(count))
        return replace(self.ray_spec, centre_crop_steps=crop, time_indices=times)

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """One group; its learning rate falls exponentially from `lr` to `lr_final` over the budget."""
        c = self.config
        lr = c.lr * (c.lr_final / c.lr) ** progress
        return [{"params": list(self.parameters()), "lr": lr, "name": "all"}]
