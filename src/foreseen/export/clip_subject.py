"""What a clip shows: a sequence that was learned, one that was never seen, or one that a user types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foreseen.core.observation import Observation
from foreseen.core.scene_info import sequence_names
from foreseen.data.typed_values import bodies_named, typed_labels
from foreseen.data.types import Frame
from foreseen.errors import UserError, suggest
from foreseen.evaluation.forecast_context import CONTEXT, Source, forecast_contexts

if TYPE_CHECKING:
    from foreseen.training.run import Forecast, Run


TYPED_PRECISION = 2e-3
"""What a user types is known so well (see `Observation.precision`): nobody measures a beginning much better, and where
that decides between two futures the forecast is to say so."""


@dataclass(frozen=True)
class ClipSubject:
    """One film.

    Attributes:
        forecast: what is rendered.
        frames: the data set's frames whose cameras and times it takes.
        filmed: those frames show this film, not another one.
        observed_until: end of what was given of it.
    """

    forecast: Forecast
    frames: tuple[Frame, ...]
    captured: bool
    observed_until: float


def choose_subject(
    run: Run,
    sequence: str | None = None,
    *,
    initial: str | None = None,
    observe: Source | None = None,
    context: int = CONTEXT,
) -> ClipSubject:
    """What to show of a run.

    Args:
        sequence: name of a sequence of the data; None takes the first that was learned.
        initial: initial conditions that the user types (see `typed_labels`), instead of a sequence.
        observe, context: what is given of a sequence that was not learned (see `forecast_contexts`).

    Raises:
        UserError: an unknown sequence, both a sequence and initial conditions, or what the method does not take.
    """
    dataset, splits = run.dataset(), run.splits()
    learned = sequence_names(dataset, splits.frames["train"])
    if initial is not None:
        if sequence is not None:
            raise UserError("--sequence and --initial both say what begins: give one of them.")
        frames = tuple(f for f in dataset.frames if f.sequence == learned[0])
        start = min(f.time for f in frames)
        bodies = bodies_named(initial, [own or ("part",) for own in run.info.bodies] or [("part",)])
        observation = Observation(initial=typed_labels(initial, bodies, start), precision=TYPED_PRECISION)
        return ClipSubject(run.forecast(observation), frames, False, start)
    name = learned[0] if sequence is None else sequence
    known = [s.name for s in dataset.sequences]
    if name not in known:
        raise UserError(f"--sequence {name}: the data has no such sequence: {suggest(name, known)}")
    frames = tuple(f for f in dataset.frames if f.sequence == name)
    if name in learned:
        return ClipSubject(run.forecast(Observation(learned.index(name))), frames, True, float(splits.observed_until))
    begin = forecast_contexts(run, splits, observe, context).get(name)
    if begin is None:
        raise UserError(f"--sequence {name}: this run learned other sequences and does not forecast new ones.")
    return ClipSubject(run.forecast(begin.observation), frames, True, begin.end)
