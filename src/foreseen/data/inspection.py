"""Inspects a data set: its contents, and what looks doubtful, as numbers and sentences. Prints nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from foreseen.data.inspection_cameras import check_cameras, check_focal, check_scale
from foreseen.data.inspection_files import check_pictures
from foreseen.data.inspection_matches import check_matches
from foreseen.data.inspection_report import InspectionSection, between, counted, number
from foreseen.data.splits import Splits, make_splits
from foreseen.data.tracks import tracks_of
from foreseen.data.types import Dataset, Frame, Sequence
from foreseen.errors import UserError

MAX_USUAL_GAP = 3.0
"""A step in time is reported as a gap when it is so many times the median step."""

MAX_LISTED_SEQUENCES = 6
SAME_TIME = 1e-6


@dataclass(frozen=True)
class Inspection:
    """The result of an inspection.

    Attributes:
        splits: None where the data set cannot be divided; a warning says why.
        checks: sections of the report, in order.
    """

    dataset: Dataset
    splits: Splits | None
    checks: tuple[InspectionSection, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence each."""
        return tuple(doubt for check in self.checks for doubt in check.warnings)


def inspect_dataset(
    dataset: Dataset, observe_until: float | None = None, progress: Callable[[float, str], None] | None = None
) -> Inspection:
    """Decodes every file of a data set and checks its numbers. Nothing is written.

    Args:
        observe_until: fraction of the time range that training is to see.
        progress: called with the finished share (0..1) and a few words.
    """
    notify = progress or _no_progress
    splits, refused = _divide(dataset, observe_until)
    checks = (
        check_contents(dataset),
        check_splits(dataset, splits, refused),
        check_times(dataset),
        *((check_cameras(dataset), check_focal(dataset), check_scale(dataset)) if dataset.has_cameras else ()),
        check_pictures(dataset, lambda share, doing: notify(0.9 * share, doing)),
        check_matches(dataset, lambda share, doing: notify(0.9 + 0.1 * share, doing))
        if dataset.has_cameras
        else _without_cameras(dataset),
    )
    return Inspection(dataset, splits, checks)


def _without_cameras(dataset: Dataset) -> InspectionSection:
    sizes = sorted({f"{width} x {height}" for width, height in (f.size for f in dataset.frames)})
    rows = (("cameras", "unknown: pictures without poses"), ("picture size", ", ".join(sizes)))
    return InspectionSection("Cameras", rows)


def _no_progress(share: float, doing: str) -> None:
    del share, doing


def _divide(dataset: Dataset, observe_until: float | None) -> tuple[Splits | None, list[str]]:
    try:
        return make_splits(dataset, observe_until), []
    except UserError as error:
        return None, [f"no splits: {error}"]


def check_contents(dataset: Dataset) -> InspectionSection:
    """Contents of the data set, and the reader's warnings."""
    frames = list(dataset.frames)
    unseen = sum(s.split == "test" for s in dataset.sequences)
    sequences = counted(len(dataset.sequences), "sequence") + (f" ({unseen} marked test)" if unseen else "")
    ground_truths = {s.truth.dynamics for s in dataset.sequences if s.truth}
    rows = [
        ("folder", str(dataset.path)),
        ("format", dataset.format),
        ("frames", f"{counted(len(frames), 'frame')} in {sequences}"),
        ("units", f"time: {dataset.time_unit}; length: {dataset.length_unit}"),
        ("background", ", ".join(number(x) for x in dataset.background)),
        ("tracks", _tracks(frames)),
        *_values(dataset),
        *_beside(frames),
        *_particles(dataset),
        ("truth", f"motion by {', '.join(sorted(ground_truths))}" if ground_truths else "none"),
    ]
    return InspectionSection("What is there", tuple(rows), dataset.warnings)


def _beside(frames: list[Frame]) -> Iterable[tuple[str, str]]:
    present = dict.fromkeys(name for frame in frames for name in frame.layers)
    for name in dict.fromkeys(("mask", "depth", "flow_forward", *present)):
        count = sum(name in f.layers for f in frames)
        yield name, "none" if not count else "with every frame" if count == len(frames) else f"with {count} frames"


def _tracks(frames: list[Frame]) -> str:
    """How many physical cameras there are, and how many of their frames follow one another."""
    lengths = [len(indices) for indices in tracks_of(frames).values()]
    followed = sum(lengths) - len(lengths)
    return f"{counted(len(lengths), 'camera track')}; {counted(followed, 'frame')} followed by a next one"


def _values(dataset: Dataset) -> Iterable[tuple[str, str]]:
    if (dataset.channels, dataset.value_range) != (3, (0.0, 1.0)):
        low, high = dataset.value_range
        yield "pixels", f"{counted(dataset.channels, 'channel')} from {number(low)} to {number(high)}"


def _particles(dataset: Dataset) -> Iterable[tuple[str, str]]:
    shapes = [s.particles.positions.shape for s in dataset.sequences if s.particles]
    if shapes:
        counts = between(shape[1] for shape in shapes)
        yield "particles", f"{counts} particles in {counted(len(shapes), 'sequence')}"


