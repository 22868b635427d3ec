"""D-NeRF's variant of Blender's transforms: transforms_{train,val,test}.json, pictures with alpha, times."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from foreseen.data.extent import extent_from_cameras, with_extent
from foreseen.data.images import ImageCache
from foreseen.data.layers import standard_layers
from foreseen.data.readers.transforms import (
    FrameEntry,
    ascending,
    camera_names,
    entries,
    intrinsics,
    picture_size,
    read_document,
    stated_size,
)
from foreseen.data.types import SPLIT_HINTS, Dataset, Frame, Sequence
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera

SEQUENCE = "sequence-0"
ANGLE_TOLERANCE = 0.01
MASKS = "masks"
"""Folder beside the pictures with instance masks of the same names."""


def read(path: Path, *, background: tuple[float, float, float] | None, cache: ImageCache) -> Dataset:
    """One sequence with the frames of all splits. Transparent pictures lie on `background`, or on white.

    Frames of one pose and one set of intrinsics share a `camera_id`, and are a track: D-NeRF's cameras jump from frame
    to frame, so that no frame follows another one in a moving camera. Masks are read from `masks/` beside the
    pictures. Near, far and bounds are no part of the format: see `extent_from_cameras`.

    Raises:
        UserError: a file that is absent, broken or of another size; a camera or time that is missing or
            impossible.
    """
    by_split = _entries(path)
    on = background or (1.0, 1.0, 1.0)
    frames = _frames(by_split, on, cache)
    extent = extent_from_cameras([f.camera for f in frames])
    frames = with_extent(frames, extent)
    frames.sort(key=lambda f: (f.time, f.camera_id))
    return Dataset(
        path=path,
        name=path.resolve().name,
        format="blender",
        sequences=(Sequence(SEQUENCE, tuple(frames)),),
        background=on,
        near=extent.near,
        far=extent.far,
        bounds=extent.bounds,
        warnings=(*_warnings(by_split), extent.sentence()),
    )


def _entries(path: Path) -> dict[str, list[FrameEntry]]:
    """The elements of each split's file."""
    files = {hint: path / f"transforms_{hint}.json" for hint in SPLIT_HINTS}
    by_split = {hint: entries(read_document(file), file) for hint, file in files.items() if file.is_file()}
    if not by_split:
        raise UserError(f"{path} has none of {', '.join(f.name for f in files.values())}: restore them")
    return by_split


def _frames(by_split: dict[str, list[FrameEntry]], on: tuple[float, float, float], cache: ImageCache) -> list[Frame]:
    frames: list[Frame] = []
    common: tuple[int, int] | None = None
    for hint, split_entries in by_split.items():
        for entry in split_entries:
            picture, stated = entry.picture(), stated_size(entry)
            width, height = picture_size(picture, stated or common, entry.where if stated else "the first picture")
            common = common or (width, height)
            camera = Camera(entry.pose(), *intrinsics(entry, width, height), width, height, 0.0, 1.0)
            layers = standard_layers(mask=_mask(picture, width, height))
            frames.append(
                Frame(SEQUENCE, camera, "", entry.number("time"), picture, hint, layers, background=on, cache=cache)
            )
    names = camera_names(f.camera for f in frames)
    return [replace(f, camera_id=name) for f, name in zip(frames, names)]


def _mask(picture: Path, width: int, height: int) -> Path | None:
    path = picture.parent / MASKS / f"{picture.stem}.png"
    if not path.is_file():
        return None
    picture_size(path, (width, height), f"its picture {picture.name}")
    return path


def _warnings(by_split: dict[str, list[FrameEntry]]) -> list[str]:
    return [*_unsorted(by_split), *_angles(by_split)]


def _unsorted(by_split: dict[str, list[FrameEntry]]) -> list[str]:
    times = {hint: [entry.number("time") for entry in split_entries] for hint, split_entries in by_split.items()}
    mixed = [hint for hint, split_times in times.items() if not ascending(split_times)]
    return [f"times are not in order in transforms_{hint}.json; frames are sorted by time" for hint in mixed]


def _angles(by_split: dict[str, list[FrameEntry]]) -> list[str]:
    """Frames whose own focal length contradicts the file's field of view."""
    stated = [e for split in by_split.values() for e in split if e.fields.get("fl_x") and e.get("camera_angle_x")]
    wrong = sum(abs(_focal_of_angle(e) / e.number("fl_x") - 1) > ANGLE_TOLERANCE for e in stated if e.get("w"))
    text = f"camera_angle_x contradicts the own fl_x of {wrong} of {len(stated)} frames; fl_x is taken"
    return [text] if wrong else []


def _focal_of_angle(entry: FrameEntry) -> float:
    return 0.5 * entry.number("w") / math.tan(0.5 * entry.number("camera_angle_x"))
