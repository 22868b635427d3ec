"""Which frames are for training, and which are held out for evaluation."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from foreseen.data.types import Dataset, Frame
from foreseen.errors import UserError

SPLITS = ("train", "novel-view", "interpolation", "forecast", "unseen-sequence")
HOLD_OUT_EVERY = 8
HOLD_OUT_OFFSET = 4
FIXED_CAMERAS = 3
"""With so many fixed cameras or more, one is held out where the data set marks no test frames."""
SAME_TIME = 1e-6
"""Times closer than this share of the time range are one time."""


@dataclass(frozen=True)
class Splits:
    """The frames of a data set by their use.

    Attributes:
        frames: keyed by names of `SPLITS`, in the data set's order; empty ones are left out.
        observed_until: end of the observed window, in the data set's time unit.
        hash: of every frame's split, sequence, camera, time and file; the same wherever the folder lies.
        protocol: one sentence that says how the frames were divided.
    """

    frames: dict[str, tuple[Frame, ...]]
    observed_until: float
    hash: str
    protocol: str


def make_splits(dataset: Dataset, observe_until: float | None = None) -> Splits:
    """Divides a data set.

    Args:
        observe_until: fraction of the time range of all frames. Whatever is later never reaches training and is
            "forecast"; None observes all of it, up to the last frame that training sees.

    Sequences marked "test" are "unseen-sequence", at all times. In the others, inside the window, frames marked
    "test" are kept back: "novel-view" at a time that training sees, else "interpolation". Frames and sequences
    marked "val" are kept back and reported nowhere, unless nothing is marked "test": then they stand in for it.
    Without any mark the last of three or more fixed cameras is kept back, else every eighth time.

    Raises:
        UserError: a fraction outside 0..1, or no frame left to train on.
    """
    if observe_until is not None and not 0 < observe_until <= 1:
        raise UserError(f"--observe-until {observe_until:g}: give a fraction above 0 and at most 1")
    first, last = check_times(dataset)
    until = last if observe_until is None else first + observe_until * (last - first)
    slack = SAME_TIME * (last - first)
    roles, sentence = _roles(dataset, until + slack)
    if observe_until is None:  # frames that are marked "test" may be later than all training frames
        until = max((f.time for f, role in roles if role == "train"), default=until)
        if last > until + slack:
            sentence += f" Training frames end at {until:g}: what is later is the forecast."
    split = _name_all(roles, until + slack, slack)
    by_split = {name: tuple(f for f, s in zip(dataset.frames, split) if s == name) for name in SPLITS}
    if not by_split["train"]:
        fix = "give a larger --observe-until" if observe_until else "mark some of them as 'train'"
        raise UserError(f"{dataset.path}: no training frames: all up to time {until:g} are held out; {fix}")
    if observe_until is not None:
        sentence += f" Times after {until:g} ({observe_until:g} of the range) are the forecast."
    return Splits({k: v for k, v in by_split.items() if v}, until, _hash(dataset, split), sentence)


def check_times(dataset: Dataset) -> tuple[float, float]:
    """The first and the last time, which are the same for a capture of one instant. Raises `UserError` where one is not
    finite."""
    times = np.array([f.time for f in dataset.frames])
    if not np.isfinite(times).all():
        raise UserError(f"{dataset.path} has a frame whose time is not finite: correct it")
    return float(times.min()), float(times.max())


def _roles(dataset: Dataset, until: float) -> tuple[list[tuple[Frame, str]], str]:
    """Every frame with its role ("train", "val", "test", "unseen"), and the sentence that says why."""
    marks = {s.split for s in dataset.sequences} | {f.split for f in dataset.frames}
    if marks == {None}:
        return _choose(dataset, until)
    whole = {s.name: s.split for s in dataset.sequences}
    roles = [(f, _role(f, whole[f.sequence], "test" not in marks)) for f in dataset.frames]
    if not marks & {"test", "val"}:
        return roles, "The data set marks all frames for training."
    sentence = "Training and test frames are those that the data set marks"
    if "val" in marks:
        sentence += " (val is kept back, and not reported)" if "test" in marks else " (val stands in for test)"
    return roles, f"{sentence}."


def _role(frame: Frame, sequence: str | None, val_is_test: bool) -> str:
    """A frame's role by its mark; the mark of its whole sequence wins."""
    if sequence == "test" or (sequence == "val" and val_is_test):
        return "unseen"
    role = "val" if sequence == "val" else frame.split or "train"
    return "test" if role == "val" and val_is_test else role


