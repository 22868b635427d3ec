"""What the latent preset does for one sequence and for several: codes on an ODE's trajectories condition one field."""

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
from foreseen.methods.node_rf.fast_config import LatentODEConfig, NodeRFFastConfig
from foreseen.methods.node_rf.latent_field import LatentField
from foreseen.methods.node_rf.latent_ode import SecondOrderODE, SeenCodes, fit_ode, trajectories
from foreseen.methods.node_rf.systems import latent_system
from foreseen.scenes import ComposedField


class FastNodeRFBase(TakesShapes, Method[NodeRFState, RayBatch]):
    """S sequences. A state is (q, q'), D numbers each; q is the code.

    Attributes:
        codes: `[S, T, D]`, at the training times, padded: learned one by one, later what the ODE says.
        first: `[S, 2 D]`, the ODE's state at each sequence's first time.
        stage: `[]` int64; 0: the codes are learned, 1: the ODE says them.
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
        for s, own in enumerate(info.times):
            times[s, : len(own)] = (torch.tensor(own, dtype=torch.float64) - own[0]) / self.window
        self.register_buffer("times", times.float(), persistent=False)
        self.register_buffer("valid", torch.arange(max(counts)) < torch.tensor(counts)[:, None], persistent=False)
        self.register_buffer("stage", torch.tensor(0))
        low, high = torch.tensor(info.bounds)
        self._make(1, LatentField(config, info, 1, torch.stack([(low + high) / 2, (high - low) / 2])))
        self.progress = 0.0

    def _make(self, dims: int, field: LatentField) -> None:
        """Untrained codes and ODE of so many dimensions beside a field."""
        self.field = field
        self.ode = SecondOrderODE(dims, self.dynamics)
        self.codes = nn.Parameter(torch.zeros(*self.times.shape, dims))
        self.first = nn.Parameter(torch.zeros(len(self.times), 2 * dims))

    @property
    def dynamics(self) -> LatentODEConfig:
        """Settings of the ODE."""
        return self.config.dynamics if len(self.times) == 1 else self.config.multi_sequence

    @property
    def dims(self) -> int:
        """D of the code."""
        return self.codes.shape[-1]

    def _begin(self, codes: Tensor, frames: Sequence[Frame], bodies: int = 0) -> None:
        """Takes over first `codes` `[S, T, D]`, which tell positions of so many bodies."""
        self._make(codes.shape[-1], LatentField.around(self.config, self.info, codes.shape[-1], frames, bodies))
        with torch.no_grad():
            self.codes.copy_(codes)

    def _take_shapes(self, tensors: Mapping[str, Tensor]) -> None:
        """Codes of as many dimensions, and a box of the same place, as the checkpoint has."""
        codes = tensors["codes"]
        if codes.ndim != 3 or codes.shape[:2] != self.times.shape or not 0 < codes.shape[2] <= 8:
            raise UserError(f"codes: {list(codes.shape)} are not those of {list(self.times.shape)} training times")
        dims = codes.shape[2]
        self._make(dims, LatentField.like(self.config, self.info, dims, tensors, "field."))

    # The four verbs (render belongs to the scene).

    def observe(self, observation: Observation) -> NodeRFState:
        """The ODE's first state of a training sequence."""
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
        """The field under the state's code."""
        return self.field.scene_of(state.latent[None, : self.dims])

    def layer(self, state: NodeRFState, which: Layer) -> ComposedField:
        """One layer of it."""
        return self.field.scene_of(state.latent[None, : self.dims], which)

    # How it learns.

    def losses(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Colour under the codes of the rays' moments, which are on the ODE's trajectories from `ode_from` on."""
        if self.field.is_static_step(step):
            return self.field.static_losses(batch, step)
        codes: Tensor = self.codes
        terms: dict[str, Tensor] = {}
        if self.stage == 1:
            codes = codes.detach()
            if self.ode_learns and step % self.config.ode_every == 0:
                paths = self.paths()
                codes, terms = paths[..., : self.dims], self.path_losses(paths)
                with torch.no_grad():
                    self.codes.copy_(codes)
        own = codes[batch.sequences, batch.time_indices]
        return terms | self.field.losses(own, self._counted(own), batch, step)

    @property
    def ode_learns(self) -> bool:
        """Whether pictures teach the ODE."""
        return int(self.stage) == 1 and self.progress >= self.config.ode_from

    def paths(self) -> Tensor:
        """`[S, T, 2 D]`: the ODE's states at the training times."""
        return trajectories(self.ode, self.first_states(), self.times)

    def path_losses(self, paths: Tensor) -> dict[str, Tensor]:
        """Terms of the ODE's states `[S, T, 2 D]` themselves."""
        del paths
        return {}

    def _counted(self, codes: Tensor) -> Tensor:
        """`[...]` float: 1 for codes `[..., D]` that the curriculum has reached."""
        learned = self.codes.detach()[self.valid]
        middle = learned.median(0).values
        farthest = (learned - middle).norm(dim=-1).max().clamp_min(1e-9)
        return ((codes.detach() - middle).norm(dim=-1) <= self._reach() * farthest).to(codes)

    def _reach(self) -> float:
        c = self.config
        span = max(c.curriculum_share - c.warm_up_share, 1e-9)
        grown = min(1.0, max(0.0, (self.progress - c.warm_up_share) / span))
        return 2.0 if grown >= 1 else c.curriculum_start + (1 - c.curriculum_start) * grown

    def batch_spec(self, step: int) -> RaySpec:
        """Moments that the curriculum has reached."""
        spec = self.field.batch_spec(step)
        if self.field.is_static_step(step) or self._reach() >= 1:
            return spec
        reached = ((self._counted(self.codes) > 0) & self.valid).any(0).nonzero()[:, 0].tolist()
        return replace(spec, time_indices=tuple(reached) or None)

    @abstractmethod
    def warm_start(self, frames: Sequence[Frame], labels: Sequence[PoseLabels | None]) -> str:
        """First codes; says where they come from."""

    def callbacks(self) -> tuple[Callback, ...]:
        """First codes before training; the ODE takes over during it."""
        return (Callback(self.warm_start, self.before_step, after_training=self.finish),)

    def before_step(self, step: int, progress: float) -> str | None:
        """Refreshes the occupancy; lets the ODE take over when its time has come."""
        self.progress = progress
        self.field.before_step(step, progress)
        if self.stage == 0 and progress >= self.config.ode_from:
            return self._take_over()
        return None

    def finish(self) -> str | None:
        """Fits the ODE where the budget was too short for it to take over."""
        return self._take_over() if self.stage == 0 else None

    def _take_over(self) -> str:
        self._fit()
        self.stage.fill_(1)
        with torch.no_grad():
            codes = self.paths()[..., : self.dims]
            misfit = (codes - self.codes)[self.valid].square().mean().sqrt()
            self.codes.copy_(codes)
        return f"the latent ODE takes over; it follows the codes with a misfit of {float(misfit):.2%}."

    def _seen(self) -> SeenCodes:
        return SeenCodes(self.codes.detach(), self.times, self.valid)

    def _fit(self) -> None:
        """Fits the ODE to the codes as they are now."""
        first = fit_ode(self.ode, self._seen(), self.dynamics)
        with torch.no_grad():
            self.first.copy_(first)

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Field, codes, and what moves them; all rates fall exponentially over the budget."""
        c, decay = self.config, self.config.lr_decay**progress
        return [
            *self.field.parameter_groups(decay),
            {"name": "codes", "params": [self.codes], "lr": 0.0 if self.stage == 1 else c.code_lr * decay},
            {"name": "ode", "params": self._moves(), "lr": c.ode_lr * decay if self.ode_learns else 0.0},
        ]

    def _moves(self) -> list[nn.Parameter]:
        """What moves the codes."""
        return [self.first, *self.ode.parameters()]

    @torch.no_grad()
    def system(self, cluster: int = 0) -> DynamicalSystem:
        """The latent ODE, over what was seen of each sequence."""
        del cluster
        paths = self.paths()
        seen = [(own, path[: len(own)]) for own, path in zip(self.info.times, paths)]
        dims = self.dims
        system = latent_system(self.ode, seen, self.window, lambda y: y[..., :dims])
        names = [f"q{i + 1}" for i in range(dims)]
        return replace(system, names=(*names, *(f"{name}'" for name in names)))
