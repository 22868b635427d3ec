"""Node-RF on one sequence, with the paper's shapes."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from foreseen.batches.rays import RayBatch, RaySpec
from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.core.observation import Observation
from foreseen.core.scene_info import SceneInfo, require_one_sequence
from foreseen.errors import UserError
from foreseen.methods.node_rf.conditioned import ConditionedNeRF, NodeRFState
from foreseen.methods.node_rf.config import NodeRFPaperConfig
from foreseen.methods.node_rf.ode_rnn import INIT_STD, AutonomousODE, OdeRnnEncoder
from foreseen.methods.node_rf.systems import latent_system
from foreseen.nn.mlp import init_normal
from foreseen.scenes import RadianceField

NUM_LEARNED_CODES = 2
"""How many first times have a learned code of their own."""


class PaperNodeRF(ConditionedNeRF):
    """Learned codes of the first two times -> ODE-RNN -> latent ODE -> code -> conditioned coarse and fine
    NeRF.

    Raises `UserError` for several sequences, or fewer than two training times.
    """

    start_message = "the field learns the first two times from their own codes; then the ODE takes over."
    window: Tensor
    draw: Tensor

    def __init__(self, config: NodeRFPaperConfig, info: SceneInfo) -> None:
        require_one_sequence("node-rf", info)
        super().__init__(config, info, steps=config.steps, warm_up_steps=config.warm_up_steps, lr_decay=config.lr_decay)
        self.codes = nn.Parameter(
            torch.randn(NUM_LEARNED_CODES, config.code_width) * 0.01 / math.sqrt(config.code_width)
        )
        self.encoder = OdeRnnEncoder(
            config.code_width,
            config.latent_width,
            dims=config.recurrent_width,
            hidden=config.recurrent_hidden,
        )
        self.ode = AutonomousODE(config.latent_width, config.ode_width, config.ode_layers)
        self.decoder = nn.Linear(config.latent_width, config.code_width)
        init_normal(self.decoder, INIT_STD)
        self.networks = self._make_networks(config.lipschitz)
        times = torch.tensor(info.times[0], dtype=torch.float64)
        self.start, self.length = float(times[0]), float(times[-1] - times[0])
        self.register_buffer("window", ((times - times[0]) / self.length).float(), persistent=False)
        # Saved with the weights: every frame of every forecast of a run starts from the same draw.
        self.register_buffer("draw", torch.randn(config.latent_width))

    def observe(self, observation: Observation) -> NodeRFState:
        """The initial state: the posterior's mean. The authors draw afresh for every rendering, so that two
        pictures of one moment differ; a forecast ought to be repeatable. `sample_at_test` takes one draw,
        fixed for the run."""
        if observation.sequence != 0:
            raise UserError(f"this run learned one sequence; there is no sequence {observation.sequence}.")
        mean, deviation = self._posterior()
        latent = mean + deviation * self.draw if self.config.sample_at_test else mean
        return NodeRFState(latent, latent.new_tensor(self.start))

    def _posterior(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the state at the first time. The encoder sees the training times always; the
        authors feed it other times when they test."""
        return self.encoder(self.codes, self.window[:NUM_LEARNED_CODES])

    def evolve(self, state: NodeRFState, times: Tensor) -> NodeRFState:
        """The latent trajectory at `times` `[T]`; beyond the window it integrates on."""
        times = times.to(state.latent)
        return NodeRFState(self._flow(state.latent, self._normalised(state.time), self._normalised(times)), times)

    def _normalised(self, times: Tensor) -> Tensor:
        """In window lengths from the first training time: 0..1 is what was observed."""
        return (times - self.start) / self.length

    def scene(self, state: NodeRFState) -> RadianceField:
        """The radiance field that the state's code asks for."""
        return self._field(self.decoder(state.latent)[None], None)

    @property
    def clusters(self) -> int:
        """One latent ODE."""
        return 1

    @torch.no_grad()
    def system(self, cluster: int = 0) -> DynamicalSystem:
        """The latent ODE, over the window."""
        del cluster
        times = self.info.times[0]
        path = self.evolve(self.observe(Observation()), torch.tensor(times, dtype=torch.float64)).latent
        decoder = copy.deepcopy(self.decoder).double()
        return latent_system(self.ode, [(times, path)], self.length, decoder)

    def losses(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Colour of both networks, and the bounds where `lipschitz` is on. No divergence from a prior: the
        paper's loss has none."""
        time_indices, which = batch.time_indices.unique(return_inverse=True)
        codes = self._raw_codes(time_indices) if self.is_warm_up(step) else self._evolved_codes(time_indices)
        return self._picture_losses(codes, which, batch, self.config.lipschitz)

    def _raw_codes(self, time_indices: Tensor) -> Tensor:
        if int(time_indices.max()) >= NUM_LEARNED_CODES:
            raise ValueError("a warm-up batch must keep to the times that batch_spec names")
        return self.codes[time_indices]

    def _evolved_codes(self, time_indices: Tensor) -> Tensor:
        """Codes at the training times `time_indices` `[U]`, from a drawn initial state. The authors solve for all
        times and render one; the state at a time does not depend on the others, so only what is rendered is
        solved for."""
        mean, deviation = self._posterior()
        latent = mean + deviation * torch.randn_like(mean)
        return self.decoder(self._flow(latent, 0.0, self.window[time_indices]))

    def batch_spec(self, step: int) -> RaySpec:
        """In the warm-up only the times that have a code. Codes keep learning afterwards, through the
        encoder, as in the authors' code (which means to freeze them, by an attribute without effect)."""
        spec = super().batch_spec(step)
        return replace(spec, time_indices=tuple(range(NUM_LEARNED_CODES))) if self.is_warm_up(step) else spec
