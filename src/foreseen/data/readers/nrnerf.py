"""Non-rigid NeRF's form: precomputed.json beside a folder of the pictures of one hand-held video.

Source: Tretschk et al. 2021 (NR-NeRF). The poses look like LLFF's (3 x 5 with height, width, focal), but their axes
are the original NeRF's: right, up, backwards. The example capture agrees: its epipolar lines fit to half a pixel
then, and miss by more than twenty with LLFF's axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from foreseen.data.readers.transforms import read_document
from foreseen.data.types import Dataset
from foreseen.errors import UserError

DOCUMENT = "precomputed.json"
IMAGES = "images"
HOLD_OUT_EVERY = 8


def read(path: Path, *, background: tuple[float, float, float] | None, cache: ImageCache, ndc: bool = True) -> Dataset:
    """One sequence of a moving camera, in normalised device coordinates where the camera faces one way and `ndc` allows
    it.

    The format has no times: pictures count as evenly spaced from 0 to 1.

    `i_test` is the index of one picture, the one whose camera stands nearest to the mean position. One picture is no
    test, so every `HOLD_OUT_EVERY`th is marked "test", in such a phase that the author's is among them. A list of
    indices is taken as it stands.

    Raises:
        UserError: a document that is absent or broken; fields that are absent, of another shape, not finite or not
            rigid; pictures that are absent, of unequal size, or not as many as poses.
    """
    file = path / DOCUMENT
    document = read_document(file)
    poses = _array(document, "poses", (3, 5), file)
    depths = check_depths(_array(document, "bds", (2,), file), str(file))
    pictures = _pictures(path / IMAGES, len(poses), file)
    if len(depths) != len(poses):
        raise UserError(f"{file} has {len(poses)} 'poses' but {len(depths)} 'bds': give one pair a pose")
    right, up, backwards, position, size = np.moveaxis(poses, -1, 0)
    ours = np.stack([right, -up, -backwards, position, size], axis=-1)
    table = PoseTable(
        pictures,
        cameras_from(ours, common_size(pictures), str(file)),
        depths,
        evenly_spaced(len(poses)),
        _splits(document.get("i_test"), len(poses), file),
    )
    return dataset(
        path,
        table,
        format="nrnerf",
        time_unit="durations of the capture",
        background=background,
        cache=cache,
        allow_ndc=ndc,
        warnings=(f"the format states no times: {VIDEO}",),
    )


def _array(document: dict[str, Any], name: str, shape: Sequence[int], file: Path) -> np.ndarray:
    """`[N, *shape]` float64."""
    try:
        array = np.array(document.get(name), dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != len(shape) + 1 or array.shape[1:] != tuple(shape) or not len(array):
        wanted = " x ".join(map(str, ("N", *shape)))
        raise UserError(f"{file}: '{name}' is not {wanted} numbers: give that for each picture")
    return array


def _pictures(folder: Path, count: int, file: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder} is absent: put the pictures there")
    pictures = pictures_in(folder)
    if len(pictures) != count:
        raise UserError(f"{file} has {count} poses but {folder} has {len(pictures)} pictures: give as many of both")
    return pictures


def _splits(held: Any, count: int, file: Path) -> list[str | None]:
    """A hint for every picture; none where the document names no picture."""
    if held is None:
        return [None] * count
    indices = held if isinstance(held, list) else [held]
    if not all(isinstance(i, int) and not isinstance(i, bool) and 0 <= i < count for i in indices):
        raise UserError(f"{file}: 'i_test' is {held}: give indices from 0 to {count - 1}")
    if not isinstance(held, list):
        indices = list(range(held % HOLD_OUT_EVERY, count, HOLD_OUT_EVERY))
    return ["test" if i in indices else "train" for i in range(count)]
