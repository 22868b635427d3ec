"""Which pixels of the training frames show something, or something that moves: they are worth more rays."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from foreseen.batches.pixels import PixelStore

MEDIAN_FRAMES = 15
"""Frames that a camera's median picture is made of: enough that a passing object leaves no ghost."""

MOTION_THRESHOLD = 16
"""Difference from the median picture, of 255, that counts as motion: above the noise of an ordinary
camera."""

FOREGROUND_THRESHOLD = 3
"""Difference from the stated background, of 255, that counts as something seen: above the rounding of a renderer."""

DILATION = 3
"""Pixels by which the foreground is widened, so that its edge is learnt from both sides."""


@dataclass(frozen=True)
class Foreground:
    """Pixels where something is seen or moves.

    Attributes:
        pixel_indices: `[M]` int32, row-major in their frames, frame after frame.
        starts, counts: `[F]`, where a frame's pixels lie in `pixel_indices`.
        source: what it was found from, in words.
    """

    pixel_indices: Tensor
    starts: Tensor
    counts: Tensor
    source: str

    def contains(self, frames: Tensor, pixel_indices: Tensor) -> Tensor:
        """`[N]` bool: whether `pixel_indices[n]` is one of frame `frames[n]`'s."""
        inside = torch.zeros(len(frames), dtype=torch.bool)
        for index in frames.unique().tolist():
            mine, start = frames == index, int(self.starts[index])
            foreground = self.pixel_indices[start : start + int(self.counts[index])]
            inside[mine] = torch.isin(pixel_indices[mine].int(), foreground)
        return inside


def find_foreground(store: PixelStore, static_cameras: bool, backgrounds: Tensor) -> Foreground | None:
    """From alpha where a picture has any, else from each fixed camera's median picture over all sequences, else None.

    Opaque pixels of the background's own colour are not foreground: renderers leave a white floor opaque.

    Args:
        backgrounds: `[F, 3]`, the stated background of every frame.
    """
    if store.channels == 4 and any(bool((store.picture(i)[..., 3] < 255).any()) for i in range(len(store.frames))):
        return _collect([_seen(store.picture(i), backgrounds[i]) for i in range(len(store.frames))], "alpha")
    if not static_cameras:
        return None
    medians = _median_pictures(store)
    masks = [_moving(store.picture(i), medians[f.camera.rays_key]) for i, f in enumerate(store.frames)]
    return _collect(masks, "difference from the median picture")


def _median_pictures(store: PixelStore) -> dict[bytes, Tensor]:
    """By the key of a camera's rays. Sequences with equal cameras share a median: what rests for long in one of them is
    absent in others."""
    by_camera = defaultdict(list)
    for index, frame in enumerate(store.frames):
        by_camera[frame.camera.rays_key].append(index)
    return {camera: _median(store, indices) for camera, indices in by_camera.items()}


def _median(store: PixelStore, indices: list[int]) -> Tensor:
    chosen = np.unique(np.linspace(0, len(indices) - 1, min(MEDIAN_FRAMES, len(indices))).round().astype(int))
    return torch.stack([store.picture(indices[i])[..., :3] for i in chosen]).median(dim=0).values


def _seen(picture: Tensor, background: Tensor) -> Tensor:
    color, alpha = picture[..., :3].float(), picture[..., 3:].float() / 255
    difference = (color - 255 * background).abs() * alpha
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