def check_splits(dataset: Dataset, splits: Splits | None, refused: list[str]) -> InspectionSection:
    """Frames of each split, and whether a held-out frame is also a training frame."""
    if splits is None:
        return InspectionSection("Splits", (), tuple(refused))
    rows = [(name, _extent_of(frames)) for name, frames in splits.frames.items()]
    unused = sum(1 for _ in dataset.frames) - sum(map(len, splits.frames.values()))
    if unused:
        rows.append(("not used", counted(unused, "frame")))
    rows += [("protocol", splits.protocol), ("hash", splits.hash)]
    return InspectionSection("Splits", tuple(rows), tuple(_leaks(splits)))


def _extent_of(frames: tuple[Frame, ...]) -> str:
    times = np.array([f.time for f in frames])
    cameras = len({(f.sequence, f.camera_id) for f in frames})
    return (
        f"{counted(len(frames), 'frame')}, {counted(len(np.unique(times)), 'time')}"
        f" from {number(times.min())} to {number(times.max())}, {counted(cameras, 'camera')}"
    )


def _leaks(splits: Splits) -> Iterable[str]:
    if len(splits.frames) == 1:
        yield "no frame is held out: a method that learns from this data set cannot be tested on it"
    trained = {(f.image_path, f.image_index) for f in splits.frames["train"]}
    trained_views = {_view(f) for f in splits.frames["train"]}
    for name, frames in splits.frames.items():
        if name == "train":
            continue
        same = sum((f.image_path, f.image_index) in trained or _view(f) in trained_views for f in frames)
        if same:
            yield f"{same} of {len(frames)} frames of {name} show what a training frame shows: same pose, same time"


def _view(frame: Frame) -> tuple[object, ...]:
    if frame.calibration is None:
        return frame.sequence, frame.time, frame.image_path, frame.image_index
    return frame.sequence, frame.time, *np.round(frame.camera.camera_to_world.flatten().tolist(), 5).tolist()


def check_times(dataset: Dataset) -> InspectionSection:
    """Count, spacing, gaps and duplicates of times."""
    alike: dict[str, list[str]] = defaultdict(list)
    doubts: list[str] = []
    for sequence in dataset.sequences:
        row, warnings_of_sequence = _times_of(sequence, dataset.time_unit)
        alike[row].append(sequence.name)
        doubts += warnings_of_sequence
    rows = [(names[0] + (f" to {names[-1]}" if len(names) > 1 else ""), row) for row, names in alike.items()]
    if len(rows) > MAX_LISTED_SEQUENCES:
        rows = [*rows[:MAX_LISTED_SEQUENCES], ("", f"and {len(rows) - MAX_LISTED_SEQUENCES} other kinds of sequences")]
    return InspectionSection("Times", tuple(rows), tuple(doubts))


def _times_of(sequence: Sequence, unit: str) -> tuple[str, list[str]]:
    times = _apart(sequence.times)
    if len(times) < 2:
        doubt = f"{sequence.name}: all frames have one time; only a static method, such as gaussians, can learn it"
        return f"one time, {number(times[0])}", [doubt]
    steps = np.diff(times)
    typical = float(np.median(steps))
    suffix = "" if unit == "unknown" else f" {unit}"
    at_once = len(sequence.frames) / len(times)
    row = (
        f"{len(times)} from {number(times[0])} to {number(times[-1])}{suffix}, usually {number(typical)} apart"
        f" ({number(steps.min())} to {number(steps.max())}), {_pictures(at_once)} at a time"
    )
    return row, [*_gaps(sequence, times, typical), *_twice(sequence)]


def _pictures(each: float) -> str:
    return "one picture" if each == 1 else f"{number(each)} pictures"


def _apart(times: np.ndarray) -> np.ndarray:
    """Distinct times; differences of rounding do not count."""
    far = np.diff(times, prepend=-np.inf) > SAME_TIME * max(np.ptp(times), 1e-12)
    return times[far]


def _gaps(sequence: Sequence, times: np.ndarray, typical: float) -> Iterable[str]:
    gaps = np.flatnonzero(np.diff(times) > MAX_USUAL_GAP * typical)
    if len(gaps):
        widest = gaps[np.argmax(np.diff(times)[gaps])]
        yield (
            f"{sequence.name}: {counted(len(gaps), 'gap')} in time; the widest, from {number(times[widest])} to"
            f" {number(times[widest + 1])}, is {number((times[widest + 1] - times[widest]) / typical)} usual steps"
        )


def _twice(sequence: Sequence) -> Iterable[str]:
    seen: dict[tuple[str, float], int] = defaultdict(int)
    for frame in sequence.frames:
        seen[frame.camera_id, frame.time] += 1
    twice = [key for key, count in seen.items() if count > 1]
    if twice:
        camera, time = twice[0]
        what = (
            "one camera has two frames at one time"
            if len(twice) == 1
            else f"{len(twice)} times a camera has two frames"
        )
        yield f"{sequence.name}: {what} (camera {camera} at {number(time)})"
