"""The base class of preset `fast`, for one or several sequences: a field conditioned on codes that follow an ODE."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from foreseen.batches.rays import RayBatch, RaySpec
from foreseen.core.capabilities import Layer
from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.core.method import Callback, Method, TakesShapes
from foreseen.core.observation import Observation, check_sequence_index
from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.methods.node_rf.conditioned import NodeRFState
from foreseen.methods.node_rf.fast_config import ConditionedLayerConfig, LatentODEConfig, NodeRFFastConfig
from foreseen.methods.node_rf.latent_field import LatentField
from foreseen.methods.node_rf.latent_ode import ObservedCodes, SecondOrderODE, fit_ode, trajectories
from foreseen.methods.node_rf.systems import latent_system
from foreseen.scenes import ComposedField


class FastNodeRFBase(TakesShapes, Method[NodeRFState, RayBatch]):
    """S sequences of up to T times. A state is (q, q'), D components each; q is the code.

    Training has two stages. First each time has a free code. Then the ODE is fitted to the codes, and from there on the
    codes are its solutions.

    Attributes:
        codes: `[S, T, D]`, codes at the training times, padded.
        first: `[S, 2 D]`, state at the first time of each sequence.
        stage: `[]` int64; 0: codes are free parameters, 1: codes are solutions of the ODE.
    """

    stage: Tensor
    times: Tensor
    valid: Tensor
    ode: SecondOrderODE
    field: LatentField

    def __init__(self, config: NodeRFFastConfig, info: SceneInfo) -> None:
        super().__init__()
        self.config, self.info = config, info
        self.batch = RaySpec(rays=config.rays, foreground=config.foreground)
        counts = [len(times) for times in info.times]
        self.window = max(times[-1] - times[0] for times in info.times) or 1.0
        self.starts = tuple(times[0] for times in info.times)
        times = torch.zeros(len(counts), max(counts), dtype=torch.float64)
        for s, of_sequence in enumerate(info.times):
            since_start = torch.tensor(of_sequence, dtype=torch.float64) - of_sequence[0]
            times[s, : len(of_sequence)] = since_start / self.window
        self.register_buffer("times", times.float(), persistent=False)
        self.register_buffer("valid", torch.arange(max(counts)) < torch.tensor(counts)[:, None], persistent=False)
        self.register_buffer("stage", torch.tensor(0))
        low, high = torch.tensor(info.bounds)
        box = torch.stack([(low + high) / 2, (high - low) / 2])
        self._set_modules(1, LatentField(config, config.moving, info, 1, box[None]))
        self.progress = 0.0

    def _set_modules(self, dims: int, field: LatentField) -> None:
        """Sets the field, and untrained codes and ODE of `dims` dimensions."""
        self.field = field
        self.ode = SecondOrderODE(dims, self.dynamics)
        self.codes = nn.Parameter(torch.zeros(*self.times.shape, dims))
        self.first = nn.Parameter(torch.zeros(len(self.times), 2 * dims))

    @property
    def dynamics(self) -> LatentODEConfig:
        """Settings of the ODE."""
        return self.config.dynamics if len(self.times) == 1 else self.config.multi_sequence

    @property
    def layers(self) -> ConditionedLayerConfig:
        """Settings of the field's conditioned layers."""
        return self.config.moving

    @property
    def dims(self) -> int:
        """D of the code."""
        return self.codes.shape[-1]

    def _initialize(self, codes: Tensor, field: LatentField) -> None:
        """Sets initial `codes` `[S, T, D]`, a new field, and a new ODE."""
        self._set_modules(codes.shape[-1], field)
        with torch.no_grad():
            self.codes.copy_(codes)

    def _take_shapes(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the number of code dimensions and the box of the conditioned layer from a checkpoint."""
        codes = tensors["codes"]
        if codes.ndim != 3 or codes.shape[:2] != self.times.shape or not 0 < codes.shape[2] <= 8:
            raise UserError(f"codes: {list(codes.shape)} are not those of {list(self.times.shape)} training times")
        dims = codes.shape[2]
        self._set_modules(dims, LatentField.like(self.config, self.layers, self.info, dims, tensors, "field."))

    # Observe, evolve, scene.

    def observe(self, observation: Observation) -> NodeRFState:
        """The state at the first time of a training sequence."""
        check_sequence_index(observation.sequence, len(self.starts))
        index = observation.sequence
        first = self.first_states()[index]
        return NodeRFState(first, first.new_tensor(self.starts[index]))

    def first_states(self) -> Tensor:
        """`[S, 2 D]` at each training sequence's first time."""
        return self.first

    def evolve(self, state: NodeRFState, times: Tensor) -> NodeRFState:
        """The latent trajectory at `times` `[T]`; before the state's own time the ODE runs backward."""
        times = times.to(state.latent)
        return NodeRFState(self.ode.flow(state.latent, 0.0, (times - state.time) / self.window), times)

    def scene(self, state: NodeRFState) -> ComposedField:
        """The field, conditioned on the code of the state."""
        return self.field.scene_of(state.latent[None, : self.dims])

    def layer(self, state: NodeRFState, which: Layer) -> ComposedField:
        """The static or the dynamic layer of the field."""
        return self.field.scene_of(state.latent[None, : self.dims], which)

    # Training.

    def losses(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Losses of the rays' colours, with the code of each ray's time; and losses of the ODE's states. Steps for the
        static layer have no codes."""
        if self.field.is_static_step(step):
            return self.field.static_losses(batch, step)
        codes: Tensor = self.codes
        terms: dict[str, Tensor] = {}
        if self.stage == 1:
            codes = codes.detach()
            if self.is_ode_trained and step % self.config.ode_every == 0:
                paths = self.paths()
                codes, terms = paths[..., : self.dims], self.path_losses(paths)
                with torch.no_grad():
                    self.codes.copy_(codes)
        ray_codes = codes[batch.sequences, batch.time_indices]
        return terms | self.field.losses(ray_codes, self._curriculum_mask(ray_codes), batch, step)

    @property
    def is_ode_trained(self) -> bool:
        """Whether the ODE is trained by the losses of the pictures."""
        return int(self.stage) == 1 and self.progress >= self.config.ode_from

    def paths(self) -> Tensor:
        """`[S, T, 2 D]`: the ODE's states at the training times."""
        return trajectories(self.ode, self.first_states(), self.times)

    def path_losses(self, paths: Tensor) -> dict[str, Tensor]:
        """Loss terms of the ODE's states `[S, T, 2 D]`."""
        del paths
        return {}

    def _curriculum_mask(self, codes: Tensor) -> Tensor:
        """`[...]` float: 1 for codes `[..., D]` within the curriculum's radius around the median code, else 0."""
        learned = self.codes.detach()[self.valid]
        median = learned.median(0).values
        farthest = (learned - median).norm(dim=-1).max().clamp_min(1e-9)
        return ((codes.detach() - median).norm(dim=-1) <= self._curriculum_radius() * farthest).to(codes)

    def _curriculum_radius(self) -> float:
        """Radius of the curriculum at the current progress, as a share of the largest distance from the median code; it
        grows linearly after the warm-up. 2 (all codes) at its end."""
        c = self.config
        span = max(c.curriculum_share - c.warm_up_share, 1e-9)
        grown = min(1.0, max(0.0, (self.progress - c.warm_up_share) / span))
        return 2.0 if grown >= 1 else c.curriculum_start + (1 - c.curriculum_start) * grown

    def batch_spec(self, step: int) -> RaySpec:
        """Rays of the times that the curriculum has reached."""
        spec = self.field.batch_spec(step)
        if self.field.is_static_step(step) or self._curriculum_radius() >= 1:
            return spec
        reached = ((self._curriculum_mask(self.codes) > 0) & self.valid).any(0).nonzero()[:, 0].tolist()
        return replace(spec, time_indices=tuple(reached) or None)

    @abstractmethod
    def warm_start(self, frames: Sequence[Frame], labels: Sequence[PoseLabels | None]) -> str:
        """Sets the initial codes. Returns a message on how they were found."""

    def callbacks(self) -> tuple[Callback, ...]:
        """Initial codes before training; the ODE is fitted to the codes during it."""
        return (Callback(self.warm_start, self.before_step, after_training=self.finish),)

    def before_step(self, step: int, progress: float) -> str | None:
        """Refreshes the occupancy; starts stage 1 when progress passes `ode_from`."""
        self.progress = progress
        self.field.before_step(step, progress)
        if self.stage == 0 and progress >= self.config.ode_from:
            return self._start_ode_stage()
        return None

    def finish(self) -> str | None:
        """Starts stage 1 (and so fits the ODE) if training ended before it."""
        return self._start_ode_stage() if self.stage == 0 else None

    def _start_ode_stage(self) -> str:
        """Fits the ODE to the codes and replaces the codes by its solutions."""
        self._fit()
        self.stage.fill_(1)
        with torch.no_grad():
            codes = self.paths()[..., : self.dims]
            misfit = (codes - self.codes)[self.valid].square().mean().sqrt()
            self.codes.copy_(codes)
        return f"the latent ODE takes over; it follows the codes with a misfit of {float(misfit):.2%}."

    def _observed_codes(self) -> ObservedCodes:
        return ObservedCodes(self.codes.detach(), self.times, self.valid)

    def _fit(self) -> None:
        """Fits the ODE and the first states to the current codes."""
        first = fit_ode(self.ode, self._observed_codes(), self.dynamics)
        with torch.no_grad():
            self.first.copy_(first)

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Field, codes, and ODE. All learning rates decay exponentially over the budget."""
        c, decay = self.config, self.config.lr_decay**progress
        return [
            *self.field.parameter_groups(decay),
            {"name": "codes", "params": [self.codes], "lr": 0.0 if self.stage == 1 else c.code_lr * decay},
            {"name": "ode", "params": self._ode_parameters(), "lr": c.ode_lr * decay if self.is_ode_trained else 0.0},
        ]

    def _ode_parameters(self) -> list[nn.Parameter]:
        """Parameters that the ODE's solutions depend on."""
        return [self.first, *self.ode.parameters()]

    @torch.no_grad()
    def system(self, cluster: int = 0) -> DynamicalSystem:
        """The latent ODE, with its trajectories over the observed times of each sequence."""
        del cluster
        paths = self.paths()
        trajectories_of = [(times, path[: len(times)]) for times, path in zip(self.info.times, paths)]
        dims = self.dims
        system = latent_system(self.ode, trajectories_of, self.window, lambda y: y[..., :dims])
        names = [f"q{i + 1}" for i in range(dims)]
        return replace(system, names=(*names, *(f"{name}'" for name in names)))
