"""What a method may know about the data before it sees a pixel, gathered from the training frames."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from foreseen.data.labels import PoseLabels, labels_at
from foreseen.data.splits import Splits
from foreseen.data.types import Dataset, Frame
from foreseen.errors import UserError

Point = tuple[float, float, float]
Bounds = tuple[Point, Point]

MIN_FRAMES_PER_CAMERA = 3
"""Cameras count as fixed where they have so many frames or more on average: a median of two pictures tells nothing."""


@dataclass(frozen=True)
class SequenceInfo:
    """One training sequence.

    Attributes:
        times: distinct times of its training frames, ascending, in the data set's unit.
        bounds: lowest and highest corner of its scene, in the space of the rays.
        near, far: bounds of its rays.
        background: the stated background colour.
        bodies: names of the bodies that its ground truth tells of; none where it has no truth.
        size: width and height of its first training frame, in pixels; (0, 0) where it is not known.
    """

    name: str
    times: tuple[float, ...]
    bounds: Bounds
    near: float
    far: float
    background: Point
    bodies: tuple[str, ...] = ()
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class SceneInfo:
    """What a method may know about the data before it sees a pixel. Stored in the run's config, so that a run loads
    without its data set.

    Attributes:
        sequences: the training sequences; batches carry indices into them.
        has_alpha: training images carry opacity.
        ndc: rays are in normalised device coordinates.
        static_cameras: no camera moves, so each pixel's own history is meaningful.
        frames: number of training frames; 0 where it is not known.
        has_cameras: the camera of every training frame is known.
        channels: number of values of a pixel, without opacity.
        value_range: least and largest value of a pixel.
    """

    sequences: tuple[SequenceInfo, ...]
    has_alpha: bool
    ndc: bool
    static_cameras: bool
    frames: int = 0
    has_cameras: bool = True
    channels: int = 3
    value_range: tuple[float, float] = (0.0, 1.0)

    @staticmethod
    def of_one_scene(
        bounds: Bounds,
        near: float,
        far: float,
        times: Sequence[tuple[float, ...]],
        background: Point,
        has_alpha: bool,
        ndc: bool,
        static_cameras: bool,
        names: Sequence[str] = (),
        bodies: Sequence[tuple[str, ...]] = (),
        frames: int = 0,
    ) -> SceneInfo:
        """Sequences that share one scene; without `names` they are called "0", "1", ..."""
        named = names or tuple(str(index) for index in range(len(times)))
        sequences = tuple(
            SequenceInfo(name, tuple(own), bounds, near, far, background, tuple(of))
            for name, own, of in zip(named, times, bodies or ((),) * len(times), strict=True)
        )
        return SceneInfo(sequences, has_alpha, ndc, static_cameras, frames)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sequences."""
        return tuple(sequence.name for sequence in self.sequences)

    @property
    def times(self) -> tuple[tuple[float, ...], ...]:
        """For each sequence the distinct times of its training frames, ascending."""
        return tuple(sequence.times for sequence in self.sequences)

    @property
    def bodies(self) -> tuple[tuple[str, ...], ...]:
        """For each sequence the names of its bodies."""
        return tuple(sequence.bodies for sequence in self.sequences)

    @property
    def bounds(self) -> Bounds:
        """Lowest and highest corner of the box around all sequences' scenes."""
        lows, highs = zip(*(sequence.bounds for sequence in self.sequences))
        low, high = tuple(map(min, zip(*lows))), tuple(map(max, zip(*highs)))
        return low, high

    @property
    def near(self) -> float:
        """The least near bound of any ray."""
        return min(sequence.near for sequence in self.sequences)

    @property
    def far(self) -> float:
        """The largest far bound of any ray."""
        return max(sequence.far for sequence in self.sequences)

    @property
    def background(self) -> Point:
        """The stated background colour of the first sequence."""
        return self.sequences[0].background

    @property
    def time_range(self) -> tuple[float, float]:
        """First and last time of any training frame."""
        return min(t[0] for t in self.times), max(t[-1] for t in self.times)

    def with_bounds(self, bounds: Bounds) -> SceneInfo:
        """All sequences with these bounds."""
        return replace(self, sequences=tuple(replace(sequence, bounds=bounds) for sequence in self.sequences))


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
    """For each sequence the ground truth at its training times, and at no other; None without truth, and where rays run
    in normalised device coordinates."""
    names = sequence_names(dataset, frames)
    ground_truths = {s.name: None if dataset.ndc else s.truth for s in dataset.sequences}
    return [labels_at(ground_truths[name], times) for name, times in zip(names, sequence_times(names, frames))]


