"""Data sets: one reader for each format, the same `Dataset` from each; splits; a writer.

data = load_dataset("data/pendulum")
splits = make_splits(data, observe_until=0.75)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from foreseen.data.collection import collect
from foreseen.data.images import ImageCache
from foreseen.data.picture_files import ARRAY_ENDINGS, PICTURE_ENDINGS, VIDEO_ENDINGS
from foreseen.data.splits import Splits, check_times, make_splits
from foreseen.data.tracks import number_tracks
from foreseen.data.types import Dataset, Frame, GroundTruth, LoadOptions, Sequence
from foreseen.errors import UserError, suggest
from foreseen.plugins import Registry, instance_of

__all__ = [
    "FORMATS",
    "Dataset",
    "Frame",
    "GroundTruth",
    "ImageCache",
    "ReaderEntry",
    "Sequence",
    "Splits",
    "find_format",
    "load_dataset",
    "load_datasets",
    "make_splits",
]


@dataclass(frozen=True)
class ReaderEntry:
    """How a data format is recognised and read.

    Attributes:
        files: a folder that holds one of them is of this format.
        module: has the function `read(folder, *, background, cache) -> Dataset`; imported when it is used.
        cameras: the format states camera poses; without them `read` also takes `fps`, frames per second.
        ndc: `read` also takes `ndc`: whether to use normalised device coordinates where the cameras allow it.
    """

    files: tuple[str, ...]
    module: str
    cameras: bool = True
    ndc: bool = False


def _entry(name: str, *files: str, cameras: bool = True, ndc: bool = False) -> ReaderEntry:
    return ReaderEntry(files, f"foreseen.data.readers.{name}", cameras, ndc)


FORMATS: Registry[ReaderEntry] = Registry(
    {
        "nerfstudio": _entry("nerfstudio", "transforms.json"),
        "blender": _entry("blender", "transforms_train.json", "transforms_val.json", "transforms_test.json"),
        "nrnerf": _entry("nrnerf", "precomputed.json", ndc=True),
        "llff": _entry("llff", "poses_bounds.npy", ndc=True),
        "video": _entry("video", cameras=False),
        "array": _entry("array", cameras=False),
    },
    "foreseen.readers",
    instance_of(ReaderEntry),
)
"""By the name of the format; the first that fits wins. A folder of pictures or with a video, and without a file of a
format, is read as "video". Packages add theirs as entry points `foreseen.readers`."""


def load_dataset(
    path: Path | str,
    *,
    format: str | None = None,
    background: tuple[float, float, float] | None = None,
    fps: float | None = None,
    ndc: bool = True,
    memory_budget_mb: int = 2048,
) -> Dataset:
    """Reads a data set. Of pictures only the headers are read; they are decoded when asked for.

    Args:
        path: the data set's folder, the file in it that tells its format, a video, or an array [N, T, C, H, W]
            (.npy, .npz). Nothing is ever written there.
        format: a name of `FORMATS`; None finds out.
        background: red, green and blue in 0..1 behind transparent pictures; None takes what the data set states,
            else white.
        fps: frames per second, of videos, folders of pictures and arrays; None takes a video's own timestamps.
        ndc: llff and nrnerf are read in normalised device coordinates where their cameras allow it; False: in scene
            units, as Gaussians need them.
        memory_budget_mb: for decoded pictures; beyond it those used least recently are forgotten.

    Raises:
        UserError: nothing there that is known, or something wrong in it; the message names it and the fix.
    """
    if background is not None and (len(background) != 3 or not all(0 <= x <= 1 for x in background)):
        raise UserError(f"--background {' '.join(map(str, background))}: give red, green and blue from 0 to 1")
    options = LoadOptions(format, background, fps, ndc)
    try:
        folder = _folder(Path(path))
        name = find_format(folder) if format is None else format
        entry = _find_entry(name)
        if folder.is_file() and entry.files:
            raise UserError(
                f"{folder} is a file, and data of the format '{name}' is a folder: give that, or no --format"
            )
        if fps is not None and entry.cameras:
            raise UserError(f"--fps {fps:g}: the format '{name}' states its own times; leave --fps out")
        special: dict[str, Any] = {} if fps is None else {"fps": fps}
        if entry.ndc:
            special["ndc"] = ndc
        cache = ImageCache(memory_budget_mb)
        data = import_module(entry.module).read(folder, background=background, cache=cache, **special)
    except PermissionError as error:
        raise UserError(f"{error.filename} may not be read: change its permissions") from None
    check_times(data)
    return replace(number_tracks(data), options=options)


def load_datasets(paths: Iterable[Path | str], **options: Any) -> Dataset:
    """Reads several data sets as one, whose sequences are named "NAME/SEQUENCE". See `load_dataset` for `options`, and
    `foreseen.data.collection.collect` for what must be alike. One path gives that data set itself."""
    return collect([load_dataset(path, **options) for path in paths])


def _find_entry(name: str) -> ReaderEntry:
    if name not in FORMATS:
        raise UserError(f"unknown data format '{name}': {suggest(name, FORMATS)}")
    return FORMATS[name]


def find_format(folder: Path) -> str:
    """The format of a folder or file. Raises `UserError` where none is known."""
    for name, entry in FORMATS.items():
        if any((folder / file).is_file() for file in entry.files):
            return name
    if folder.is_file():
        return "array" if folder.suffix.lower() in ARRAY_ENDINGS else "video"
    if any(p.suffix.lower() in VIDEO_ENDINGS or p.suffix in PICTURE_ENDINGS for p in folder.iterdir()):
        return "video"
    if not any(folder.iterdir()):
        raise UserError(f"{folder} is empty: give the folder of a data set")
    known = ", ".join(file for entry in FORMATS.values() for file in entry.files)
    raise UserError(
        f"{folder} holds no data set (none of {known}): give its folder, the path of a video or array, or the format"
    )


def _folder(path: Path) -> Path:
    if path.is_file() and any(path.name in entry.files for entry in FORMATS.values()):
        return path.parent
    if path.is_file() and path.suffix.lower() in (*VIDEO_ENDINGS, *ARRAY_ENDINGS):
        return path
    if path.is_file():
        raise UserError(f"{path} is a file: give the folder of a data set")
    if not path.is_dir():
        raise UserError(f"{path} does not exist: give the folder of a data set")
    return path
