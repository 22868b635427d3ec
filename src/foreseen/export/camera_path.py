"""Camera paths with times in a JSON file: the viewer records them, `foreseen render --path FILE` renders them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation, Slerp

from foreseen.data.readers.transforms import rigid
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera

SUFFIX = ".json"
FORMAT, VERSION = "foreseen camera path", 1
MAX_SECONDS = 3600.0
"""Longest clip [s]. A longer one is a mistake in the file."""
MAX_VIEWS = 100_000
MAX_FOV = 170.0
"""Largest field of view [degrees]."""


@dataclass(frozen=True)
class CameraKeyframe:
    """One view of a path.

    Attributes:
        at: time in the clip [s].
        time: shown time, in the data set's unit.
        fov: vertical field of view [degrees].
        pose: rigid `[4, 4]` float64, camera to world, OpenCV axes.
    """

    at: float
    time: float
    fov: float
    pose: np.ndarray


@dataclass(frozen=True)
class CameraPath:
    """Views by the time in the clip, strictly ascending; `aspect` is width by height of the viewer's window."""

    views: tuple[CameraKeyframe, ...]
    aspect: float


def encode_path(path: CameraPath) -> bytes:
    """The content of a file."""
    views = [{"at": v.at, "time": v.time, "fov": v.fov, "camera_to_world": v.pose.tolist()} for v in path.views]
    return json.dumps({"format": FORMAT, "version": VERSION, "aspect": path.aspect, "views": views}, indent=1).encode()


def read_path(file: Path) -> CameraPath:
    """Reads a file. Raises `UserError` for what is no camera path; the message names the field and the fix."""
    if not file.is_file():
        raise UserError(f"--path {file} is no file: give a camera path that the viewer saved.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not valid JSON ({error}): save the camera path again.") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{file} is no camera path ('format' is not '{FORMAT}'): save one in `foreseen view`.")
    if content.get("version") != VERSION:
        raise UserError(f"{file}: version {content.get('version')} of camera paths, not {VERSION}: update foreseen.")
    listed = content.get("views")
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_VIEWS:
        raise UserError(f"{file}: 'views' is no list of 1 to {MAX_VIEWS} views: save the camera path again.")
    views = tuple(_view(value, f"{file}: views[{i}]") for i, value in enumerate(listed))
    at = [v.at for v in views]
    if any(b <= a for a, b in pairwise(at)) or at[-1] - at[0] > MAX_SECONDS:
        raise UserError(
            f"{file}: 'at' of the views must ascend, over at most {MAX_SECONDS:g} seconds: put them in order."
        )
    return CameraPath(views, _number(content, "aspect", str(file), 0.05, 20.0))


def _view(value: Any, where: str) -> CameraKeyframe:
    if not isinstance(value, dict):
        raise UserError(f"{where} is no JSON object: replace or remove it.")
    return CameraKeyframe(
        _number(value, "at", where),
        _number(value, "time", where),
        _number(value, "fov", where, 0.1, MAX_FOV),
        rigid(value.get("camera_to_world"), f"{where}: camera_to_world"),
    )


def _number(fields: dict[str, Any], name: str, where: str, low: float = -1e9, high: float = 1e9) -> float:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UserError(f"{where}: '{name}' is no number from {low:g} to {high:g}: correct it.")
    return float(value)


def along(
    path: CameraPath, fps: float, template: Camera, size: tuple[int, int] | None
) -> tuple[list[Camera], list[float]]:
    """Cameras and times of a clip with `fps` frames per second.

    Positions, times and fields of view are interpolated linearly between views, rotations along the shortest way.

    Args:
        template: its near and far are those of all cameras, and its height where `size` is None.
    """
    views = path.views
    at = np.array([v.at for v in views])
    clock = at[0] + np.arange(round((at[-1] - at[0]) * fps) + 1) / fps
    clock = np.clip(clock, at[0], at[-1])
    poses = np.stack([v.pose for v in views])
    moved = np.tile(np.eye(4), (len(clock), 1, 1))
    moved[:, :3, 3] = np.stack([np.interp(clock, at, poses[:, i, 3]) for i in range(3)], axis=-1)
    rotations = Rotation.from_matrix(poses[:, :3, :3])
    moved[:, :3, :3] = (Slerp(at, rotations)(clock) if len(views) > 1 else rotations).as_matrix()
    width, height = size or (2 * max(round(template.height * path.aspect / 2), 1), template.height)
    fov = np.interp(clock, at, [v.fov for v in views])
    cameras = [_camera(pose, float(angle), width, height, template) for pose, angle in zip(moved, fov)]
    return cameras, [float(t) for t in np.interp(clock, at, [v.time for v in views])]


def _camera(pose: np.ndarray, fov: float, width: int, height: int, template: Camera) -> Camera:
    focal = height / 2 / math.tan(math.radians(fov) / 2)
    return replace(
        template,
        camera_to_world=torch.from_numpy(pose).to(template.camera_to_world),
        fx=focal,
        fy=focal,
        cx=width / 2,
        cy=height / 2,
        width=width,
        height=height,
    )
