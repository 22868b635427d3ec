"""What the two transforms.json forms (nerfstudio's and Blender's) have in common."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from unicodedata import category

import numpy as np
import torch
from torch import Tensor

from foreseen.data.picture_files import PICTURE_ENDINGS, PICTURE_MODES, picture_header
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera

RIGID_TOLERANCE = 1e-3
"""Largest entry of R^T R - 1 that counts as rounding. Larger: accepts matrices with more scale or shear."""

MAX_NAME_BYTES, MAX_PATH_BYTES = 255, 4000
"""Longest names and paths that file systems accept."""
MAX_FLOAT = float(np.finfo(np.float64).max)


def read_document(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises `UserError` where it is absent or broken."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is absent: restore it, or give the folder that holds it") from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is broken JSON at line {error.lineno}, column {error.colno} ({error.msg}): fix it there"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text ({error.reason} at byte {error.start}): replace it") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON that can be read ({error}): replace it") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): make it readable") from None
    if not isinstance(document, dict):
        raise UserError(f"{path} holds no JSON object: replace it by a transforms file")
    return document


@dataclass(frozen=True)
class FrameEntry:
    """One element of "frames".

    Attributes:
        fields: its own; they win over `shared`, the fields of the whole file.
        where: its name in messages.
    """

    fields: dict[str, Any]
    shared: dict[str, Any]
    folder: Path
    where: str

    def get(self, name: str) -> Any:
        """A field, None where it is absent."""
        own = self.fields.get(name)
        return self.shared.get(name) if own is None else own

    def number(self, name: str, otherwise: float | None = None) -> float:
        """A finite number. Raises `UserError`, also where it is absent and there is no `otherwise`."""
        value = self.get(name)
        if value is None and otherwise is not None:
            return otherwise
        if value is None:
            raise UserError(f"{self.where} has no '{name}': add it")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= MAX_FLOAT:
            raise UserError(f"{self.where}: '{name}' is {_shown(value)}: give a finite number")
        return float(value)

    def text(self, name: str) -> str | None:
        """A text of the element's own. Raises `UserError` where it is something else."""
        value = self.fields.get(name)
        if value is not None and not isinstance(value, str):
            raise UserError(f"{self.where}: '{name}' is {_shown(value)}: give a text")
        return value

    def name(self, name: str) -> str | None:
        """A text of the element's own that is shown to users. Raises `UserError` where it is something else."""
        text = self.text(name)
        return None if text is None else one_line(text, f"{self.where}: '{name}'")

    def path(self, name: str) -> Path | None:
        """A file inside the data set's folder. Raises `UserError` for a path that leaves it."""
        text = self.text(name)
        return None if text is None else inside(self.folder, text, f"{self.where}: '{name}'")

    def picture(self) -> Path:
        """The picture's file; Blender's form leaves its ending out. It need not exist."""
        path = self.path("file_path")
        if path is None:
            raise UserError(f"{self.where} has no 'file_path': add it")
        if path.is_file() or path.suffix in PICTURE_ENDINGS:
            return path
        candidates = [path.with_name(path.name + ending) for ending in PICTURE_ENDINGS]
        return next((c for c in candidates if c.is_file()), candidates[0])

    def pose(self) -> Tensor:
        """`camera_to_world` `[4, 4]`: OpenGL's axes (y up, z backward) converted to OpenCV's."""
        matrix = rigid(self.fields.get("transform_matrix"), f"{self.where}: 'transform_matrix'")
        matrix[:, 1:3] *= -1
        return torch.from_numpy(matrix).float()


def entries(document: dict[str, Any], path: Path) -> list[FrameEntry]:
    """The elements of "frames". Raises `UserError` where there are none."""
    frames = document.get("frames")
    if not isinstance(frames, list) or not frames:
        raise UserError(f"{path} has no 'frames': a transforms file lists at least one")
    shared = {key: value for key, value in document.items() if key != "frames"}
    for index, fields in enumerate(frames):
        if not isinstance(fields, dict):
            raise UserError(f"{path}: frames[{index}] is no JSON object: replace or remove it")
    return [FrameEntry(f, shared, path.parent, f"{path}: frames[{i}]") for i, f in enumerate(frames)]


def inside(folder: Path, text: str, where: str) -> Path:
    """`text` as a path under `folder`, symbolic links followed as they are. Raises `UserError` for one that
    climbs out: a data set from elsewhere must not make us open files of the user's."""
    if len(os.fsencode(text)) > MAX_PATH_BYTES or any(len(os.fsencode(p)) > MAX_NAME_BYTES for p in Path(text).parts):
        raise UserError(
            f"{where} is {text[:40]!r}... and {len(text)} characters long: no file has such a name, correct it"
        )
    path = Path(os.path.normpath(folder / text))
    if not path.is_relative_to(os.path.normpath(folder)):
        raise UserError(f"{where} is '{text}', which lies outside the data set's folder: move it inside")
    return path


