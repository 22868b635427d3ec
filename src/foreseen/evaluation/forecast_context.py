"""What is observed of each sequence before its forecast starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from foreseen.core.capabilities import observation_kinds
from foreseen.core.method import Method
from foreseen.core.observation import Observation
from foreseen.core.scene_info import sequence_names
from foreseen.data.labels import labels_at
from foreseen.data.splits import Splits
from foreseen.data.types import Frame, Sequence
from foreseen.errors import UserError
from foreseen.runs import Run

Source = Literal["truth", "frames"]
SOURCES: tuple[Source, ...] = ("truth", "frames")
CONTEXT = 5
"""Default number of first times of an unseen sequence that are not scored, whatever is observed of them, so that scores
of all sources are comparable."""


@dataclass(frozen=True)
class ForecastContext:
    """What is observed of one sequence.

    Attributes:
        observation: what the method observes.
        frames: the observed frames, for the baselines.
        end: time of the last observed frame; later times are forecast.
        unseen: the sequence has no training frame.
    """

    observation: Observation
    frames: tuple[Frame, ...]
    end: float
    unseen: bool


def forecast_contexts(
    run: Run, splits: Splits, source: Source | None, context: int = CONTEXT
) -> dict[str, ForecastContext]:
    """The contexts of all sequences that can be forecast: training sequences, and unseen ones where the method takes
    such an observation.

    Args:
        source: what is observed of an unseen sequence: "truth": true poses and velocities at its first time; "frames":
            its frames at the first `context` times from the training cameras; None: truth where there is any, else
            frames.

    Raises:
        UserError: a `source` that the method or the data does not have; a context below one.
    """
    if context < 1:
        raise UserError(f"--context {context}: give 1 or more.")
    dataset, train = run.dataset(), splits.frames["train"]
    contexts = {}
    for index, name in enumerate(sequence_names(dataset, train)):
        frames = tuple(f for f in train if f.sequence == name)
        contexts[name] = ForecastContext(
            Observation(sequence=index), frames, float(splits.observed_until), unseen=False
        )
    cameras = {f.camera_id for f in train}
    new = {f.sequence for f in splits.frames.get("unseen-sequence", ())}
    for sequence in dataset.sequences:
        if sequence.name in new:
            frames, end = _first_frames(sequence, cameras, context)
            observation = _observation(run.method, sequence, frames, source)
            if observation is not None:
                contexts[sequence.name] = ForecastContext(observation, frames, end, unseen=True)
    return contexts


def _first_frames(sequence: Sequence, cameras: set[str], context: int) -> tuple[tuple[Frame, ...], float]:
    """The frames of the first `context` times, from the training cameras where those see the sequence."""
    times = sequence.times
    end = float(times[min(context, len(times)) - 1])
    early = [f for f in sequence.frames if f.time <= end]
    from_training_cameras = tuple(f for f in early if f.camera_id in cameras)
    return from_training_cameras or tuple(early), end


def _observation(
    method: Method[Any, Any], sequence: Sequence, frames: tuple[Frame, ...], source: Source | None
) -> Observation | None:
    initial = labels_at(sequence.truth, sequence.times[:1].tolist())
    kinds = {"truth": "initial", "frames": "frames"}
    if source is not None:
        if kinds[source] not in observation_kinds(method):
            raise UserError(f"--observe {source}: this run does not forecast new sequences from it.")
        if source == "truth" and initial is None:
            raise UserError(f"--observe truth: sequence '{sequence.name}' has no truth: give --observe frames.")
    if source != "frames" and initial is not None and "initial" in observation_kinds(method):
        return Observation(initial=initial)
    return Observation(frames=frames) if source != "truth" and "frames" in observation_kinds(method) else None
