"""Opens and decodes the files of a data set: pictures, arrays and frames of videos."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from PIL import Image, UnidentifiedImageError

from foreseen.errors import UserError

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_EIGHT_BIT = {"RGB": "RGB", "RGBA": "RGBA", "L": "RGB", "LA": "RGBA", "PA": "RGBA", "1": "RGB"}
PICTURE_MODES = (*_EIGHT_BIT, "P", *_SIXTEEN_BIT)
"""Pixel types of Pillow that are read. Grey becomes equal red, green and blue; 16-bit grey runs to 65535. Of 16-bit
colour Pillow reads the upper 8 bits."""

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".PNG", ".JPG", ".JPEG")
VIDEO_ENDINGS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
ARRAY_ENDINGS = (".npy", ".npz")


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


def decoded_picture(path: Path) -> Image.Image:
    """The whole picture. Raises `UserError` where it is absent, truncated or damaged."""
    picture = _opened(path)
    try:
        with picture:
            picture.load()
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is truncated or damaged ({_reason(error)}): replace the file") from None
    return picture


def picture_pixels(path: Path) -> np.ndarray:
    """`[H, W, 3 or 4]`: uint8, or float32 in 0..1 where the file has 16 bits. Raises `UserError`."""
    picture = decoded_picture(path)
    if picture.mode in _SIXTEEN_BIT:
        grey = np.asarray(picture).astype(np.float32) / 65535.0
        return np.repeat(grey[..., None], 3, axis=-1)
    if picture.mode == "P":
        return np.array(picture.convert("RGBA" if "transparency" in picture.info else "RGB"))
    if picture.mode not in _EIGHT_BIT:
        raise UserError(f"{path} has pixels of type '{picture.mode}', not read here: save it as 8 bit RGB or RGBA")
    return np.array(picture.convert(_EIGHT_BIT[picture.mode]))


def picture_ids(path: Path) -> np.ndarray:
    """`[H, W]` whole numbers of a picture with one channel: uint8 or uint16. Raises `UserError`."""
    picture = decoded_picture(path)
    if picture.mode not in ("1", "L", "P", *_SIXTEEN_BIT):
        raise UserError(f"{path} has pixels of type '{picture.mode}': a mask of ids has one channel of 8 or 16 bits")
    array = np.array(picture)
    return array.astype(np.uint8 if array.dtype == bool else np.uint16)


def load_array(path: Path, name: str) -> np.ndarray:
    """The array `name` of an .npz, or an .npy. Raises `UserError`."""
    try:
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            with array as archive:
                if name not in archive.files:
                    raise ValueError(f"there is no array of that name, but {', '.join(archive.files) or 'none'}")
                array = archive[name]
    except FileNotFoundError:
        raise UserError(f"{path} is absent: restore the file or remove its entry") from None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UserError(f"{path} cannot be read as {name} ({_reason(error)}): replace the file") from None
    return array


def frames_array(path: Path) -> np.ndarray:
    """`[N, T, C, H, W]`: N sequences of T frames; of an .npy only what is used is read. Raises `UserError`."""
    array = _mapped_array(path) if path.suffix.lower() == ".npy" else _archived_frames(path)
    if array.ndim != 5 or array.dtype.kind not in "uif" or 0 in array.shape:
        raise UserError(
            f"{path} holds an array of shape {array.shape} and type {array.dtype}: give numbers [N, T, C, H, W]"
        )
    return array


def _mapped_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read as an array ({_reason(error)}): replace the file") from None


@lru_cache(maxsize=2)
def _archived_frames(path: Path) -> np.ndarray:
    return load_array(path, "frames")


@lru_cache(maxsize=16)
def video_times(path: Path) -> tuple[tuple[int, float], ...]:
    """Presentation timestamp of every frame of a video, in the stream's own unit and in seconds from the first frame.

    Raises:
        UserError: no video, or one without frames.
    """
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            unit = float(stream.time_base or 0)
            stamps = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
    except (av.FFmpegError, IndexError, OSError) as error:
        raise UserError(f"{path} cannot be read as a video ({_reason(error)}): replace the file") from None
    if not stamps:
        raise UserError(f"{path} has no frame: give another video")
    return tuple((stamp, (stamp - stamps[0]) * unit) for stamp in stamps)


def video_frame(path: Path, index: int) -> np.ndarray:
    """`[H, W, 3]` uint8: one frame of a video, decoded from the key frame before it. Raises `UserError`."""
    import av

    stamp = video_times(path)[index][0]
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            container.seek(stamp, stream=stream, backward=True)
            for frame in container.decode(stream):
                if frame.pts is not None and frame.pts >= stamp:
                    return np.rot90(frame.to_ndarray(format="rgb24"), k=frame.rotation // 90).copy()
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"{path} is damaged at frame {index} ({_reason(error)}): replace the file") from None
    raise UserError(f"{path} ends before frame {index}: replace the file")


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except FileNotFoundError:
        raise UserError(f"{path} is absent: restore the file or remove its frame") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a picture ({_reason(error)}): replace the file") from None


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture"
    if "pickle" in str(error):  # what NumPy says of any file that is not its own; its advice is unsafe
        return "not an array of numbers"
    return str(error).split("\n")[0] or type(error).__name__
