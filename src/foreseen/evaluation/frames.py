"""Which frames are evaluated, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Many

import numpy as np

from foreseen.data.splits import Splits
from foreseen.data.types import Frame, Sequence
from foreseen.errors import UserError, suggest
from foreseen.evaluation.forecast_context import ForecastContext

MAX_FRAME_GAP = 1.5
"""Frames of one camera are consecutive when they are at most this many median time steps apart."""

MIN_TIMES_FOR_PAIRS = 6
"""From this many chosen times on, they are chosen as pairs of neighbours, so that motion between frames can be
scored."""


def select_splits(
    splits: Splits, names: Many[str] | None, contexts: Mapping[str, ForecastContext]
) -> dict[str, tuple[Frame, ...]]:
    """The frames of sequences that can be forecast in the splits `names`; without names, in every split but "train". Of
    unseen sequences only the frames after the context that is given of them.

    Raises:
        UserError: a name that this data set has no split for, or one without such a frame; nothing held out.
    """
    requested = names or [name for name in splits.frames if name != "train"]
    for name in requested:
        if name not in splits.frames:
            raise UserError(f"the run has no split '{name}': {suggest(name, splits.frames)}")
    selected = {name: tuple(f for f in splits.frames[name] if _can_forecast(f, contexts)) for name in requested}
    for name in names or ():
        if not selected[name]:
            raise UserError(f"split '{name}' has no frame that this run can forecast: leave the split out.")
    selected = {name: frames for name, frames in selected.items() if frames}
    if not selected:
        raise UserError("nothing is held out from training: give --splits train, or train with --observe-until.")
    return selected


def _can_forecast(frame: Frame, contexts: Mapping[str, ForecastContext]) -> bool:
    context = contexts.get(frame.sequence)
    return context is not None and not (context.unseen and frame.time <= context.end)


def choose_frames(
    splits: dict[str, tuple[Frame, ...]], max_frames: int | None, max_time: float | None
) -> dict[str, list[Frame]]:
    """At most `max_frames` of each split, evenly spread over time, none after `max_time`; ordered by
    sequence, camera and time. Splits that this leaves empty are dropped.

    Raises:
        UserError: `max_frames` below one, or no frame left.
    """
    if max_frames is not None and max_frames < 1:
        raise UserError(f"--max-frames {max_frames}: give 1 or more.")
    chosen = {}
    for name, frames in splits.items():
        kept = sorted((f for f in frames if max_time is None or f.time <= max_time), key=lambda f: f.time)
        if max_frames is not None:
            kept = _thinned(kept, max_frames)
        if kept:
            chosen[name] = sorted(kept, key=lambda f: (f.sequence, f.track, f.time))
    if not chosen:
        raise UserError(f"no frame of {', '.join(splits)} lies at or before --max-time {max_time}: give a later time.")
    return chosen


def _thinned(frames: list[Frame], maximum: int) -> list[Frame]:
    """At most `maximum` of `frames` (sorted by time): all cameras at evenly spread times; where one time alone has too
    many frames, single frames, evenly spread. Many times are chosen as pairs of neighbours, so that motion from one
    frame to the next can be scored."""
    times = sorted({f.time for f in frames})
    count = max(int(maximum * len(times) / max(len(frames), 1)), 1)
    if len(frames) > maximum:
        pairs = [i + k for i in _spread(len(times) - 1, count // 2) for k in (0, 1)]
        kept = {times[i] for i in (pairs if count >= MIN_TIMES_FOR_PAIRS else _spread(len(times), count))}
        frames = [f for f in frames if f.time in kept]
    return [frames[i] for i in _spread(len(frames), maximum)] if len(frames) > maximum else frames


def _spread(length: int, count: int) -> list[int]:
    return [int(i) for i in np.linspace(0, length - 1, count).round()]


def is_next_frame(frame: Frame, before: Frame, sequence: Sequence) -> bool:
    """Whether `frame` is the next frame of the same track (fixed or moving camera), about one time step later."""
    if (frame.sequence, frame.track) != (before.sequence, before.track):
        return False
    steps = np.diff(sequence.times)
    return len(steps) > 0 and 0 < frame.time - before.time <= MAX_FRAME_GAP * float(np.median(steps))
