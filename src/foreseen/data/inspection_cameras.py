"""Checks of cameras: axes, focal lengths, and the scale of the scene."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from foreseen.data import FORMATS
from foreseen.data.inspection_report import InspectionSection, between, counted, number, numbers
from foreseen.data.readers.transforms import entries, read_document
from foreseen.data.types import Dataset, Frame
from foreseen.geometry.cameras import Camera
from foreseen.geometry.paths import look_at_point, up_direction

MIN_AXIS_SPREAD = 2e-3
"""Spread of the optical axes (least eigenvalue) below which they count as parallel: about 3 degrees."""

MAX_AIM_ANGLE = 15.0
"""Cameras that miss their common point by more degrees, in the median, are not reported to look at it."""

ANGLE_TOLERANCE = 0.01
USUAL_FIELD_OF_VIEW = (5.0, 130.0)
"""Degrees. A horizontal field of view outside of this range is reported."""


@dataclass(frozen=True)
class CameraAim:
    """Where the cameras look.

    Attributes:
        point: `[3]`, nearest to all optical axes; at an estimated distance where they do not determine it.
        determined: the axes determine it.
        behind: share of cameras whose axes come nearest to the others' behind them.
        miss: `[N]` degrees between optical axis and the direction to the point.
        distances: `[N]` from the cameras to the point.
    """

    point: np.ndarray
    determined: bool
    behind: float
    miss: np.ndarray
    distances: np.ndarray


def camera_key(frame: Frame) -> tuple[float, ...]:
    """Pose and intrinsics, rounded: equal for frames of one place."""
    c = frame.camera
    pose = np.round(c.camera_to_world.double().numpy().ravel(), 6).tolist()
    return (*pose, c.fx, c.fy, c.cx, c.cy, c.width, c.height)


def distinct_cameras(frames: Iterable[Frame]) -> list[Frame]:
    """The first frame of every place."""
    first: dict[tuple[float, ...], Frame] = {}
    for frame in frames:
        first.setdefault(camera_key(frame), frame)
    return list(first.values())


def fit_aim(cameras: list[Camera]) -> CameraAim:
    """Where cameras look, by least squares."""
    poses = np.stack([c.camera_to_world.double().numpy() for c in cameras])
    positions, forward = poses[:, :3, 3], poses[:, :3, 2]
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    mean = across.mean(axis=0)
    determined = len(cameras) > 1 and float(np.linalg.eigvalsh(mean)[0]) > MIN_AXIS_SPREAD
    point = look_at_point(cameras)
    behind = 0.0
    if determined:
        crossing = np.linalg.solve(mean, np.einsum("nij,nj->i", across, positions) / len(cameras))
        behind = float(np.mean(np.einsum("ni,ni->n", crossing - positions, forward) < 0))
        point = crossing if behind < 0.5 else point
    offsets = point - positions
    distances = np.linalg.norm(offsets, axis=1)
    cosine = np.einsum("ni,ni->n", offsets, forward) / np.maximum(distances, 1e-12)
    return CameraAim(point, determined, behind, np.degrees(np.arccos(np.clip(cosine, -1, 1))), distances)


def check_cameras(dataset: Dataset) -> InspectionSection:
    """How many cameras there are, what they look at, and whether their axes make sense."""
    frames = list(dataset.frames)
    places = distinct_cameras(frames)
    cameras = [f.camera for f in places]
    looking = fit_aim(cameras)
    up = up_direction(cameras)
    axes = np.stack([c.camera_to_world[:3, :3].double().numpy() for c in cameras])
    roll = np.degrees(np.arcsin(np.clip(np.abs(axes[:, :, 0] @ up), 0, 1)))
    upside_down = int((axes[:, :, 1] @ up > 0.2).sum())
    sizes = sorted({f"{c.width} x {c.height}" for c in cameras})
    rows = [
        ("cameras", _kind(frames, len(places))),
        ("picture size", ", ".join(sizes)),
        ("look at", _aim_sentence(looking)),
        ("up", f"{numbers(up)}; the cameras are level within {number(roll.max())} degrees"),
    ]
    return InspectionSection("Cameras", tuple(rows), tuple(_axis_warnings(looking, upside_down, len(cameras))))


def _kind(frames: list[Frame], places: int) -> str:
    times = Counter((f.sequence, f.camera_id) for f in frames)
    several = sum(count > 1 for count in times.values())
    if several == len(times) and places <= len({name for _, name in times}):
        return f"{counted(places, 'camera')} that {'stands' if places == 1 else 'stand'} still"
    if places == len(frames) and len({f.time for f in frames}) == 1:
        return f"{counted(places, 'camera')} with one picture each, at one time"
    if places == len(frames):
        return f"one place a picture, {places} places: a camera that moves"
    return f"{counted(places, 'place')} for {counted(len(frames), 'picture')}"


def _aim_sentence(looking: CameraAim) -> str:
    if len(looking.miss) == 1:
        return "one camera does not tell"
    if not looking.determined:
        return "no common point: their axes are parallel"
    miss = float(np.median(looking.miss))
    if looking.behind >= 0.5 or miss > MAX_AIM_ANGLE:
        return f"no common point in front of them (nearest: {numbers(looking.point)})"
    return f"{numbers(looking.point)}, which they miss by {number(miss)} degrees in the median"


def _axis_warnings(looking: CameraAim, upside_down: int, count: int) -> Iterable[str]:
    if looking.behind >= 0.5:
        yield (
            f"{100 * looking.behind:.0f} % of the cameras look away from where their axes meet: the file may have"
            " OpenCV's axes where its form asks for OpenGL's (or the other way round), or the cameras look outwards"
        )
    if upside_down:
        yield f"{upside_down} of {count} cameras are upside down to the others: look for a mix of axis conventions"


def check_focal(dataset: Dataset) -> InspectionSection:
    """Focal lengths, and whether the file's field of view contradicts them."""
    cameras = [f.camera for f in dataset.frames]
    views = np.array([math.degrees(2 * math.atan(c.width / 2 / c.fx)) for c in cameras])
    rows = [("focal length", f"{_histogram(round(c.fx, 1) for c in cameras)} px")]
    rows.append(("field of view", f"{between(views.round(1))} degrees from left to right"))
    angles, wrong, total = _stated_angles(dataset)
    if angles:
        kinds = sorted({f"{number(a)} rad, which means {number(f)} px" for a, f in angles})
        verdict = f"; {wrong} of {total} frames state another" if wrong else ""
        rows.append(("camera_angle_x", ", ".join(kinds) + verdict))
    doubts = list(_focal_warnings(cameras, views))
    if wrong and not any("camera_angle_x" in w for w in dataset.warnings):
        doubts.append(f"camera_angle_x contradicts the own fl_x of {wrong} of {total} frames; fl_x is taken")
    return InspectionSection("Focal length", tuple(rows), tuple(doubts))


