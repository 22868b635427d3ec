"""The input of `Method.observe`: what is known of a sequence before it is predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.errors import UserError

ObservationKind = Literal["sequence", "initial", "frames"]


@dataclass(frozen=True)
class Observation:
    """A training sequence; or a new sequence, given by initial conditions or by its first frames.

    Attributes:
        sequence: index of a training sequence; ignored if `initial` or `frames` are given.
        initial: poses and velocities at one time.
        relative_std: standard deviation of each component of the initial state, relative to its root mean square in the
            training sequences. Larger: wider ensembles.
        frames: the first frames of a new sequence, by time.
    """

    sequence: int = 0
    initial: PoseLabels | None = None
    relative_std: float = 0.0
    frames: tuple[Frame, ...] = ()

    @property
    def kind(self) -> ObservationKind:
        """Which of the three inputs is given."""
        return "initial" if self.initial is not None else "frames" if self.frames else "sequence"


def check_sequence_index(index: int, count: int) -> None:
    """Raises `UserError` if there is no training sequence with this index; `count`: number of training sequences."""
    if not 0 <= index < count:
        learned = "one sequence" if count == 1 else f"{count} sequences"
        raise UserError(f"this run learned {learned}; there is no sequence {index}.")
