"""Camera tracks: which frames one physical camera took, and in what order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from foreseen.data.types import Dataset, Frame

MOVING_TRACK = "moving-camera"
"""Track of the frames of one moving camera, in formats that do not name cameras."""


def assign_tracks(frames: Sequence[Frame]) -> list[Frame]:
    """The frames with tracks, for formats that do not name physical cameras.

    Where no two frames of a sequence have the same time, and most of them have a viewpoint of their own, all are of one
    moving camera. Otherwise a viewpoint with several times is one fixed camera; the frames with a viewpoint of their
    own are one moving camera if no two of them have the same time, else each is a track of its own.
    """
    by_sequence: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        by_sequence[frame.sequence].append(frame)
    moving = {name: _moving_viewpoints(members) for name, members in by_sequence.items()}
    return [
        replace(f, track=MOVING_TRACK if f.camera_id in moving[f.sequence] else f.camera_id, track_index=-1)
        for f in frames
    ]


def _moving_viewpoints(frames: list[Frame]) -> set[str]:
    """`camera_id`s of the frames of one sequence that belong to its moving camera."""
    viewpoints = {f.camera_id for f in frames}
    if len(viewpoints) < 2:
        return set()
    if len({f.time for f in frames}) == len(frames) and 2 * len(viewpoints) > len(frames):
        return viewpoints
    times: dict[str, set[float]] = defaultdict(set)
    for frame in frames:
        times[frame.camera_id].add(frame.time)
    single = {name for name, its_times in times.items() if len(its_times) == 1}
    taken = [f.time for f in frames if f.camera_id in single]
    return single if len(single) > 1 and len(set(taken)) == len(taken) else set()


def number_tracks(dataset: Dataset) -> Dataset:
    """The data set with the `track_index` of every frame set: 0, 1, ... by time in each track of each sequence."""
    sequences = []
    for sequence in dataset.sequences:
        counts: dict[str, int] = defaultdict(int)
        numbered = list(sequence.frames)
        for place in sorted(range(len(numbered)), key=lambda i: numbered[i].time):
            frame = numbered[place]
            numbered[place] = replace(frame, track_index=counts[frame.track])
            counts[frame.track] += 1
        sequences.append(replace(sequence, frames=tuple(numbered)))
    return replace(dataset, sequences=tuple(sequences))


def tracks_of(frames: Iterable[Frame]) -> dict[tuple[str, str], list[int]]:
    """(sequence, track) -> indices of its frames, by time."""
    listed = list(frames)
    indices: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index in sorted(range(len(listed)), key=lambda i: listed[i].time):
        indices[listed[index].sequence, listed[index].track].append(index)
    return dict(indices)


def neighbours(frames: Sequence[Frame]) -> Tensor:
    """`[F, 2]` int64: indices of the previous and the next of the given frames in each frame's track; -1 where there
    is none."""
    table = torch.full((len(frames), 2), -1)
    for indices in tracks_of(frames).values():
        for before, after in pairwise(indices):
            table[after, 0], table[before, 1] = before, after
    return table


def is_successor(frame: Frame, before: Frame) -> bool:
    """Whether `frame` directly follows `before` in its track, so that forward flow leads there and backward flow
    back."""
    same = (frame.sequence, frame.track) == (before.sequence, before.track)
    return same and before.track_index >= 0 and frame.track_index == before.track_index + 1
