"""Cameras and times of a clip, from the options of the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from foreseen.data.types import Frame
from foreseen.errors import UserError, suggest
from foreseen.export.camera_path import SUFFIX, along, read_path
from foreseen.export.clip import ClipFrame
from foreseen.export.clip_subject import ClipSubject, choose_subject
from foreseen.export.video import FPS
from foreseen.geometry.cameras import Camera
from foreseen.geometry.paths import fixed, follow, orbit, spiral

if TYPE_CHECKING:
    from foreseen.runs.run import Run

KINDS = ("train", "fixed", "follow", "orbit", "spiral")
PATHS = ("train:CAMERA_ID", *KINDS[1:], "FILE.json")
MAX_FRAMES = 300
"""Largest number of frames of a clip without --times."""


def parse_times(text: str) -> list[float]:
    """ "START:END:COUNT" -> COUNT times, evenly spread, both ends included. One time is "T:T:1".

    Raises:
        UserError: another form.
    """
    parts = text.split(":")
    form = f"--times '{text}': write START:END:COUNT, such as 0:1.5:90"
    if len(parts) != 3:
        raise UserError(f"{form} (two colons).")
    try:
        start, end, count = float(parts[0]), float(parts[1]), int(parts[2])
    except ValueError:
        raise UserError(f"{form} (two numbers and a whole number).") from None
    if not (math.isfinite(start) and math.isfinite(end)) or count < 1:
        raise UserError(f"{form} (finite times, COUNT 1 or more).")
    return [float(t) for t in np.linspace(start, end, count)]


def parse_size(text: str) -> tuple[int, int]:
    """ "WIDTHxHEIGHT" -> both, in pixels. Raises `UserError` for another form."""
    words = text.lower().split("x")
    if len(words) != 2 or not all(w.isdecimal() and int(w) > 0 for w in words):
        raise UserError(f"--size '{text}': write WIDTHxHEIGHT in pixels, such as 400x300.")
    return int(words[0]), int(words[1])


def default_times(frames: Sequence[Frame]) -> list[float]:
    """The captured times of the sequence; where there are more, `MAX_FRAMES` times over their range."""
    times = sorted({f.time for f in frames})
    return times if len(times) <= MAX_FRAMES else [float(t) for t in np.linspace(times[0], times[-1], MAX_FRAMES)]


def plan_clip(
    run: Run,
    path: str,
    times: Sequence[float] | None = None,
    *,
    subject: ClipSubject | None = None,
    size: tuple[int, int] | None = None,
    downscale: int = 1,
    degrees: float = 360.0,
    fps: float = FPS,
    with_truth: bool = False,
) -> list[ClipFrame]:
    """Cameras and times of a clip.

    Args:
        run: its data set has the cameras.
        path: "train:CAMERA_ID" (a camera of the data; it need not have been trained on), "fixed" (the first
            training camera), "follow" (from the first training pose to the last), "orbit" or "spiral" (around the
            scene), or a file that holds a path with its times (see `read_path`).
        times: of the frames, in the data set's unit; None takes the captured ones: of all cameras, or of the one camera
            whose ground truth is shown.
        subject: its times and pictures are taken; None: the first training sequence.
        size: width and height of the pictures; None keeps the data's.
        downscale: shrink the pictures by this whole factor instead.
        degrees: of an orbit.
        fps: frames per second of a path from a file.
        with_truth: look up the captured frame at each time.

    Raises:
        UserError: an unknown path or camera; ground truth for a path without a captured camera.
    """
    if path.lower().endswith(SUFFIX):
        return _from_file(run, Path(path), times, subject or choose_subject(run), size, downscale, fps, with_truth)
    kind, colon, camera_id = path.partition(":")
    if kind not in KINDS or bool(colon) != (kind == "train"):
        raise UserError(f"unknown path '{path}': {suggest(path, PATHS)}")
    if with_truth and kind not in ("train", "fixed"):
        raise UserError(f"--channel side-by-side needs a camera of the data: give --path train:CAMERA_ID, not {path}.")
    subject = subject or choose_subject(run)
    if with_truth and not subject.captured:
        raise UserError("--channel side-by-side needs a captured sequence: leave --initial out.")
    frames = subject.frames
    train = run.splits().frames["train"]
    seen = [f for f in train if f.sequence == frames[0].sequence] or [
        f for f in train if f.sequence == train[0].sequence
    ]
    seen = sorted(seen, key=lambda f: f.time)
    if kind in ("train", "fixed"):
        camera_id = _known_camera(camera_id, frames) if kind == "train" else seen[0].camera_id
        camera_frames = [f for f in frames if f.camera_id == camera_id]
        captured = camera_frames if with_truth else []
        times = default_times(captured or frames) if times is None else list(times)
        cameras = fixed(camera_frames[0].camera, len(times))
    else:
        captured = []
        times = default_times(frames) if times is None else list(times)
        cameras = _moving(kind, seen, len(times), degrees)
    resized = [_resize(camera, size, downscale) for camera in cameras]
    return [ClipFrame(c, t, frame_at(captured, t, frames)) for c, t in zip(resized, times)]


def _from_file(
    run: Run,
    file: Path,
    times: Sequence[float] | None,
    subject: ClipSubject,
    size: tuple[int, int] | None,
    downscale: int,
    fps: float,
    with_truth: bool,
) -> list[ClipFrame]:
    path = read_path(file)
    if times is not None:
        raise UserError(f"--path {file} has the times of its views: leave --times out.")
    if with_truth:
        raise UserError(f"--channel side-by-side needs a camera of the data: give --path train:CAMERA_ID, not {file}.")
    template = subject.frames[0].camera
    cameras, shown_times = along(path, fps, template.downscale(downscale), size)
    render_bounds = torch.tensor(run.info.bounds)
    return [ClipFrame(camera, time, render_bounds=render_bounds) for camera, time in zip(cameras, shown_times)]


def _moving(kind: str, seen: Sequence[Frame], count: int, degrees: float) -> list[Camera]:
    """The cameras of a moving path, from the training cameras."""
    if kind == "follow":
        return follow([f.camera for f in seen], count)
    cameras = [f.camera for f in {f.camera_id: f for f in reversed(seen)}.values()][::-1]
    return orbit(cameras, count, degrees) if kind == "orbit" else spiral(cameras, count)


def _known_camera(camera_id: str, frames: Sequence[Frame]) -> str:
    ids = {f.camera_id for f in frames}
    if camera_id not in ids:
        raise UserError(f"--path train:{camera_id}: the data has no camera '{camera_id}': {suggest(camera_id, ids)}")
    return camera_id


def frame_at(captured: Sequence[Frame], time: float, frames: Sequence[Frame]) -> Frame | None:
    """The captured frame within half a time step of `time`, if there is one."""
    if not captured:
        return None
    times = sorted({f.time for f in frames})
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    nearest = min(captured, key=lambda f: abs(f.time - time))
    return nearest if abs(nearest.time - time) <= 0.5 * step + 1e-9 else None


def _resize(camera: Camera, size: tuple[int, int] | None, downscale: int) -> Camera:
    if size is None:
        return camera.downscale(downscale) if downscale > 1 else camera
    return camera.resize(*size)
