"""A reader of somebody else: `views.csv`, a line for each image.

Columns: file, time [s], focal [px], and the camera's position (x, y, z); every camera looks at the origin, z is up.
"""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from foreseen.data import Dataset, Frame, ImageCache, Sequence
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera

COLUMNS = ("file", "time", "focal", "x", "y", "z")
NEAR, FAR = 0.1, 10.0


def read(folder: Path, *, background: tuple[float, float, float] | None, cache: ImageCache) -> Dataset:
    """One sequence, whose cameras look at the origin.

    Raises:
        UserError: a column is absent, or a value is not a number.
    """
    file, color = folder / "views.csv", background or (1.0, 1.0, 1.0)
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    frames = [_frame(row, folder, number, color, cache) for number, row in enumerate(rows, start=2)]
    if not frames:
        raise UserError(f"{file} has no line after its header: give one for each image")
    frames.sort(key=lambda frame: frame.time)
    return Dataset(
        path=folder,
        name=folder.name,
        format="views-csv",
        sequences=(Sequence("video", tuple(frames)),),
        background=color,
        near=NEAR,
        far=FAR,
        bounds=torch.tensor([[-1.0] * 3, [1.0] * 3]),
        time_unit="s",
    )


def _frame(row: dict[str, str], folder: Path, line: int, color: tuple[float, float, float], cache: ImageCache) -> Frame:
    try:
        time, focal, *position = (float(row[name]) for name in COLUMNS[1:])
        path = folder / row["file"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'views.csv'}, line {line}: {error}: the columns are {', '.join(COLUMNS)}") from None
    if not path.is_file():
        raise UserError(f"{path} is absent: {folder / 'views.csv'} names it in line {line}")
    with Image.open(path) as image:
        width, height = image.size
    pose = looking_at_the_origin(torch.tensor(position))
    camera = Camera(pose, focal, focal, width / 2, height / 2, width, height, NEAR, FAR)
    return Frame("video", camera, f"view-{line - 2}", time, path, background=color, cache=cache)


def looking_at_the_origin(position: Tensor) -> Tensor:
    """`[4, 4]` camera to world, with OpenCV's axes: x right, y down, z forward."""
    forward = torch.nn.functional.normalize(-position, dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0])), dim=0)
    pose = torch.eye(4)
    pose[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=-1)
    pose[:3, 3] = position
    return pose