def one_line(text: str, where: str) -> str:
    """`text`. Raises `UserError` where it holds characters that control a terminal."""
    if any(category(c) == "Cc" for c in text):
        raise UserError(f"{where} is {_shown(text)}: leave out its control characters")
    return text


def rigid(value: Any, where: str) -> np.ndarray:
    """`[4, 4]` float64. Raises `UserError` unless it is a rotation and a translation."""
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape == (3, 4):
        matrix = np.vstack([matrix, [0, 0, 0, 1]])
    if matrix.shape != (4, 4):
        raise UserError(f"{where} is not 4 x 4 numbers: give the camera-to-world matrix")
    if not np.isfinite(matrix).all():
        raise UserError(f"{where} holds NaN or infinity: remove the frame or estimate its pose again")
    rotation = matrix[:3, :3]
    error = np.abs(rotation.T @ rotation - np.eye(3)).max()
    if error > RIGID_TOLERANCE or np.linalg.det(rotation) < 0 or not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise UserError(f"{where} is not rigid (no rotation with a translation): remove scale, shear and mirroring")
    return matrix


def picture_size(path: Path, stated: tuple[int, int] | None, source: str) -> tuple[int, int]:
    """Width and height of a picture, from its header. Raises `UserError` unless they are as `stated` by
    `source` and its pixels are of a kind that is read."""
    width, height, mode = picture_header(path)
    if stated is not None and (width, height) != stated:
        raise UserError(
            f"{path} is {width} x {height} pixels where {source} says {stated[0]} x {stated[1]}:"
            " give the picture that belongs there, or correct the size and the intrinsics"
        )
    if mode not in PICTURE_MODES:
        raise UserError(f"{path} has pixels of type '{mode}', not read here: save it as 8 bit RGB or RGBA")
    return width, height


def stated_size(entry: FrameEntry) -> tuple[int, int] | None:
    """Width and height, None where the file is silent. Raises `UserError` unless they are whole numbers."""
    if entry.get("w") is None and entry.get("h") is None:
        return None
    size = entry.number("w"), entry.number("h")
    if any(x < 1 or x != int(x) for x in size):
        raise UserError(f"{entry.where}: 'w' and 'h' are {size[0]:g} and {size[1]:g}: give whole pixels")
    return int(size[0]), int(size[1])


def intrinsics(entry: FrameEntry, width: int, height: int) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy in pixels. A frame's own fl_x wins, then its own camera_angle_x, then the file's.

    Raises `UserError` where neither is given, or is not positive.
    """
    fx = _focal(entry, "fl_x", "camera_angle_x", width)
    if fx is None:
        raise UserError(f"{entry.where} has no 'fl_x' and the file no 'camera_angle_x': add one of them")
    fy = _focal(entry, "fl_y", "camera_angle_y", height) or fx
    return fx, fy, entry.number("cx", width / 2), entry.number("cy", height / 2)


def _focal(entry: FrameEntry, focal: str, angle: str, size: int) -> float | None:
    for place in (FrameEntry(entry.fields, {}, entry.folder, entry.where), entry):
        if place.get(focal) is not None:
            return _above(place, focal, math.inf)
        if place.get(angle) is not None:
            return 0.5 * size / math.tan(0.5 * _above(place, angle, math.pi))
    return None


def _above(entry: FrameEntry, name: str, limit: float) -> float:
    value = entry.number(name)
    if not 0 < value < limit:
        raise UserError(f"{entry.where}: '{name}' is {value:g}: give a number above 0")
    return value


def camera_names(cameras: Iterable[Camera]) -> list[str]:
    """A name for every camera, the same for those of one pose and one set of intrinsics.

    Digits of equal number, so that names sort in the order of appearance.
    """
    keys = [_key(camera) for camera in cameras]
    order = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    digits = len(str(max(len(order) - 1, 0)))
    return [f"camera-{order[key]:0{digits}d}" for key in keys]


def _key(camera: Camera) -> tuple[float, ...]:
    values = (*camera.camera_to_world.flatten().tolist(), camera.fx, camera.fy, camera.cx, camera.cy)
    return (camera.width, camera.height, *(round(v, 5) for v in values))


def _shown(value: Any) -> str:
    """A JSON value, shortened for a message."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def ascending(times: Iterable[float]) -> bool:
    """Whether times never go back."""
    return all(before <= after for before, after in pairwise(times))
