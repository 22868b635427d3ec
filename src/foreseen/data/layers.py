"""Layers: images beside a frame's picture, such as masks, depth or optical flow.

A reader adds a layer by its name: `Frame(..., layers={"depth": FrameLayer(path, "depth")})`, and users ask for it by
the same name: `frame.layer("depth")`. How a file becomes a tensor is said by a `LayerDecoder`; new ones are added by
`register_decoder`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from foreseen.data.lens import LensDistortion
from foreseen.data.picture_files import check_size, load_array, picture_ids
from foreseen.errors import UserError, suggest


@dataclass(frozen=True)
class LayerDecoder:
    """How a layer's file becomes a tensor.

    Attributes:
        load: path -> `[H, W]` or `[H, W, C]` at the size of the file. Raises `UserError`.
        dtype: type of the tensor.
        channels: C; 0: `[H, W]` without a channel axis; None: any of both.
        in_pixels: the values are lengths in pixels (x, y), which shrink with the picture, such as optical flow.
            Other values stay as they are.
    """

    load: Callable[[Path], np.ndarray]
    dtype: torch.dtype
    channels: int | None = 0
    in_pixels: bool = False


@dataclass(frozen=True)
class FrameLayer:
    """One layer of a frame.

    Attributes:
        path: the file.
        decoder: name of a registered `LayerDecoder`.
        size: width and height of the file where they are not those of the picture's file; the layer is then stretched
            to the picture (nearest pixel).
    """

    path: Path
    decoder: str
    size: tuple[int, int] | None = None


_DECODERS: dict[str, LayerDecoder] = {}


def register_decoder(name: str, decoder: LayerDecoder) -> None:
    """Adds a way to read layers, under a name of its own.

    Raises:
        ValueError: the name is taken by another decoder.
    """
    if _DECODERS.setdefault(name, decoder) != decoder:
        raise ValueError(f"a layer decoder '{name}' is registered already")


def decoder_of(name: str) -> LayerDecoder:
    """The decoder of that name. Raises `UserError` where there is none."""
    if name not in _DECODERS:
        raise UserError(f"unknown layer decoder '{name}': {suggest(name, _DECODERS)}")
    return _DECODERS[name]


def _array_loader(name: str) -> Callable[[Path], np.ndarray]:
    def load(path: Path) -> np.ndarray:
        return load_array(path, name)

    return load


def _load_flags(path: Path) -> np.ndarray:
    array = load_array(path, "valid") if path.suffix in (".npy", ".npz") else picture_ids(path)
    return array > 0


register_decoder("ids", LayerDecoder(picture_ids, torch.int64))
register_decoder("flags", LayerDecoder(_load_flags, torch.bool))
register_decoder("depth", LayerDecoder(_array_loader("depth"), torch.float32))
register_decoder("disparity", LayerDecoder(_array_loader("disparity"), torch.float32))
register_decoder("flow", LayerDecoder(_array_loader("flow"), torch.float32, channels=2, in_pixels=True))
register_decoder("features", LayerDecoder(_array_loader("features"), torch.float32, channels=None))

STANDARD_LAYERS: Mapping[str, str] = {
    "mask": "ids",
    "depth": "depth",
    "disparity": "disparity",
    "flow_forward": "flow",
    "flow_backward": "flow",
    "flow_forward_valid": "flags",
    "flow_backward_valid": "flags",
    "motion_mask": "flags",
}
"""Layer -> decoder, for the names that mean the same in all data sets:

mask: `[H, W]` int64 instance ids, 0 where nothing moves.
depth: `[H, W]` along z of the camera, in scene units; 0 where nothing is hit.
disparity: `[H, W]` inverse depth as estimated, up to a scale and an offset.
flow_forward, flow_backward: `[H, W, 2]` pixels (x, y) that a point moves by until the next frame of the frame's track,
    or until the previous one.
flow_forward_valid, flow_backward_valid: `[H, W]` bool, where that flow can be believed.
motion_mask: `[H, W]` bool, what may move.
"""


def standard_layers(**paths: Path | None) -> dict[str, FrameLayer]:
    """Layers of the names of `STANDARD_LAYERS`; those whose path is None are left out."""
    return {name: FrameLayer(path, STANDARD_LAYERS[name]) for name, path in paths.items() if path is not None}


def load_layer(layer: FrameLayer, width: int, height: int, lens: LensDistortion | None) -> np.ndarray:
    """The layer at the wanted size: the picture file's own size, or that divided by a whole number (rounded down).

    Where it shrinks, the pixel under the centre is taken. Distortion by `lens` is taken out.

    Raises:
        UserError: the file is absent, damaged or of another size.
    """
    decoder = decoder_of(layer.decoder)
    array = decoder.load(layer.path)
    _check_shape(layer, decoder, array)
    if decoder.dtype == torch.float32:
        array = array.astype(np.float32)
    size = (array.shape[1], array.shape[0])
    if layer.size is None:
        check_size(layer.path, size, width, height)
    elif size != layer.size:
        stated = f"{layer.size[0]} x {layer.size[1]}"
        raise UserError(f"{layer.path} is {size[0]} x {size[1]} pixels where {stated} is stated: correct one of them")
    if lens is not None:
        if decoder.in_pixels:
            raise UserError(f"{layer.path}: flow of distorted pictures is not read: undistort the pictures first")
        array = lens.undistort(_matched(array, lens.width, lens.height), nearest=True)
    small = nearest(array, width, height)
    if not decoder.in_pixels:
        return small
    return small * np.array([width / size[0], height / size[1]], np.float32)


def to_tensor(layer: FrameLayer, array: np.ndarray) -> Tensor:
    """A copy of a decoded layer as a tensor of its decoder's type."""
    if array.dtype == np.uint16:
        array = array.astype(np.int64)  # torch has few operations for uint16
    return torch.from_numpy(np.ascontiguousarray(array)).to(decoder_of(layer.decoder).dtype, copy=True)


def _check_shape(layer: FrameLayer, decoder: LayerDecoder, array: np.ndarray) -> None:
    channels = 0 if array.ndim == 2 else array.shape[-1] if array.ndim == 3 else -1
    if channels < 0 or array.dtype.kind not in "buif" or decoder.channels not in (None, channels):
        raise UserError(f"{layer.path} holds an array of shape {array.shape}, not a {layer.decoder}: replace the file")


def _matched(array: np.ndarray, width: int, height: int) -> np.ndarray:
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.shape[:2] == (height, width):
        return array
    return cv2.resize(array, (width, height), interpolation=cv2.INTER_NEAREST)


def nearest(array: np.ndarray, width: int, height: int) -> np.ndarray:
    """The pixel under the centre of every pixel of another size of the same picture."""
    if array.shape[:2] == (height, width):
        return array
    rows = ((np.arange(height) + 0.5) * array.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * array.shape[1] / width).astype(int)
    return array[rows[:, None], columns[None, :]]
