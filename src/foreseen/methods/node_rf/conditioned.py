"""What Node-RF's preset `paper` shares for one sequence and several: two conditioned NeRFs, warm-up, optimiser."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from foreseen.batches.rays import RayBatch, RaySpec
from foreseen.core.method import Callback, Method, Traits
from foreseen.core.scene_info import SceneInfo
from foreseen.methods.node_rf.config import NodeRFPaperConfig
from foreseen.methods.node_rf.losses import color_losses, lipschitz_loss
from foreseen.methods.node_rf.ode_rnn import AutonomousODE
from foreseen.nn.lipschitz import LipschitzLinear
from foreseen.nn.nerf import NeRFNetwork, shifted_softplus
from foreseen.nn.recompute import recomputed
from foreseen.ode import integrate_from
from foreseen.render import render_rays
from foreseen.scenes import RadianceField


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
    """A coarse and a fine NeRF, conditioned on one code. A subclass makes the codes, `ode` (by `_make_ode`) and
    `networks` (by `_make_networks`).

    Args:
        steps: training steps without another budget.
        warm_up_steps: steps of the first warm-up.
        lr_decay: learning rate at the end of the budget as a share of the first.
    """

    traits = Traits(bf16=True, max_grad_norm=0.0)  # The paper clips nothing.
    start_message: str
    """Line for the user at the start of the first warm-up."""
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
        self.ray_spec = RaySpec(rays=config.rays, frames=1, centre_crop_steps=config.centre_crop_steps)
        self._opening: bool | None = None
        low, high = torch.tensor(info.bounds)
        self.register_buffer("centre", (low + high) / 2, persistent=False)
        # The paper's NeRF takes positions in [-1, 1] and encodes them with sin(2^k pi x). Our encoding has no pi, so
        # the box becomes [-pi, pi], for any unit of length. (The authors use raw positions of scenes of about that
        # size.)
        self.scale = math.pi / max(float((high - low).max()) / 2, 1e-9)

    def _make_ode(self, dims: int) -> AutonomousODE:
        c = self.config
        return AutonomousODE(dims, c.ode_width, c.ode_layers, c.max_plain_layers, c.ode_init_std)

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
        """The ODE's solution from `latent` at `start`, at `times` `[T]`, in window lengths."""
        c = self.config
        return integrate_from(
            self.ode, latent, start, times,
            solver=c.solver, step=c.ode_step, rtol=c.rtol, atol=c.atol, adjoint=c.adjoint,
        )  # fmt: skip

    def _field(self, codes: Tensor, code_of_ray: Tensor | None) -> RadianceField:
        """Fields conditioned on `codes` `[U, code_width]`: ray n uses code `code_of_ray[n]`, or all the only one."""
        info, c = self.info, self.config
        return RadianceField(
            query=partial(self._query, self.networks["fine"], codes, code_of_ray),
            coarse=partial(self._query, self.networks["coarse"], codes, code_of_ray),
            near=info.near,
            far=info.far,
            background=info.background,
            options={"samples": c.samples, "importance_samples": c.importance_samples},
        )

    def _query(
        self, net: nn.Module, codes: Tensor, code_of_ray: Tensor | None, x: Tensor, d: Tensor, rays: Tensor
    ) -> tuple[Tensor, Tensor]:
        points = (x - self.centre) * self.scale
        rows = None if code_of_ray is None else code_of_ray[rays]
        if self.config.recompute and torch.is_grad_enabled():
            inputs = (points, d) if rows is None else (points, d, rows)
            density, color = recomputed(lambda x, d, r=None: net(x, d, codes, r), *inputs)
        else:
            density, color = net(points, d, codes, rows)
        # The network's density is per normalised length.
        return density * self.scale, color

    def _picture_losses(
        self, codes: Tensor, code_of_ray: Tensor | None, batch: RayBatch, bounded: bool
    ) -> dict[str, Tensor]:
        """Colour errors of both networks, and the product of their Lipschitz bounds if they are `bounded`."""
        result = render_rays(self._field(codes, code_of_ray), batch.rays, stratified=True)
        terms = color_losses(result, batch.colors)
        return terms | lipschitz_loss(self.networks, self.config.lipschitz_weight) if bounded else terms

    def is_warm_up(self, step: int) -> bool:
        """Whether the field gets learned codes at this step, without the ODE: at the start, and in a few steps of every
        period, so that the codes keep their meaning."""
        c = self.config
        opening = step < self.warm_up_steps and self._opening is not False
        return opening or c.refresh_first <= step % c.refresh_period <= c.refresh_last

    def batch_spec(self, step: int) -> RaySpec:
        """One picture; its central half at the start."""
        del step
        return self.ray_spec if self._opening is not False else replace(self.ray_spec, centre_crop_steps=0)

    def callbacks(self) -> tuple[Callback, ...]:
        """The warm-up."""
        return (Callback(before_step=self.before_step),)

    def before_step(self, step: int, progress: float) -> str | None:
        """Ends the first warm-up early if the budget is short: the paper has 700 000 steps or more."""
        previous, self._opening = self._opening, progress < self.config.max_warm_up_share
        return self.start_message if previous is None and self.is_warm_up(step) else None

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """One group. The learning rate falls exponentially to `lr * lr_decay` at the end of the budget. Over the
        paper's number of steps this is its 0.1^(step / 500 000); a shorter run has the same rates in fewer steps."""
        lr = self.config.lr * self.lr_decay**progress
        return [{"params": list(self.parameters()), "lr": lr, "eps": self.config.adam_epsilon, "name": "all"}]
