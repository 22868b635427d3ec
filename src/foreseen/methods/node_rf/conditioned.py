"""What Node-RF's paper preset does for one sequence and for several: two NeRFs that see a code, warm-up, optimiser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from foreseen.batches.rays import RayBatch, RaySpec
from foreseen.core.method import Callback, Method, Traits
from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.methods.node_rf.config import NodeRFPaperConfig
from foreseen.methods.node_rf.losses import color_losses, lipschitz_loss
from foreseen.nn.lipschitz import LipschitzLinear
from foreseen.nn.nerf import NeRFNetwork, shifted_softplus
from foreseen.nn.recompute import recomputed
from foreseen.ode import integrate_from
from foreseen.render import render_rays
from foreseen.scenes import RadianceField

ADAM_EPSILON = 1e-8
"""The paper's Adam is the usual one."""


@dataclass(frozen=True)
class NodeRFState:
    """A point on the latent trajectory.

    Attributes:
        latent: `[..., width of the ODE's state]`.
        time: `[...]`, in the data set's unit.
    """

    latent: Tensor
    time: Tensor


class ConditionedNeRF(Method[NodeRFState, RayBatch]):
    """A coarse and a fine NeRF under one code; a subclass says where codes come from, and makes `networks` by
    `_make_networks`.

    Args:
        steps: of a training without another budget.
        warm_up_steps: of the first warm-up.
        lr_decay: learning rate at the end of the budget as a share of the first.
    """

    traits = Traits(bf16=True, max_grad_norm=0.0)  # The paper clips nothing.
    start_message: str
    """What is said as the first warm-up begins."""
    ode: nn.Module
    networks: nn.ModuleDict
    centre: Tensor

    def __init__(
        self, config: NodeRFPaperConfig, info: SceneInfo, *, steps: int, warm_up_steps: int, lr_decay: float
    ) -> None:
        super().__init__()
        self.config, self.info = config, info
        self.warm_up_steps, self.lr_decay = warm_up_steps, lr_decay
        self.traits = replace(self.traits, default_steps=steps)
        self.batch = RaySpec(rays=config.rays, frames=1, centre_crop_steps=config.centre_crop_steps)
        self._opening: bool | None = None
        low, high = torch.tensor(info.bounds)
        self.register_buffer("centre", (low + high) / 2, persistent=False)
        # The paper's NeRF wants positions in [-1, 1] under waves sin(2^k pi x). Ours carry no pi: the box
        # becomes [-pi, pi], whatever the data set's unit of length. (The authors feed raw positions of scenes
        # of about that size.)
        self.scale = math.pi / max(float((high - low).max()) / 2, 1e-9)

    def _make_networks(self, lipschitz: bool) -> nn.ModuleDict:
        return nn.ModuleDict({name: self._network(lipschitz) for name in ("coarse", "fine")})

    def _network(self, lipschitz: bool) -> NeRFNetwork:
        c = self.config
        return NeRFNetwork(
            c.code_width,
            width=c.field_width,
            layers=c.field_layers,
            skip=c.field_skip,
            position_levels=c.position_levels,
            direction_levels=c.direction_levels,
            linear=LipschitzLinear if lipschitz else nn.Linear,
            rectify=shifted_softplus if c.density == "softplus" else torch.relu,
        )

    def _flow(self, latent: Tensor, start: Tensor | float, times: Tensor) -> Tensor:
        """The law's solution from `latent` at `start`, at `times` `[T]`, in window lengths."""
        c = self.config
        return integrate_from(
            self.ode, latent, start, times,
            solver=c.solver, step=c.ode_step, rtol=c.rtol, atol=c.atol, adjoint=c.adjoint,
        )  # fmt: skip

    def _field(self, codes: Tensor, which: Tensor | None) -> RadianceField:
        """Fields conditioned on `codes` `[U, code_width]`, ray n on the one at `which[n]`."""
        info, c = self.info, self.config
        return RadianceField(
            query=partial(self._query, self.networks["fine"], codes, which),
            coarse=partial(self._query, self.networks["coarse"], codes, which),
            near=info.near,
            far=info.far,
            background=info.background,
            options={"samples": c.samples, "importance_samples": c.importance_samples},
        )

    def _query(
        self, net: nn.Module, codes: Tensor, which: Tensor | None, x: Tensor, d: Tensor, rays: Tensor
    ) -> tuple[Tensor, Tensor]:
        points = (x - self.centre) * self.scale
        places = None if which is None else which[rays]
        if self.config.recompute and torch.is_grad_enabled():
            rows = (points, d) if places is None else (points, d, places)
            density, color = recomputed(lambda x, d, w=None: net(x, d, codes, w), *rows)
        else:
            density, color = net(points, d, codes, places)
        # The network speaks of its own, normalised length.
        return density * self.scale, color

    def _picture_losses(self, codes: Tensor, which: Tensor | None, batch: RayBatch, bounded: bool) -> dict[str, Tensor]:
        """Colour of both networks, and the product of their bounds where they are `bounded`."""
        result = render_rays(self._field(codes, which), batch.rays, stratified=True)
        terms = color_losses(result, batch.colors)
        return terms | lipschitz_loss(self.networks, self.config.lipschitz_weight) if bounded else terms

    def is_warm_up(self, step: int) -> bool:
        """Whether the field is fed learned codes at this step: at the beginning, and a few steps in every period,
        lest it forget what the codes mean."""
        c = self.config
        opening = step < self.warm_up_steps and self._opening is not False
        return opening or c.refresh_first <= step % c.refresh_period <= c.refresh_last

    def batch_spec(self, step: int) -> RaySpec:
        """One picture, its middle at the opening."""
        del step
        return self.batch if self._opening is not False else replace(self.batch, centre_crop_steps=0)

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[PoseLabels | None]) -> None:
        """Nothing, where codes come from pictures alone."""
        del frames, labels

    def callbacks(self) -> tuple[Callback, ...]:
        """The warm-up."""
        return (Callback(self.warm_start, self.before_step),)

    def before_step(self, step: int, progress: float) -> str | None:
        """Cuts the opening short where the budget is short: the paper's schedule counts steps, of 700 000 and more."""
        before, self._opening = self._opening, progress < self.config.max_warm_up_share
        return self.start_message if before is None and self.is_warm_up(step) else None

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """One group. The rate falls exponentially to `lr * lr_decay` at the end of the budget: over the paper's
        steps that is its 0.1^(step / 500 000), and a shorter run walks through the same rates faster."""
        lr = self.config.lr * self.lr_decay**progress
        return [{"params": list(self.parameters()), "lr": lr, "eps": ADAM_EPSILON, "name": "all"}]
