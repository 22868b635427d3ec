"""What a method may know about the data before it sees a pixel, gathered from the training frames."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from foreseen.data.labels import PoseLabels, labels_at
from foreseen.data.splits import Splits
from foreseen.data.types import Dataset, Frame
from foreseen.errors import UserError

MIN_FRAMES_PER_CAMERA = 3
"""A fixed camera counts as one from this many frames on: a median of two pictures says nothing."""


@dataclass(frozen=True)
class SceneInfo:
    """What a method may know about the data before it sees a pixel. Stored in the run's config, so that a run loads
    without its data set.

    Attributes:
        bounds: lowest and highest corner of the scene, in the space of the rays.
        near, far: bounds of every ray.
        times: for each sequence, the distinct times of its training frames, ascending, in the data set's unit.
        background: the stated background colour.
        has_alpha: training images carry opacity.
        ndc: rays are in normalised device coordinates.
        static_cameras: no camera moves, so each pixel's own history is meaningful.
        sequences: names of the training sequences, in the order of `times`.
        bodies: for each sequence the names of the bodies that its truth tells of; none where it has no truth.
        frames: number of training frames; 0 where it is not known.
    """

    bounds: tuple[tuple[float, float, float], tuple[float, float, float]]
    near: float
    far: float
    times: tuple[tuple[float, ...], ...]
    background: tuple[float, float, float]
    has_alpha: bool
    ndc: bool
    static_cameras: bool
    sequences: tuple[str, ...] = ()
    bodies: tuple[tuple[str, ...], ...] = ()
    frames: int = 0

    @property
    def time_range(self) -> tuple[float, float]:
        """First and last time of any training frame."""
        return min(t[0] for t in self.times), max(t[-1] for t in self.times)


def training_frames(splits: Splits) -> tuple[Frame, ...]:
    """The frames to learn from. Raises `UserError` where there are none."""
    frames = splits.frames.get("train", ())
    if not frames:
        raise UserError("no training frames: all are held out or later than --observe-until; give a larger fraction.")
    return frames


def sequence_names(dataset: Dataset, frames: Sequence[Frame]) -> tuple[str, ...]:
    """Names of the sequences that have training frames, in the data set's order: the index that batches
    carry."""
    present = {frame.sequence for frame in frames}
    return tuple(s.name for s in dataset.sequences if s.name in present)


def sequence_times(names: Sequence[str], frames: Sequence[Frame]) -> tuple[tuple[float, ...], ...]:
    """For each sequence the distinct times of its training frames, ascending."""
    return tuple(tuple(sorted({float(f.time) for f in frames if f.sequence == name})) for name in names)


def training_labels(dataset: Dataset, frames: Sequence[Frame]) -> list[PoseLabels | None]:
    """For each sequence what truth says at its training times, and at no other; None without truth, and where rays run
    in normalised device coordinates."""
    names = sequence_names(dataset, frames)
    ground_truths = {s.name: None if dataset.ndc else s.truth for s in dataset.sequences}
    return [labels_at(ground_truths[name], times) for name, times in zip(names, sequence_times(names, frames))]


def cameras_are_static(frames: Sequence[Frame]) -> bool:
    """Every camera keeps one pose, and a camera has `MIN_FRAMES_PER_CAMERA` frames or more on average."""
    poses = defaultdict(list)
    for frame in frames:
        poses[frame.sequence, frame.camera_id].append(frame.camera.camera_to_world)
    still = all(torch.equal(pose, own[0]) for own in poses.values() for pose in own)
    return still and len(frames) >= MIN_FRAMES_PER_CAMERA * len(poses)


def scene_info(dataset: Dataset, splits: Splits) -> SceneInfo:
    """What is stored in the run's config, so that a run loads without its data set. Reads one picture."""
    frames = training_frames(splits)
    low, high = (tuple(float(x) for x in corner) for corner in dataset.bounds)
    names = sequence_names(dataset, frames)
    known = training_labels(dataset, frames)
    return SceneInfo(
        bounds=(low, high),  # type: ignore[arg-type]
        near=float(dataset.near),
        far=float(dataset.far),
        times=sequence_times(names, frames),
        background=dataset.background,
        has_alpha=frames[0].rgba().shape[-1] == 4,
        ndc=dataset.ndc,
        static_cameras=cameras_are_static(frames),
        sequences=names,
        bodies=tuple(labels.bodies if labels else () for labels in known),
        frames=len(frames),
    )


def require_one_sequence(name: str, info: SceneInfo) -> None:
    """Raises `UserError` for several sequences, or one training time: nothing to learn the motion of one sequence."""
    if len(info.times) != 1:
        raise UserError(
            f"{name} learns one sequence, and the data set has {len(info.times)}: give a folder with one of them."
        )
    if len(info.times[0]) < 2:
        raise UserError(
            f"{name} needs training frames at 2 times or more; there is {len(info.times[0])}: "
            "give more frames, or a larger --observe-until."
        )
