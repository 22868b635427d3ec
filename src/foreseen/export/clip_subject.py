"""What a clip shows: a training sequence, an unseen one, or the forecast from an initial condition."""

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
    from foreseen.runs import Forecast, Run


TYPED_RELATIVE_STD = 2e-3
"""Standard deviation of an initial condition that a user types (see `Observation.relative_std`), about that of a good
measurement. If such a difference decides between two trajectories, the ensemble shows both. Larger: wider ensembles."""


@dataclass(frozen=True)
class ClipSubject:
    """One sequence, captured or forecast.

    Attributes:
        forecast: what is rendered.
        frames: the data set's frames whose cameras and times it takes.
        captured: those frames show this sequence itself.
        observed_until: end of its observed window.
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
        sequence: name of a sequence of the data; None takes the first training sequence.
        initial: an initial condition that the user types (see `typed_labels`), instead of a sequence.
        observe, context: what is observed of a sequence that was not trained on (see `forecast_contexts`).

    Raises:
        UserError: an unknown sequence, both a sequence and initial conditions, or what the method does not take.
    """
    dataset, splits = run.dataset(), run.splits()
    learned = sequence_names(dataset, splits.frames["train"])
    if initial is not None:
        if sequence is not None:
            raise UserError("--sequence and --initial exclude each other: give one of them.")
        frames = tuple(f for f in dataset.frames if f.sequence == learned[0])
        start = min(f.time for f in frames)
        bodies = bodies_named(initial, [names or ("part",) for names in run.info.bodies] or [("part",)])
        observation = Observation(initial=typed_labels(initial, bodies, start), relative_std=TYPED_RELATIVE_STD)
        return ClipSubject(run.forecast(observation), frames, False, start)
    name = learned[0] if sequence is None else sequence
    names = [s.name for s in dataset.sequences]
    if name not in names:
        raise UserError(f"--sequence {name}: the data has no such sequence: {suggest(name, names)}")
    frames = tuple(f for f in dataset.frames if f.sequence == name)
    if name in learned:
        return ClipSubject(run.forecast(Observation(learned.index(name))), frames, True, float(splits.observed_until))
    begin = forecast_contexts(run, splits, observe, context).get(name)
    if begin is None:
        raise UserError(f"--sequence {name}: this run was trained on other sequences and does not forecast new ones.")
    return ClipSubject(run.forecast(begin.observation), frames, True, begin.end)
