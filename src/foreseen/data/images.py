"""Pictures and layers, decoded when asked for and kept under a memory budget."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from foreseen.data.layers import FrameLayer, load_layer, to_tensor
from foreseen.data.lens import LensDistortion
from foreseen.data.picture_files import (
    ARRAY_ENDINGS,
    VIDEO_ENDINGS,
    check_size,
    frames_array,
    picture_pixels,
    video_frame,
)


class ImageCache:
    """Decoded files. Beyond `budget_mb` megabytes those used least recently are forgotten first.

    Every method takes the wanted size: the file's own, or that divided by a whole number (rounded down).
    Raises `UserError` for files that are absent, damaged, of another size or of an unsupported kind.
    """

    def __init__(self, budget_mb: int = 2048) -> None:
        self.budget_mb = budget_mb
        self._entries: OrderedDict[tuple[object, ...], np.ndarray] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[ImageCache], tuple[int]]:
        return ImageCache, (self.budget_mb,)  # a worker process starts with an empty cache

    @property
    def bytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    def image(
        self, path: Path, width: int, height: int, lens: LensDistortion | None = None, index: int | None = None
    ) -> Tensor:
        """`[H, W, C]` float32; 8-bit values are scaled to 0..1. Shrunk by area average (weighted by alpha).

        Args:
            index: which frame of a video, or of an array `[N, T, C, H, W]` (n * T + t); None for picture files.
        """
        key = ("picture", path, index, width, height, lens)
        array = self._get(key, lambda: _load_image(path, width, height, lens, index))
        return torch.from_numpy(array.astype(np.float32) / 255.0 if array.dtype == np.uint8 else array.copy())

    def layer(self, layer: FrameLayer, width: int, height: int, lens: LensDistortion | None = None) -> Tensor:
        """`[H, W]` or `[H, W, C]` of the layer's type; the nearest pixel where it shrinks."""
        key = ("layer", layer, width, height, lens)
        return to_tensor(layer, self._get(key, lambda: load_layer(layer, width, height, lens)))

    def _get(self, key: tuple[object, ...], load: Callable[[], np.ndarray]) -> np.ndarray:
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        array = load()
        with self._lock:
            if key not in self._entries:
                self._entries[key] = array
                self._bytes += array.nbytes
            # One entry always stays, or a budget below one picture would decode it for every caller.
            while self._bytes > self.budget_mb * 2**20 and len(self._entries) > 1:
                self._bytes -= self._entries.popitem(last=False)[1].nbytes
        return array


def _load_image(path: Path, width: int, height: int, lens: LensDistortion | None, index: int | None) -> np.ndarray:
    if index is not None and path.suffix.lower() in ARRAY_ENDINGS:
        return _load_array_frame(path, width, height, index)
    is_video = index is not None and path.suffix.lower() in VIDEO_ENDINGS
    array = video_frame(path, index or 0) if is_video else picture_pixels(path)
    size = (array.shape[1], array.shape[0])
    check_size(path, size, width, height)
    if lens is None and size == (width, height):
        return array
    values = array.astype(np.float32) / 255.0 if array.dtype == np.uint8 else array
    if values.shape[-1] == 4:
        values[..., :3] *= values[..., 3:]  # averages of colour must not count what cannot be seen
    if lens is not None:
        values = lens.undistort(values)
    values = cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)
    if values.shape[-1] == 4:
        values[..., :3] = values[..., :3] / np.maximum(values[..., 3:], 1e-6)
    return np.clip(values, 0, 1)


def _load_array_frame(path: Path, width: int, height: int, index: int) -> np.ndarray:
    """`[H, W, C]`: uint8, or float32 in the data set's own range of values."""
    frames = frames_array(path)
    frame = np.moveaxis(frames[divmod(index, frames.shape[1])], 0, -1)
    check_size(path, (frame.shape[1], frame.shape[0]), width, height)
    frame = np.ascontiguousarray(frame) if frame.dtype == np.uint8 else frame.astype(np.float32)
    if frame.shape[:2] == (height, width):
        return frame
    values = frame.astype(np.float32) / 255.0 if frame.dtype == np.uint8 else frame
    values = cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)
    return values.reshape(height, width, -1)
