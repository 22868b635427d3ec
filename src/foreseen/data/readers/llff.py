"""LLFF's form: poses_bounds.npy beside folders of pictures.

Source: Mildenhall et al. 2019 (LLFF). Its camera axes are (down, right, backwards).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from foreseen.data.images import ImageCache
from foreseen.data.readers.forward_facing import (
    VIDEO,
    PoseTable,
    cameras_from,
    check_depths,
    common_size,
    dataset,
    evenly_spaced,
    pictures_in,
)
from foreseen.data.types import Dataset
from foreseen.errors import UserError

POSES = "poses_bounds.npy"
FOLDERS = ("images", "images_2", "images_4", "images_8")
"""Pictures are taken from the first of these that exists. What size they have is seen from the files, not the name."""
TIMES = "times.txt"
"""Our addition: one number a picture, in the order of their names. Without it they count as frames of one video."""


def read(path: Path, *, background: tuple[float, float, float] | None, cache: ImageCache, ndc: bool = True) -> Dataset:
    """One sequence, in normalised device coordinates where the cameras face one way and `ndc` allows it.

    The format has no times: see `TIMES`. Frames of one pose share a `camera_id`. Nothing is marked as training or test.
    Pictures of different times are of one moving camera; with equal times in `TIMES` they are a capture of one instant.

    Raises:
        UserError: tables that are absent, of another shape, not finite or not rigid; pictures that are absent, of
            unequal size, or not as many as poses.
    """
    rows = _rows(path / POSES)
    pictures = _pictures(path, len(rows))
    poses, depths = rows[:, :15].reshape(-1, 3, 5), rows[:, 15:]
    down, right, backwards, position, size = np.moveaxis(poses, -1, 0)
    ours = np.stack([right, down, -backwards, position, size], axis=-1)
    cameras = cameras_from(ours, common_size(pictures), str(path / POSES))
    times = _stated_times(path / TIMES, len(rows))
    doubts = (
        () if times else (f"the format states no times: {VIDEO}; {TIMES} with one number a picture says otherwise",)
    )
    table = PoseTable(
        pictures,
        cameras,
        check_depths(depths, str(path / POSES)),
        times or evenly_spaced(len(rows)),
        [None] * len(rows),
    )
    return dataset(
        path,
        table,
        format="llff",
        time_unit="unknown" if times else "durations of the capture",
        background=background,
        cache=cache,
        allow_ndc=ndc,
        warnings=(*doubts, *_order_warning(pictures)),
    )


def _rows(path: Path) -> np.ndarray:
    """`[N, 17]` float64."""
    try:
        rows = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path} is absent: restore it, or give the folder that holds it") from None
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read as an array ({error}): replace it") from None
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != 17 or not len(rows):
        raise UserError(
            f"{path} has shape {getattr(rows, 'shape', 'of an archive')} where N x 17 is expected"
            " (3 x 5 pose and 2 bounds a picture): replace it"
        )
    if not np.issubdtype(rows.dtype, np.number):
        raise UserError(f"{path} holds no numbers: replace it")
    return rows.astype(np.float64)


def _pictures(path: Path, count: int) -> list[Path]:
    folder = next((path / name for name in FOLDERS if (path / name).is_dir()), None)
    if folder is None:
        raise UserError(f"{path} has none of the folders {', '.join(FOLDERS)}: put the pictures into one")
    pictures = pictures_in(folder)
    if len(pictures) != count:
        raise UserError(
            f"{path / POSES} has {count} poses but {folder} has {len(pictures)} pictures:"
            " give as many pictures as poses, in the same order by name"
        )
    return pictures


def _stated_times(path: Path, count: int) -> list[float]:
    """A time for every picture; empty where none are stated."""
    if not path.is_file():
        return []
    try:
        times = [float(word) for word in path.read_text().split()]
    except ValueError as error:
        raise UserError(f"{path}: {error}: give one number a picture") from None
    if len(times) != count or not np.isfinite(times).all():
        raise UserError(f"{path} has {len(times)} numbers for {count} pictures: give one finite number a picture")
    return times


def _order_warning(pictures: list[Path]) -> tuple[str, ...]:
    def by_number(path: Path) -> list[tuple[int, str]]:
        return [(int(w), "") if w.isdigit() else (-1, w) for w in re.split(r"(\d+)", path.stem)]

    if sorted(pictures, key=by_number) == pictures:
        return ()
    return ("file names sort otherwise as numbers than as text; poses are taken to be in the order of text, as LLFF's",)
