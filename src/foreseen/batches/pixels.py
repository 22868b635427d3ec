"""The pixels of the training frames, in memory or read when drawn, and which of them are worth more
attention."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from foreseen.data.images import ImageCache
from foreseen.data.types import Frame

MEDIAN_FRAMES = 15
"""Frames that a camera's median picture is made of: enough that a passing object leaves no ghost."""

MOTION_THRESHOLD = 16
"""Difference from the median picture, of 255, that counts as motion: above the noise of an ordinary
camera."""

FOREGROUND_THRESHOLD = 3
"""Difference from the stated background, of 255, that counts as something seen: above the rounding of a renderer."""

DILATION = 3
"""Pixels by which the foreground is widened, so that its edge is learnt from both sides."""


def eight_bit(frame: Frame, channels: int) -> Tensor:
    """`[H, W, channels]` uint8, alpha straight; a frame without alpha among others that have it is opaque.

    Eight bits are what nearly all pictures hold; 16-bit and shrunken ones lose at most half a step of 255.
    """
    rgba = (frame.rgba() * 255).round().to(torch.uint8)
    if rgba.shape[-1] < channels:
        rgba = torch.cat([rgba, torch.full_like(rgba[..., :1], 255)], dim=-1)
    return rgba[..., :channels]


class PixelStore:
    """Colours of pixels by frame and place.

    Held as uint8 where all frames fit into `memory_mb`; else read through the data set's image cache, and a
    batch then draws from few frames (see `RaySampler`).
    """

    def __init__(self, frames: Sequence[Frame], channels: int, memory_mb: int) -> None:
        self.frames = frames
        self.channels = channels
        self.widths = torch.tensor([f.camera.width for f in frames])
        counts = self.widths * torch.tensor([f.camera.height for f in frames])
        self.starts = torch.cumsum(counts, 0) - counts
        self.resident = int(counts.sum()) * channels <= memory_mb * 2**20
        self._flat = self._read_all(int(counts.sum())) if self.resident else None

    def _read_all(self, total: int) -> Tensor:
        flat = torch.empty((total, self.channels), dtype=torch.uint8)
        passing = ImageCache(budget_mb=0)  # nothing is asked for twice: the data set's cache would hold a second copy
        for start, frame in zip(self.starts.tolist(), self.frames, strict=True):
            pixels = eight_bit(replace(frame, cache=passing), self.channels).reshape(-1, self.channels)
            flat[start : start + len(pixels)] = pixels
        return flat

    def picture(self, index: int) -> Tensor:
        """`[H, W, C]` uint8 of one frame."""
        camera = self.frames[index].camera
        if self._flat is None:
            return eight_bit(self.frames[index], self.channels)
        start = int(self.starts[index])
        return self._flat[start : start + camera.width * camera.height].view(camera.height, camera.width, -1)

    def gather(self, frames: Tensor, pixels: Tensor) -> Tensor:
        """`[N, C]` uint8 at `frames` `[N]` and row-major places `pixels` `[N]`."""
        if self._flat is not None:
            return self._flat[self.starts[frames] + pixels]
        out = torch.empty((len(frames), self.channels), dtype=torch.uint8)
        for index in frames.unique().tolist():
            mine = frames == index
            out[mine] = self.picture(index).reshape(-1, self.channels)[pixels[mine]]
        return out


@dataclass(frozen=True)
class Foreground:
    """Places where something is seen or moves.

    Attributes:
        places: row-major places in their frames, `[M]` int32, frame after frame.
        starts, counts: `[F]`, where a frame's places lie in `pixel_indices`.
        source: what it was found from, in words.
    """

    pixel_indices: Tensor
    starts: Tensor
    counts: Tensor
    source: str

    def contains(self, frames: Tensor, pixel_indices: Tensor) -> Tensor:
        """`[N]` bool: whether `pixel_indices[n]` is one of frame `frames[n]`'s."""
        found = torch.zeros(len(frames), dtype=torch.bool)
        for index in frames.unique().tolist():
            mine, start = frames == index, int(self.starts[index])
            own = self.pixel_indices[start : start + int(self.counts[index])]
            found[mine] = torch.isin(pixel_indices[mine].int(), own)
        return found


def find_foreground(
    store: PixelStore, static_cameras: bool, background: tuple[float, float, float]
) -> Foreground | None:
    """From alpha where a picture has any, else from each fixed camera's median picture, else None.

    Opaque pixels of the background's own colour are not foreground: renderers leave a white floor opaque.
    """
    if store.channels == 4 and any(bool((store.picture(i)[..., 3] < 255).any()) for i in range(len(store.frames))):
        return _collect([_seen(store.picture(i), background) for i in range(len(store.frames))], "alpha")
    if not static_cameras:
        return None
    medians = _median_pictures(store)
    masks = [_moving(store.picture(i), medians[_camera(f)]) for i, f in enumerate(store.frames)]
    return _collect(masks, "difference from the median picture")


def _camera(frame: Frame) -> tuple[str, str]:
    return frame.sequence, frame.camera_id


def _median_pictures(store: PixelStore) -> dict[tuple[str, str], Tensor]:
    owned = defaultdict(list)
    for index, frame in enumerate(store.frames):
        owned[_camera(frame)].append(index)
    return {camera: _median(store, indices) for camera, indices in owned.items()}


def _median(store: PixelStore, indices: list[int]) -> Tensor:
    chosen = np.unique(np.linspace(0, len(indices) - 1, min(MEDIAN_FRAMES, len(indices))).round().astype(int))
    return torch.stack([store.picture(indices[i])[..., :3] for i in chosen]).median(dim=0).values


def _seen(picture: Tensor, background: tuple[float, float, float]) -> Tensor:
    color, alpha = picture[..., :3].float(), picture[..., 3:].float() / 255
    difference = (color - 255 * torch.tensor(background)).abs() * alpha
    return _dilate(difference.amax(dim=-1) > FOREGROUND_THRESHOLD)


def _moving(picture: Tensor, median: Tensor) -> Tensor:
    difference = (picture[..., :3].short() - median.short()).abs().amax(dim=-1)
    return _dilate(difference > MOTION_THRESHOLD)


def _dilate(mask: Tensor) -> Tensor:
    square = np.ones((2 * DILATION + 1, 2 * DILATION + 1), np.uint8)
    return torch.from_numpy(cv2.dilate(mask.numpy().astype(np.uint8), square)) > 0


def _collect(masks: list[Tensor], source: str) -> Foreground:
    pixel_indices = [mask.reshape(-1).nonzero()[:, 0].int() for mask in masks]
    counts = torch.tensor([len(p) for p in pixel_indices])
    return Foreground(torch.cat(pixel_indices), torch.cumsum(counts, 0) - counts, counts, source)
