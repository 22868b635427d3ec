"""What is given of each sequence before its forecast begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
"""So many first times of an unseen sequence are not scored, whatever is observed of them: one score for all sources."""


@dataclass(frozen=True)
class ForecastContext:
    """What is given of one sequence.

    Attributes:
        observation: what the method is told.
        frames: what was filmed of it, for the trivial forecasts.
        end: the last time of that; what is later is forecast.
        unseen: it has initial conditions of its own, and no training frame.
    """

    observation: Observation
    frames: tuple[Frame, ...]
    end: float
    unseen: bool


def forecast_contexts(
    run: Run, splits: Splits, source: Source | None, context: int = CONTEXT
) -> dict[str, ForecastContext]:
    """For every sequence that can be forecast: the training sequences, and unseen ones where the method takes what is
    known of them.

    Args:
        source: of an unseen sequence: "truth" gives poses and velocities at its first time, "frames" the pictures of
            its first `context` times from the cameras of the training; None: truth where there is any, else frames.

    Raises:
        UserError: a `source` that the method or the data does not have; a context below one.
    """
    if context < 1:
        raise UserError(f"--context {context}: give 1 or more.")
    dataset, train = run.dataset(), splits.frames["train"]
    found = {}
    for index, name in enumerate(sequence_names(dataset, train)):
        own = tuple(f for f in train if f.sequence == name)
        found[name] = ForecastContext(Observation(sequence=index), own, float(splits.observed_until), unseen=False)
    cameras = {f.camera_id for f in train}
    new = {f.sequence for f in splits.frames.get("unseen-sequence", ())}
    for sequence in dataset.sequences:
        if sequence.name in new:
            frames, end = _first_frames(sequence, cameras, context)
            observation = _observation(run.method, sequence, frames, source)
            if observation is not None:
                found[sequence.name] = ForecastContext(observation, frames, end, unseen=True)
    return found


def _first_frames(sequence: Sequence, cameras: set[str], context: int) -> tuple[tuple[Frame, ...], float]:
    """The pictures of the first `context` times, from the training's cameras where those film it too."""
    times = sequence.times
    end = float(times[min(context, len(times)) - 1])
    early = [f for f in sequence.frames if f.time <= end]
    known = tuple(f for f in early if f.camera_id in cameras)
    return known or tuple(early), end


def _observation(
    method: Method, sequence: Sequence, frames: tuple[Frame, ...], source: Source | None
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
