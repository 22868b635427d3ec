"""Pictures, masks, depths and flows, decoded when asked for and kept under a memory budget."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from foreseen.data.lens import LensDistortion
from foreseen.errors import UserError

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_EIGHT_BIT = {"RGB": "RGB", "RGBA": "RGBA", "L": "RGB", "LA": "RGBA", "PA": "RGBA", "1": "RGB"}
PICTURE_MODES = (*_EIGHT_BIT, "P", *_SIXTEEN_BIT)
"""Pixel types that have one meaning. Grey means equal red, green and blue; 16 bit grey runs to 65535. Of 16
bit colour Pillow reads the upper 8 bits."""


class ImageCache:
    """Decoded files, the least recently used forgotten first once they exceed `budget_mb` megabytes.

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

    def image(self, path: Path, width: int, height: int, lens: LensDistortion | None = None) -> Tensor:
        """`[H, W, 3 or 4]` float32 in 0..1, alpha straight; shrunk by area average (weighted by alpha)."""
        array = self._get(path, width, height, lens, _load_image)
        return torch.from_numpy(array.astype(np.float32) / 255.0 if array.dtype == np.uint8 else array.copy())

    def mask(self, path: Path, width: int, height: int, lens: LensDistortion | None = None) -> Tensor:
        """`[H, W]` int64 ids as stored; the nearest pixel where shrunk."""
        return torch.from_numpy(self._get(path, width, height, lens, _load_mask).astype(np.int64))

    def depth(self, path: Path, width: int, height: int, lens: LensDistortion | None = None) -> Tensor:
        """`[H, W]` float32; the nearest pixel where shrunk."""
        return torch.from_numpy(self._get(path, width, height, lens, _load_depth).copy())

    def flow(self, path: Path, width: int, height: int) -> Tensor:
        """`[H, W, 2]` float32 in pixels of the wanted size; the nearest pixel where shrunk."""
        return torch.from_numpy(self._get(path, width, height, None, _load_flow).copy())

    def _get(
        self,
        path: Path,
        width: int,
        height: int,
        lens: LensDistortion | None,
        load: Callable[[Path, int, int, LensDistortion | None], np.ndarray],
    ) -> np.ndarray:
        key = (load, path, width, height, lens)
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        array = load(path, width, height, lens)
        with self._lock:
            if key not in self._entries:
                self._entries[key] = array
                self._bytes += array.nbytes
            # One entry always stays, or a budget below one picture would decode it for every caller.
            while self._bytes > self.budget_mb * 2**20 and len(self._entries) > 1:
                self._bytes -= self._entries.popitem(last=False)[1].nbytes
        return array


def picture_header(path: Path) -> tuple[int, int, str]:
    """Width, height and pixel type of a picture, without decoding it. Raises `UserError`."""
    with _opened(path) as picture:
        return picture.width, picture.height, picture.mode


def check_size(path: Path, size: tuple[int, int], width: int, height: int) -> None:
    """Raises `UserError` unless a file of `size` (w, h) shrinks to `width` x `height` by a whole factor."""
    factors = range(max(1, size[0] // (width + 1)), size[0] // max(width, 1) + 1)
    if not any((size[0] // f, size[1] // f) == (width, height) for f in factors):
        raise UserError(
            f"{path} is {size[0]} x {size[1]} pixels where {width} x {height} or a multiple is expected:"
            " all files of a frame have the size that its camera states"
        )


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except FileNotFoundError:
        raise UserError(f"{path} is absent: restore the file or remove its frame") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a picture ({_reason(error)}): replace the file") from None


def _decoded(path: Path) -> Image.Image:
    picture = _opened(path)
    try:
        with picture:
            picture.load()
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is truncated or damaged ({_reason(error)}): replace the file") from None
    return picture


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture"
    return str(error).split("\n")[0] or type(error).__name__


def _load_image(path: Path, width: int, height: int, lens: LensDistortion | None) -> np.ndarray:
    picture = _decoded(path)
    check_size(path, picture.size, width, height)
    array = _pixels(path, picture)
    if lens is None and picture.size == (width, height):
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


def _pixels(path: Path, picture: Image.Image) -> np.ndarray:
    """`[H, W, 3 or 4]`: uint8, or float32 in 0..1 where the file has 16 bits."""
    if picture.mode in _SIXTEEN_BIT:
        grey = np.asarray(picture).astype(np.float32) / 65535.0
        return np.repeat(grey[..., None], 3, axis=-1)
    if picture.mode == "P":
        return np.array(picture.convert("RGBA" if "transparency" in picture.info else "RGB"))
    if picture.mode not in _EIGHT_BIT:
        raise UserError(f"{path} has pixels of type '{picture.mode}', not read here: save it as 8 bit RGB or RGBA")
    return np.array(picture.convert(_EIGHT_BIT[picture.mode]))


def _load_mask(path: Path, width: int, height: int, lens: LensDistortion | None) -> np.ndarray:
    picture = _decoded(path)
    check_size(path, picture.size, width, height)
    if picture.mode not in ("1", "L", "P", *_SIXTEEN_BIT):
        raise UserError(f"{path} has pixels of type '{picture.mode}': a mask of ids has one channel of 8 or 16 bits")
    array = np.array(picture)
    array = array.astype(np.uint8 if array.dtype == bool else np.uint16)
    return _nearest(lens.undistort(array, nearest=True) if lens is not None else array, width, height)


def _load_depth(path: Path, width: int, height: int, lens: LensDistortion | None) -> np.ndarray:
    array = _load_array(path, "depth", (None, None))
    check_size(path, (array.shape[1], array.shape[0]), width, height)
    return _nearest(lens.undistort(array, nearest=True) if lens is not None else array, width, height)


def _load_flow(path: Path, width: int, height: int, lens: LensDistortion | None) -> np.ndarray:
    del lens
    array = _load_array(path, "flow", (None, None, 2))
    check_size(path, (array.shape[1], array.shape[0]), width, height)
    scale = np.array([width / array.shape[1], height / array.shape[0]], np.float32)
    return _nearest(array, width, height) * scale


def _load_array(path: Path, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """The array `name` of an .npz, or an .npy, as float32."""
    try:
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            with array as archive:
                array = archive[name]
    except FileNotFoundError:
        raise UserError(f"{path} is absent: restore the file or remove its entry") from None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UserError(f"{path} cannot be read as {name} ({_reason(error)}): replace the file") from None
    if array.ndim != len(shape) or any(s is not None and s != a for s, a in zip(shape, array.shape)):
        raise UserError(f"{path} holds an array of shape {array.shape}, not a {name}: replace the file")
    return array.astype(np.float32)


def _nearest(array: np.ndarray, width: int, height: int) -> np.ndarray:
    """The pixel under the centre of every pixel of the smaller picture."""
    if array.shape[:2] == (height, width):
        return array
    rows = ((np.arange(height) + 0.5) * array.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * array.shape[1] / width).astype(int)
    return array[rows[:, None], columns[None, :]]