def _choose(dataset: Dataset, until: float) -> tuple[list[tuple[Frame, str]], str]:
    """The roles of frames in a data set without marks."""
    frames = list(dataset.frames)
    if len({f.time for f in frames}) == 1:
        return _choose_of_one_instant(frames)
    fixed = _fixed_cameras(f for f in frames if f.time <= until)
    if len(fixed) >= FIXED_CAMERAS:
        roles = [(f, "test" if f.camera_id == fixed[-1] else "train") for f in frames]
        return roles, f"The data set marks no test frames: camera '{fixed[-1]}' of {len(fixed)} is kept back."
    hidden = set()
    for sequence in dataset.sequences:
        seen = [t for t in sequence.times.tolist() if t <= until]
        hidden |= {(sequence.name, t) for t in seen[HOLD_OUT_OFFSET:-1:HOLD_OUT_EVERY]}
    roles = [(f, "test" if (f.sequence, f.time) in hidden else "train") for f in frames]
    return roles, f"The data set marks no test frames: every {HOLD_OUT_EVERY}th time is kept back."


def _choose_of_one_instant(frames: list[Frame]) -> tuple[list[tuple[Frame, str]], str]:
    """Every eighth picture is kept back, from the first on, where there are three or more."""
    hidden = set(range(0, len(frames), HOLD_OUT_EVERY)) if len(frames) >= FIXED_CAMERAS else set()
    roles = [(f, "test" if index in hidden else "train") for index, f in enumerate(frames)]
    return roles, f"All frames have one time, and none is marked for tests: every {HOLD_OUT_EVERY}th is kept back."


def _fixed_cameras(frames: Iterable[Frame]) -> list[str]:
    """Cameras of one pose and several times, by name."""
    by_camera: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        by_camera[frame.camera_id].append(frame)
    several = {name: taken for name, taken in by_camera.items() if len({f.time for f in taken}) > 1}
    return sorted(name for name, taken in several.items() if _still(taken))


def _still(frames: list[Frame]) -> bool:
    poses = [f.calibration.camera_to_world for f in frames if f.calibration is not None]
    return len(poses) == len(frames) and all(torch.equal(pose, poses[0]) for pose in poses)


def _name_all(roles: list[tuple[Frame, str]], until: float, slack: float) -> list[str | None]:
    """The split of every frame, None for those that are reported nowhere."""
    seen: dict[str, list[float]] = defaultdict(list)
    for frame, role in roles:
        if role == "train" and frame.time <= until:
            seen[frame.sequence].append(frame.time)
    training_times = {name: np.unique(times) for name, times in seen.items()}
    return [_name(frame, role, until, training_times.get(frame.sequence, np.empty(0)), slack) for frame, role in roles]


def _name(frame: Frame, role: str, until: float, training_times: np.ndarray, slack: float) -> str | None:
    if role == "unseen":
        return "unseen-sequence"
    if frame.time > until:
        return "forecast"
    if role != "test":
        return "train" if role == "train" else None
    is_seen = training_times.size and np.abs(training_times - frame.time).min() <= slack
    return "novel-view" if is_seen else "interpolation"


def _relative(file: Path, dataset: Dataset) -> str:
    """The file's path inside of its data set, so that a data set may move."""
    for folder in dataset.paths or (dataset.path,):
        if file.is_relative_to(folder):
            return file.name if file == folder else file.relative_to(folder).as_posix()
    return file.as_posix()


def _hash(dataset: Dataset, split: list[str | None]) -> str:
    digest = hashlib.sha256()
    for frame, name in zip(dataset.frames, split):
        number = () if frame.image_index is None else (frame.image_index,)
        file = _relative(frame.image_path, dataset)
        line = (name, frame.sequence, frame.camera_id, float(frame.time), file, *number)
        digest.update(f"{line!r}\n".encode())
    return digest.hexdigest()[:16]
