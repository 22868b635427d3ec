"""Node-RF for one sequence, with the paper's shapes."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from foreseen.batches.rays import RayBatch, RaySpec
from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.core.observation import Observation, check_sequence_index
from foreseen.core.scene_info import SceneInfo, require_one_sequence
from foreseen.methods.node_rf.conditioned import ConditionedNeRF, NodeRFState
from foreseen.methods.node_rf.config import NodeRFPaperConfig
from foreseen.methods.node_rf.ode_rnn import OdeRnnEncoder
from foreseen.methods.node_rf.systems import latent_system
from foreseen.nn.mlp import init_normal
from foreseen.scenes import RadianceField


class PaperNodeRF(ConditionedNeRF):
    """Learned codes of the first two times -> ODE-RNN -> latent ODE -> code -> conditioned coarse and fine
    NeRF.

    Raises:
        UserError: several sequences, or fewer than two training times.
    """

    start_message = "the field learns the first times from their own codes; then the ODE gives the codes."
    window: Tensor
    noise: Tensor

    def __init__(self, config: NodeRFPaperConfig, info: SceneInfo) -> None:
        require_one_sequence("node-rf", info)
        super().__init__(config, info, steps=config.steps, warm_up_steps=config.warm_up_steps, lr_decay=config.lr_decay)
        self.codes = nn.Parameter(
            torch.randn(config.learned_codes, config.code_width) * config.code_std / math.sqrt(config.code_width)
        )
        self.encoder = OdeRnnEncoder(
            config.code_width,
            config.latent_width,
            dims=config.recurrent_width,
            hidden=config.recurrent_hidden,
            steps=config.encoder_steps,
            backward_lead=config.backward_lead,
            init_std=config.ode_init_std,
        )
        self.ode = self._make_ode(config.latent_width)
        self.decoder = nn.Linear(config.latent_width, config.code_width)
        init_normal(self.decoder, config.ode_init_std)
        self.networks = self._make_networks(config.lipschitz)
        times = torch.tensor(info.times[0], dtype=torch.float64)
        self.start, self.length = float(times[0]), float(times[-1] - times[0])
        self.register_buffer("window", ((times - times[0]) / self.length).float(), persistent=False)
        # Saved with the weights, so that all forecasts of a run start from the same sample.
        self.register_buffer("noise", torch.randn(config.latent_width))

    def observe(self, observation: Observation) -> NodeRFState:
        """The initial state: the mean of the posterior. The authors sample for every rendering, so that two pictures of
        one time differ; ours is repeatable. `sample_at_test` takes one sample, fixed for the run."""
        check_sequence_index(observation.sequence, 1)
        mean, deviation = self._posterior()
        latent = mean + deviation * self.noise if self.config.sample_at_test else mean
        return NodeRFState(latent, latent.new_tensor(self.start))

    def _posterior(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the state at the first time. The encoder always has the training times;
        the authors' encoder gets other times when they test."""
        return self.encoder(self.codes, self.window[: self.config.learned_codes])

    def evolve(self, state: NodeRFState, times: Tensor) -> NodeRFState:
        """The latent trajectory at `times` `[T]`, inside and outside the window."""
        times = times.to(state.latent)
        return NodeRFState(self._flow(state.latent, self._normalised(state.time), self._normalised(times)), times)

    def _normalised(self, times: Tensor) -> Tensor:
        """Times in window lengths from the first training time: the observed window is 0..1."""
        return (times - self.start) / self.length

    def scene(self, state: NodeRFState) -> RadianceField:
        """The radiance field, conditioned on the decoded state."""
        return self._field(self.decoder(state.latent)[None], None)

    @torch.no_grad()
    def system(self, cluster: int = 0) -> DynamicalSystem:
        """The latent ODE, over the window."""
        del cluster
        times = self.info.times[0]
        path = self.evolve(self.observe(Observation()), torch.tensor(times, dtype=torch.float64)).latent
        decoder = copy.deepcopy(self.decoder).double()
        return latent_system(self.ode, [(times, path)], self.length, decoder)

    def losses(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Colour errors of both networks, and the Lipschitz bounds if `lipschitz` is on. There is no divergence from a
        prior: the paper's loss has none."""
        time_indices, code_of_ray = batch.time_indices.unique(return_inverse=True)
        codes = self._raw_codes(time_indices) if self.is_warm_up(step) else self._evolved_codes(time_indices)
        return self._picture_losses(codes, code_of_ray, batch, self.config.lipschitz)

    def _raw_codes(self, time_indices: Tensor) -> Tensor:
        if int(time_indices.max()) >= self.config.learned_codes:
            raise ValueError("a warm-up batch must have the times of batch_spec only")
        return self.codes[time_indices]

    def _evolved_codes(self, time_indices: Tensor) -> Tensor:
        """Codes at the training times `time_indices` `[U]`, from a sampled initial state. The authors solve for all
        times and render one; we solve for the rendered times only, which gives the same states."""
        mean, deviation = self._posterior()
        latent = mean + deviation * torch.randn_like(mean)
        return self.decoder(self._flow(latent, 0.0, self.window[time_indices]))

    def batch_spec(self, step: int) -> RaySpec:
        """In the warm-up only the times that have a code. Codes keep learning afterwards, through the encoder, as in
        the authors' code (which tries to freeze them, by an attribute without effect)."""
        spec = super().batch_spec(step)
        return replace(spec, time_indices=tuple(range(self.config.learned_codes))) if self.is_warm_up(step) else spec