def _histogram(values: Iterable[float]) -> str:
    counts = Counter(values).most_common()
    if len(counts) > 5:
        return f"{min(counts)[0]:g} to {max(counts)[0]:g}"
    return ", ".join(f"{value:g} ({counted(count, 'frame')})" for value, count in sorted(counts))


def _stated_angles(dataset: Dataset) -> tuple[list[tuple[float, float]], int, int]:
    """Each file's `camera_angle_x` and the focal length [px] that this means at the width of its first frame; how many
    of all frames state another focal length themselves; how many state one."""
    angles, wrong, total = [], 0, 0
    names = FORMATS[dataset.format].files if dataset.format in FORMATS else ()
    files = [dataset.path / name for name in names if name.startswith("transforms")]
    for file in (f for f in files if f.is_file()):
        for index, entry in enumerate(entries(read_document(file), file)):
            angle, focal, width = (entry.get(name) for name in ("camera_angle_x", "fl_x", "w"))
            if not _positive(angle) or not _positive(width):
                continue
            implied = 0.5 * width / math.tan(0.5 * angle)
            if index == 0:
                angles.append((angle, implied))
            if _positive(focal):
                total += 1
                wrong += abs(implied / focal - 1) > ANGLE_TOLERANCE
    return angles, wrong, total


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and value > 0


def _focal_warnings(cameras: list[Camera], views: np.ndarray) -> Iterable[str]:
    odd = int(((views < USUAL_FIELD_OF_VIEW[0]) | (views > USUAL_FIELD_OF_VIEW[1])).sum())
    if odd:
        yield f"{odd} of {len(views)} fields of view are odd ({between(views.round(1))} degrees): check fl_x and w"
    flat = sum(abs(c.fx / c.fy - 1) > 0.05 for c in cameras)
    if flat:
        yield f"{flat} of {len(cameras)} cameras have pixels that are not square (fl_x and fl_y differ by over 5 %)"
    aside = sum(abs(c.cx / c.width - 0.5) > 0.15 or abs(c.cy / c.height - 0.5) > 0.15 for c in cameras)
    if aside:
        yield f"{aside} of {len(cameras)} principal points lie far from the picture's centre: check cx and cy"


def check_scale(dataset: Dataset) -> InspectionSection:
    """Where the cameras stand, how far they look, and whether near, far and bounds fit that."""
    cameras = [f.camera for f in distinct_cameras(dataset.frames)]
    positions = np.stack([c.position.double().numpy() for c in cameras])
    looking = fit_aim(cameras)
    rows = [("cameras stand in", f"{numbers(positions.min(axis=0))} to {numbers(positions.max(axis=0))}")]
    if looking.determined:
        rows.append(("to what they look at", f"{between(looking.distances)} {dataset.length_unit}"))
    low, high = dataset.bounds.double().numpy()
    space = "normalised device coordinates" if dataset.ndc else dataset.length_unit
    rows += [
        ("rays", f"from {number(dataset.near)} to {number(dataset.far)}, in {space}"),
        ("bounds", f"{numbers(low)} to {numbers(high)}"),
    ]
    ndc = cameras[0].ndc
    if ndc is not None:
        rows.append(("near plane", f"{number(ndc.near)} {dataset.length_unit} before the mean camera"))
        return InspectionSection("Scale", tuple(rows))
    return InspectionSection("Scale", tuple(rows), tuple(_scale_warnings(dataset, looking, low, high)))


def _scale_warnings(dataset: Dataset, looking: CameraAim, low: np.ndarray, high: np.ndarray) -> Iterable[str]:
    if dataset.far > 1e4 * max(dataset.near, 1e-12):
        yield f"near {number(dataset.near)} and far {number(dataset.far)} are too far apart to sample rays well"
    if not looking.determined or looking.behind >= 0.5:
        return
    if ((looking.point < low) | (looking.point > high)).any():
        yield f"what the cameras look at, {numbers(looking.point)}, lies outside the bounds"
    nearest, farthest = looking.distances.min(), looking.distances.max()
    if dataset.near > nearest or dataset.far < farthest:
        yield (
            f"near {number(dataset.near)} and far {number(dataset.far)} leave out what the cameras look at, which is"
            f" {number(nearest)} to {number(farthest)} away"
        )
