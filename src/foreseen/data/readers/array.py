"""Frames as one array `[N, T, C, H, W]` (.npy or .npz): N sequences of T frames, without cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from foreseen.data.images import ImageCache
from foreseen.data.picture_files import ARRAY_ENDINGS, frames_array
from foreseen.data.readers.forward_facing import evenly_spaced
from foreseen.data.types import Dataset, Frame, Sequence
from foreseen.errors import UserError


def read(
    path: Path, *, background: tuple[float, float, float] | None, cache: ImageCache, fps: float | None = None
) -> Dataset:
    """N sequences of T frames with C channels; an .npz holds them as `frames`.

    8-bit values count as 0..1; others stay as they are, and the data set states their least and largest value. Times
    are in seconds where `fps` is given, else evenly spaced from 0 to 1.

    Raises:
        UserError: no such array, or a rate that is not above 0.
    """
    file = _file(path)
    if fps is not None and not 0 < fps < float("inf"):
        raise UserError(f"--fps {fps:g}: give a number of frames per second above 0")
    frames = frames_array(file)
    count, steps, channels, height, width = frames.shape
    times = evenly_spaced(steps) if fps is None else [index / fps for index in range(steps)]
    on = background or (1.0, 1.0, 1.0)
    digits = len(str(count - 1))
    names = [f"sequence-{n:0{digits}d}" for n in range(count)]
    return Dataset(
        path=path,
        name=path.resolve().stem,
        format="array",
        sequences=tuple(
            Sequence(
                name,
                tuple(
                    Frame(
                        name, None, "camera", time, file, background=on, cache=cache,
                        image_index=n * steps + t, channels=channels, stored_size=(width, height),
                    )
                    for t, time in enumerate(times)
                ),
            )
            for n, name in enumerate(names)
        ),
        background=on,
        near=0.0,
        far=1.0,
        bounds=torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]),
        time_unit="durations of a sequence" if fps is None else "s",
        value_range=_value_range(file, frames),
    )  # fmt: skip


def _file(path: Path) -> Path:
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.suffix.lower() in ARRAY_ENDINGS)
    if len(files) != 1:
        raise UserError(f"{path} has {len(files)} arrays: give the path of one .npy or .npz [N, T, C, H, W]")
    return files[0]


def _value_range(path: Path, frames: np.ndarray) -> tuple[float, float]:
    """Least and largest value, read sequence by sequence. Raises `UserError` where one is not finite."""
    if frames.dtype == np.uint8:
        return 0.0, 1.0
    low = min(float(sequence.min()) for sequence in frames)
    high = max(float(sequence.max()) for sequence in frames)
    if not np.isfinite([low, high]).all() or max(-low, high) > float(np.finfo(np.float32).max):
        raise UserError(f"{path} holds values that are not finite in 32 bits: replace them")
    return low, high
