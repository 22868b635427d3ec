"""Which pixels show moving objects: in the ground truth, in any rendering, and between two frames.

A rendering has no mask of its own. It gets one by the same rule for every method, every baseline and the truth itself:
a pixel moves where it differs from the background image, which shows the scene without the moving objects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from foreseen.data.difference import DARKEST_SHADOW, DIFFERENCE, moving_mask
from foreseen.data.types import Dataset, Frame, Sequence

__all__ = [
    "DARKEST_SHADOW",
    "DIFFERENCE",
    "FLOW_PIXELS",
    "background_picture",
    "describe_moving_part",
    "flow_mask",
    "moving_mask",
    "truth_mask",
]

FLOW_PIXELS = 1.0
"""A pixel moves between two frames when its optical flow is longer than this [pixels]; larger keeps fast motion
only."""

FARNEBACK = (0.5, 3, 15, 3, 5, 1.2, 0)
"""Parameters of OpenCV's Farneback flow: scale of the pyramid, levels, window, iterations, neighbourhood [pixels] and
standard deviation of the polynomial expansion, flags."""


def truth_mask(frame: Frame) -> Tensor | None:
    """`[H, W]` bool: the instance mask, else where opacity is above one half; None where the frame has neither."""
    mask = frame.layer("mask")
    if mask is not None:
        return mask > 0
    rgba = frame.rgba()
    return rgba[..., 3] > 0.5 if rgba.shape[-1] == 4 else None


def background_picture(frame: Frame, sequence: Sequence) -> Tensor | None:
    """What the frame's camera sees without the moving objects: `[H, W, 3]`, or the stated colour `[3]` behind images
    with opacity; None where it is unknown."""
    path = sequence.background_paths.get(frame.camera_id)
    if path is not None:
        return replace(frame, image_path=path, lens=None).image()
    return torch.tensor(frame.background) if frame.rgba().shape[-1] == 4 else None


def describe_moving_part(dataset: Dataset) -> str:
    """How `truth_mask` finds the moving objects of this data set, for the protocol."""
    frame = next(iter(dataset.frames))
    if "mask" in frame.layers:
        return "instance masks"
    return "opacity above one half" if frame.rgba().shape[-1] == 4 else "unknown"


def _grey(image: Tensor) -> np.ndarray:
    weights = torch.tensor([0.299, 0.587, 0.114])
    return (image @ weights * 255).round().clamp(0, 255).to(torch.uint8).numpy()


def flow_mask(before: Tensor, after: Tensor) -> Tensor:
    """`[H, W]` bool: where the optical flow from `before` to `after` (`[H, W, 3]` each) exceeds
    `FLOW_PIXELS`.

    Flow is Farneback's (2003). The Node-RF paper scores such masks; it names neither its flow nor its
    threshold.
    """
    import cv2

    farneback: Callable[..., np.ndarray] = cv2.calcOpticalFlowFarneback
    flow = farneback(_grey(before), _grey(after), None, *FARNEBACK)
    return torch.from_numpy(np.hypot(flow[..., 0], flow[..., 1]) > FLOW_PIXELS)
