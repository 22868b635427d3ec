"""Node-RF on one sequence, with the paper's shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from foreseen.errors import UserError
from foreseen.methods.base import BatchSpec, Method, Observation, RayBatch, SceneInfo
from foreseen.methods.node_rf.config import PaperConfig
from foreseen.methods.node_rf.losses import color_losses, lipschitz_loss
from foreseen.methods.node_rf.ode_rnn import INIT_STD, AutonomousLaw, OdeRnnEncoder
from foreseen.nn.lipschitz import LipschitzLinear
from foreseen.nn.mlp import init_normal
from foreseen.nn.nerf import NeRFNetwork, shifted_softplus
from foreseen.nn.recompute import recomputed
from foreseen.ode import integrate_from
from foreseen.render import render_rays
from foreseen.scenes import RadianceField

CODES = 2
"""How many first times have a learned code of their own."""

ADAM_EPSILON = 1e-8
"""The paper's Adam is the usual one."""


@dataclass(frozen=True)
class LatentState:
    """A point on the latent trajectory.

    Attributes:
        latent: `[..., latent_width]`.
        time: `[...]`, in the data set's unit.
    """

    latent: Tensor
    time: Tensor


class PaperNodeRF(Method):
    """Learned codes of the first two times -> ODE-RNN -> latent ODE -> code -> conditioned coarse and fine
    NeRF.

    Raises `UserError` for several sequences, or fewer than two training times.
    """

    max_grad_norm = 0.0  # The paper clips nothing.
    window: Tensor
    centre: Tensor
    draw: Tensor

    def __init__(self, config: PaperConfig, info: SceneInfo) -> None:
        super().__init__()
        check_scene(info)
        self.config, self.info = config, info
        self.default_steps = config.steps
        self.batch = BatchSpec(rays=config.rays, frames=1, centre_crop_steps=config.centre_crop_steps)
        self.codes = nn.Parameter(torch.randn(CODES, config.code_width) * 0.01 / math.sqrt(config.code_width))
        self.encoder = OdeRnnEncoder(
            config.code_width,
            config.latent_width,
            dims=config.recurrent_width,
            hidden=config.recurrent_hidden,
        )
        self.law = AutonomousLaw(config.latent_width, config.law_width)
        self.decoder = nn.Linear(config.latent_width, config.code_width)
        init_normal(self.decoder, INIT_STD)
        self.networks = nn.ModuleDict({"coarse": self._network(), "fine": self._network()})
        self._opening: bool | None = None
        self._set_scales()

    def _network(self) -> NeRFNetwork:
        c = self.config
        return NeRFNetwork(
            c.code_width,
            width=c.field_width,
            layers=c.field_layers,
            skip=c.field_skip,
            position_levels=c.position_levels,
            direction_levels=c.direction_levels,
            linear=LipschitzLinear if c.lipschitz else nn.Linear,
            rectify=shifted_softplus if c.density == "softplus" else torch.relu,
        )

    def _set_scales(self) -> None:
        times = torch.tensor(self.info.times[0], dtype=torch.float64)
        self.start, self.length = float(times[0]), float(times[-1] - times[0])
        self.register_buffer("window", ((times - times[0]) / self.length).float(), persistent=False)
        low, high = torch.tensor(self.info.bounds)
        self.register_buffer("centre", (low + high) / 2, persistent=False)
        # The paper's NeRF wants positions in [-1, 1] under waves sin(2^k pi x). Ours carry no pi: the box
        # becomes [-pi, pi], whatever the data set's unit of length. (The authors feed raw positions of scenes
        # of about that size.)
        self.scale = math.pi / max(float((high - low).max()) / 2, 1e-9)
        # Saved with the weights: every frame of every forecast of a run starts from the same draw.
        self.register_buffer("draw", torch.randn(self.config.latent_width))

    def observe(self, observation: Observation) -> LatentState:
        """The initial state: the posterior's mean. The authors draw afresh for every rendering, so that two
        pictures of one moment differ; a forecast ought to be repeatable. `sample_at_test` takes one draw,
        fixed for the run."""
        if observation.sequence != 0:
            raise UserError(f"this run learned one sequence; there is no sequence {observation.sequence}.")
        mean, deviation = self._posterior()
        latent = mean + deviation * self.draw if self.config.sample_at_test else mean
        return LatentState(latent, latent.new_tensor(self.start))

    def _posterior(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the state at the first time. The encoder sees the training times always; the
        authors feed it other times when they test."""
        return self.encoder(self.codes, self.window[:CODES])

    def evolve(self, state: LatentState, times: Tensor) -> LatentState:
        """The latent trajectory at `times` `[T]`; beyond the window it integrates on."""
        times = times.to(state.latent)
        return LatentState(self._flow(state.latent, self._normalised(state.time), self._normalised(times)), times)

    def _normalised(self, times: Tensor) -> Tensor:
        """In window lengths from the first training time: 0..1 is what was observed."""
        return (times - self.start) / self.length

    def _flow(self, latent: Tensor, start: Tensor | float, times: Tensor) -> Tensor:
        c = self.config
        return integrate_from(
            self.law, latent, start, times,
            solver=c.solver, step=c.ode_step, rtol=c.rtol, atol=c.atol, adjoint=c.adjoint,
        )  # fmt: skip

    def scene(self, state: LatentState) -> RadianceField:
        """The radiance field that the state's code asks for."""
        return self._field(self.decoder(state.latent)[None], None)

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

    def losses(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Colour of both networks, and the bounds where `lipschitz` is on. No divergence from a prior: the
        paper's loss has none."""
        places, which = batch.time_indices.unique(return_inverse=True)
        codes = self._raw_codes(places) if self.is_warm_up(step) else self._evolved_codes(places)
        result = render_rays(self._field(codes, which), batch.rays, stratified=True)
        terms = color_losses(result, batch.colors)
        if self.config.lipschitz:
            terms |= lipschitz_loss(self.networks, self.config.lipschitz_weight)
        return terms

    def _raw_codes(self, places: Tensor) -> Tensor:
        if int(places.max()) >= CODES:
            raise ValueError("a warm-up batch must keep to the times that batch_spec names")
        return self.codes[places]

    def _evolved_codes(self, places: Tensor) -> Tensor:
        """Codes at the training times `places` `[U]`, from a drawn initial state. The authors solve for all
        times and render one; the state at a time does not depend on the others, so only what is rendered is
        solved for."""
        mean, deviation = self._posterior()
        latent = mean + deviation * torch.randn_like(mean)
        return self.decoder(self._flow(latent, 0.0, self.window[places]))

    def is_warm_up(self, step: int) -> bool:
        """Whether the field is fed raw codes at this step: at the beginning, and a few steps in every period,
        lest it forget what the codes mean."""
        c = self.config
        opening = step < c.warm_up_steps and self._opening is not False
        return opening or c.refresh_first <= step % c.refresh_period <= c.refresh_last

    def batch_spec(self, step: int) -> BatchSpec:
        """In the warm-up only the times that have a code. Codes keep learning afterwards, through the
        encoder, as in the authors' code (which means to freeze them, by an attribute without effect)."""
        spec = self.batch if self._opening is not False else replace(self.batch, centre_crop_steps=0)
        return replace(spec, time_indices=tuple(range(CODES))) if self.is_warm_up(step) else spec

    def before_step(self, step: int, progress: float) -> str | None:
        """Cuts the opening short where the budget is short: the paper's schedule counts steps, of 800 000."""
        before, self._opening = self._opening, progress < self.config.opening_share
        line = "the field learns the first two times from their own codes; then the ODE takes over."
        return line if before is None and self.is_warm_up(step) else None

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """One group. The rate falls exponentially to `lr * lr_decay` at the end of the budget: over 800 000
        steps that is the paper's 0.1^(step / 500 000), and a shorter run walks through the same rates
        faster."""
        lr = self.config.lr * self.config.lr_decay**progress
        return [{"params": list(self.parameters()), "lr": lr, "eps": ADAM_EPSILON, "name": "all"}]


def check_scene(info: SceneInfo) -> None:
    """Raises `UserError` where the scene is not one sequence of at least two times."""
    if len(info.times) != 1:
        raise UserError(
            f"node-rf learns one sequence, and the data set has {len(info.times)}: give a folder with one of them."
        )
    if len(info.times[0]) < CODES:
        raise UserError(
            f"node-rf needs training frames at {CODES} times or more; there is {len(info.times[0])}: "
            "give more frames, or a larger --observe-until."
        )
