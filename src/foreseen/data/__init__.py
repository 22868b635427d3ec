"""Data sets: one reader a format, the same `Dataset` from each; splits; a writer.

data = load_dataset("data/pendulum")
splits = make_splits(data, observe_until=0.75)
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from foreseen.data.images import ImageCache
from foreseen.data.splits import Splits, check_times, make_splits
from foreseen.data.types import Dataset, Frame, GroundTruth, Sequence
from foreseen.errors import UserError, suggest
from foreseen.plugins import Registry

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
    "make_splits",
]


@dataclass(frozen=True)
class ReaderEntry:
    """How a data format is known and read.

    Attributes:
        files: a folder that holds one of them is of this format.
        module: has the function `read(folder, *, background, cache) -> Dataset`; imported when it is needed.
    """

    files: tuple[str, ...]
    module: str


def _own(name: str, *files: str) -> ReaderEntry:
    return ReaderEntry(files, f"foreseen.data.readers.{name}")


def _load(point: EntryPoint) -> ReaderEntry:
    entry = point.load()
    if not isinstance(entry, ReaderEntry):
        raise TypeError(f"{point.value} is a {type(entry).__name__}, not a ReaderEntry")
    return entry


FORMATS: Registry[ReaderEntry] = Registry(
    {
        "nerfstudio": _own("nerfstudio", "transforms.json"),
        "blender": _own("blender", "transforms_train.json", "transforms_val.json", "transforms_test.json"),
        "nrnerf": _own("nrnerf", "precomputed.json"),
        "llff": _own("llff", "poses_bounds.npy"),
    },
    "foreseen.readers",
    _load,
)
"""By the name of the format; the first that fits wins. Packages add theirs as entry points `foreseen.readers`."""


def load_dataset(
    path: Path | str,
    *,
    format: str | None = None,
    background: tuple[float, float, float] | None = None,
    memory_budget_mb: int = 2048,
) -> Dataset:
    """Reads a data set. Pictures are looked at only as far as their headers; they are decoded when asked for.

    Args:
        path: the data set's folder, or the file in it that tells its format. Nothing is ever written there.
        format: a name of `FORMATS`; None finds out.
        background: red, green and blue in 0..1 behind transparent pictures; None takes what the data set states,
            else white.
        memory_budget_mb: for decoded pictures; beyond it those used least recently are forgotten.

    Raises:
        UserError: nothing there that is known, or something wrong in it; the message names it and the mend.
    """
    if background is not None and (len(background) != 3 or not all(0 <= x <= 1 for x in background)):
        raise UserError(f"background {background}: give red, green and blue from 0 to 1")
    try:
        folder = _folder(Path(path))
        name = find_format(folder) if format is None else format
        data = _reader(name).read(folder, background=background, cache=ImageCache(memory_budget_mb))
    except PermissionError as error:
        raise UserError(f"{error.filename} may not be read: change its permissions") from None
    check_times(data)
    return data


def _reader(name: str) -> Any:
    if name not in FORMATS:
        raise UserError(f"unknown data format '{name}': {suggest(name, FORMATS)}")
    return import_module(FORMATS[name].module)


def find_format(folder: Path) -> str:
    """The format of what lies in a folder. Raises `UserError` where none is known."""
    for name, entry in FORMATS.items():
        if any((folder / file).is_file() for file in entry.files):
            return name
    if not any(folder.iterdir()):
        raise UserError(f"{folder} is empty: give the folder of a data set")
    known = ", ".join(file for entry in FORMATS.values() for file in entry.files)
    raise UserError(f"{folder} holds no data set (none of {known}): give its folder, or name the format")


def _folder(path: Path) -> Path:
    if path.is_file() and any(path.name in entry.files for entry in FORMATS.values()):
        return path.parent
    if path.is_file():
        raise UserError(f"{path} is a file: give the folder of a data set")
    if not path.is_dir():
        raise UserError(f"{path} does not exist: give the folder of a data set")
    return path