def cameras_are_static(frames: Sequence[Frame]) -> bool:
    """Every camera keeps one pose, and a camera has `MIN_FRAMES_PER_CAMERA` frames or more on average."""
    poses: dict[tuple[str, str], list[Tensor]] = defaultdict(list)
    for frame in frames:
        if frame.calibration is None:
            return False
        poses[frame.sequence, frame.camera_id].append(frame.calibration.camera_to_world)
    still = all(torch.equal(pose, camera_poses[0]) for camera_poses in poses.values() for pose in camera_poses)
    return still and len(frames) >= MIN_FRAMES_PER_CAMERA * len(poses)


def scene_info(dataset: Dataset, splits: Splits) -> SceneInfo:
    """What is stored in the run's config, so that a run loads without its data set. Reads one picture of every data
    set."""
    frames = training_frames(splits)
    labels = training_labels(dataset, frames)
    return SceneInfo(
        sequences=_sequences(dataset, frames, labels),
        has_alpha=_have_alpha(dataset, frames),
        ndc=dataset.ndc,
        static_cameras=cameras_are_static(frames),
        frames=len(frames),
        has_cameras=all(frame.calibration is not None for frame in frames),
        channels=dataset.channels,
        value_range=dataset.value_range,
    )


def _have_alpha(dataset: Dataset, frames: Sequence[Frame]) -> bool:
    """Whether the first picture of any data set has opacity."""
    paths = dataset.paths or (dataset.path,)
    first = {next((p for p in paths if f.image_path.is_relative_to(p)), None): f for f in reversed(frames)}
    return any(frame.rgba().shape[-1] == frame.channels + 1 for frame in first.values())


def _sequences(
    dataset: Dataset, frames: Sequence[Frame], labels: Sequence[PoseLabels | None]
) -> tuple[SequenceInfo, ...]:
    names = sequence_names(dataset, frames)
    extents = {s.name: dataset.extent_of(s) for s in dataset.sequences}
    first = {frame.sequence: frame for frame in reversed(frames)}
    infos = []
    for name, times, label in zip(names, sequence_times(names, frames), labels, strict=True):
        extent, background = extents[name], first[name].background if dataset.paths else dataset.background
        low, high = (tuple(float(x) for x in corner) for corner in extent.bounds)
        infos.append(
            SequenceInfo(
                name,
                times,
                (low, high),  # type: ignore[arg-type]
                float(extent.near),
                float(extent.far),
                background,
                label.bodies if label else (),
                first[name].size,
            )
        )
    return tuple(infos)


def require_one_sequence(name: str, info: SceneInfo) -> None:
    """Raises `UserError` for several sequences, or one training time: nothing to learn the motion of one sequence."""
    if len(info.sequences) != 1:
        raise UserError(
            f"{name} learns one sequence, and the data set has {len(info.sequences)}: give a folder with one of them."
        )
    require_two_times(name, info)


def require_two_times(name: str, info: SceneInfo) -> None:
    """Raises `UserError` where no sequence has training frames at two times or more: nothing moves."""
    most = max(len(times) for times in info.times)
    if most < 2:
        raise UserError(
            f"{name} needs training frames at 2 times or more; there is {most}: "
            "give more frames, or a larger --observe-until; `gaussians` learns a scene of one instant."
        )


def require_cameras(name: str, info: SceneInfo) -> None:
    """Raises `UserError` where the camera of a training frame is unknown."""
    if not info.has_cameras:
        raise UserError(
            f"{name} needs the pose of every camera, and these pictures have none: estimate poses (such as with COLMAP)"
            " and give nerfstudio's transforms.json or LLFF's poses_bounds.npy."
        )


def require_colour(name: str, info: SceneInfo) -> None:
    """Raises `UserError` unless pixels are red, green and blue in 0..1."""
    if (info.channels, info.value_range) != (3, (0.0, 1.0)):
        low, high = info.value_range
        raise UserError(
            f"{name} needs pictures of red, green and blue from 0 to 1, and these have {info.channels} channels from"
            f" {low:g} to {high:g}: convert them to 8-bit pictures."
        )
