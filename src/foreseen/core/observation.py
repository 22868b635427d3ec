"""What a method observes a state from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.errors import UserError

ObservationKind = Literal["sequence", "initial", "frames"]


@dataclass(frozen=True)
class Observation:
    """What was seen, to observe a state from: a sequence that was learned, or a new one by how it begins.

    Attributes:
        sequence: index of a training sequence; of no meaning where one of the others is given.
        initial: poses and velocities at one time.
        precision: how well these are known, as a standard deviation in shares of how far what was learned usually is
            from its middle, and of how fast it usually is.
        frames: the first frames of a new sequence, by time.
    """

    sequence: int = 0
    initial: PoseLabels | None = None
    precision: float = 0.0
    frames: tuple[Frame, ...] = ()

    @property
    def kind(self) -> ObservationKind:
        """What it is made of."""
        return "initial" if self.initial is not None else "frames" if self.frames else "sequence"


def check_sequence_index(index: int, count: int) -> None:
    """Raises `UserError` where a run that learned `count` sequences is asked for another one."""
    if not 0 <= index < count:
        learned = "one sequence" if count == 1 else f"{count} sequences"
        raise UserError(f"this run learned {learned}; there is no sequence {index}.")
