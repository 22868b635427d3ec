"""What both presets observe: the time and, with several sequences, the initial condition of each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from foreseen.batches.rays import RayBatch
from foreseen.core.method import Callback, Method
from foreseen.core.observation import Observation, ObservationKind, check_sequence_index
from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.errors import UserError


@dataclass(frozen=True)
class DNeRFState:
    """The state is the time itself, and the initial condition of its sequence.

    Attributes:
        time: `[...]`, in the data set's unit.
        start: `[...]`, the sequence's first time.
        initial: `[..., C]`, initial condition of the sequence (see `TimeConditionedMethod`).
    """

    time: Tensor
    start: Tensor
    initial: Tensor


@dataclass(frozen=True)
class TimeCondition:
    """Inputs of the deformation networks for N rays or points, besides the position.

    Attributes:
        time_since_start: `[N]`, time since the sequence's first one; the longest training window is 0..1.
        initial: `[N, C]`, initial condition of the sequence (see `TimeConditionedMethod`).
    """

    time_since_start: Tensor
    initial: Tensor

    def of(self, rows: Tensor) -> TimeCondition:
        """The inputs of rows `rows` `[M]`."""
        return TimeCondition(self.time_since_start[rows], self.initial[rows])


class TimeConditionedMethod(Method[DNeRFState, RayBatch]):
    """Learns one sequence by its time, or several by the time since the start of each and by its initial condition:
    D-NeRF(c), to which the Node-RF paper compares.

    An initial condition is the positions and velocities of B bodies at the sequence's first time, C = 6 B values.
    Positions are in half the longest side of the bounds, velocities in that per window. With one sequence C is 0.

    Raises:
        UserError: several sequences without ground truth, or with different numbers of bodies.
    """

    start_times: Tensor
    initial: Tensor

    def __init__(self, info: SceneInfo) -> None:
        super().__init__()
        check_sequences(info)
        self.info = info
        count = len(info.times)
        self.conditioned = count > 1
        # With a single training time the scene is static, and any length will do.
        self.length = max(times[-1] - times[0] for times in info.times) or 1.0
        self.register_buffer("start_times", torch.tensor([times[0] for times in info.times]), persistent=False)
        conditions = 6 * len(info.bodies[0]) if self.conditioned else 0
        self.register_buffer("initial", torch.zeros(count, conditions), persistent=self.conditioned)

    @property
    def observes(self) -> tuple[ObservationKind, ...]:
        """A learned sequence; with several sequences, also initial conditions."""
        return ("sequence", "initial") if self.conditioned else ("sequence",)

    def callbacks(self) -> tuple[Callback, ...]:
        """Keeps initial conditions before training."""
        return (Callback(self.warm_start, self.before_step),)

    @abstractmethod
    def before_step(self, step: int, progress: float) -> str | None:
        """What changes between steps."""

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[PoseLabels | None]) -> str | None:
        """Keeps the initial condition of each sequence."""
        del frames
        if self.conditioned:
            self.initial.copy_(torch.stack([self._initial_condition(label) for label in labels if label is not None]))
        return None

    def observe(self, observation: Observation) -> DNeRFState:
        """A training sequence at its first time, or a new one by its initial condition."""
        if observation.initial is not None:
            start = observation.initial.times[0].to(self.start_times)
            return DNeRFState(start, start, self._initial_condition(observation.initial).to(self.initial))
        index = observation.sequence
        check_sequence_index(index, len(self.start_times))
        return DNeRFState(self.start_times[index], self.start_times[index], self.initial[index])

    def evolve(self, state: DNeRFState, times: Tensor) -> DNeRFState:
        """`times` themselves."""
        count = len(times)
        return DNeRFState(times.to(state.time), state.start.expand(count), state.initial.expand(count, -1))

    def time_condition(self, state: DNeRFState) -> TimeCondition:
        """Of a state at one time: one row."""
        return TimeCondition(((state.time - state.start) / self.length)[None], state.initial[None])

    def time_conditions(self, batch: RayBatch) -> TimeCondition:
        """Of each ray."""
        time_since_start = (batch.times - self.start_times[batch.sequences]) / self.length
        return TimeCondition(time_since_start, self.initial[batch.sequences])

    def _initial_condition(self, labels: PoseLabels) -> Tensor:
        """`[C]` at the first of the labels' times."""
        positions, velocities = labels.positions[0], labels.velocities[0]
        if positions.numel() != self.initial.shape[1] / 2:
            raise UserError(
                f"a new sequence has {len(positions)} bodies, and this run learned "
                f"sequences of {self.initial.shape[1] // 6}: give one of those."
            )
        low, high = positions.new_tensor(self.info.bounds)
        half = ((high - low).max() / 2).clamp_min(1e-9)
        scaled = [(positions - (low + high) / 2) / half, velocities * self.length / half]
        return torch.cat(scaled, dim=-1).flatten().float()


def check_sequences(info: SceneInfo) -> None:
    """Raises `UserError` for several sequences without comparable initial conditions."""
    if len(info.times) == 1:
        return
    for name, bodies in zip(info.names, info.bodies):
        if not bodies:
            raise UserError(
                f"d-nerf needs the initial condition of each of several sequences, and '{name}' has no ground truth at "
                "its training times: take it out of the folder, or give a folder with one sequence."
            )
    counts = sorted({len(bodies) for bodies in info.bodies})
    if len(counts) != 1:
        raise UserError(
            f"d-nerf learns several sequences of equally many bodies, and these have {' or '.join(map(str, counts))}: "
            "give a folder with one of these numbers."
        )
