"""What both presets observe: the time, and where there are several sequences, how each of them begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from foreseen.batches.rays import RayBatch
from foreseen.core.method import Callback, Method
from foreseen.core.observation import Observation, ObservationKind
from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.errors import UserError


@dataclass(frozen=True)
class DNeRFState:
    """The state is the time itself, and what tells its sequence from the others.

    Attributes:
        time: `[...]`, in the data set's unit.
        start: `[...]`, the sequence's first time.
        initial: `[..., C]`, how the sequence begins (see `TimeConditionedMethod`).
    """

    time: Tensor
    start: Tensor
    initial: Tensor


@dataclass(frozen=True)
class TimeCondition:
    """What the deformation networks are told of N rays or points.

    Attributes:
        since: `[N]`, the time since the sequence's first one; the longest window of the training is 0..1.
        initial: `[N, C]`, how the sequence begins (see `TimeConditionedMethod`).
    """

    time_since_start: Tensor
    initial: Tensor

    def of(self, rows: Tensor) -> TimeCondition:
        """The moments of `rows` `[M]`."""
        return TimeCondition(self.time_since_start[rows], self.initial[rows])


class TimeConditionedMethod(Method[DNeRFState, RayBatch]):
    """Learns one sequence by its time, or several by the time since each began and by how it began: D-NeRF(c), to
    which the Node-RF paper compares.

    How a sequence begins is the C = 6 B numbers of the positions and velocities of its B bodies at its first time,
    as multiples of the bounds' longest half side and of that over the window. With one sequence C is 0.

    Raises `UserError` for several sequences without truth, or with different numbers of bodies.
    """

    start_times: Tensor
    initial: Tensor

    def __init__(self, info: SceneInfo) -> None:
        super().__init__()
        check_sequences(info)
        self.info = info
        count = len(info.times)
        self.conditioned = count > 1
        # A single training time is a scene at rest: any length will do.
        self.length = max(times[-1] - times[0] for times in info.times) or 1.0
        self.register_buffer("start_times", torch.tensor([times[0] for times in info.times]), persistent=False)
        numbers = 6 * len(info.bodies[0]) if self.conditioned else 0
        self.register_buffer("initial", torch.zeros(count, numbers), persistent=self.conditioned)

    @property
    def observes(self) -> tuple[ObservationKind, ...]:
        """A learned sequence; of several, also initial conditions."""
        return ("sequence", "initial") if self.conditioned else ("sequence",)

    def callbacks(self) -> tuple[Callback, ...]:
        """Initial conditions are kept before training."""
        return (Callback(self.warm_start, self.before_step),)

    def before_step(self, step: int, progress: float) -> str | None:
        """What changes between steps."""
        del step, progress
        return None

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[PoseLabels | None]) -> str | None:
        """Keeps how each sequence begins."""
        del frames
        if self.conditioned:
            self.initial.copy_(torch.stack([self._initial_condition(known) for known in labels if known is not None]))
        return None

    def observe(self, observation: Observation) -> DNeRFState:
        """A training sequence at its first time, or a new one by its initial conditions."""
        if observation.initial is not None:
            start = observation.initial.times[0].to(self.start_times)
            return DNeRFState(start, start, self._initial_condition(observation.initial).to(self.initial))
        index, count = observation.sequence, len(self.start_times)
        if not 0 <= index < count:
            learned = f"{count} sequences" if self.conditioned else "one sequence"
            raise UserError(f"this run learned {learned}; there is no sequence {index}.")
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
        numbers = [(positions - (low + high) / 2) / half, velocities * self.length / half]
        return torch.cat(numbers, dim=-1).flatten().float()


def check_sequences(info: SceneInfo) -> None:
    """Raises `UserError` for several sequences that cannot be told apart by how they begin."""
    if len(info.times) == 1:
        return
    for name, bodies in zip(info.names, info.bodies):
        if not bodies:
            raise UserError(
                f"d-nerf tells several sequences apart by how their bodies begin, and '{name}' has no truth "
                "that says so: take it out of the folder, or give a folder with one sequence."
            )
    counts = sorted({len(bodies) for bodies in info.bodies})
    if len(counts) != 1:
        raise UserError(
            f"d-nerf learns several sequences of equally many bodies, and these have {' or '.join(map(str, counts))}: "
            "give a folder with one kind."
        )
