"""Pictures of the channels: colours, depth, opacity, motion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

import cv2
import numpy as np
from torch import Tensor

from foreseen.export.clip import MIN_OPACITY_FOR_DEPTH, depth_picture
from foreseen.export.compose import to_bytes
from foreseen.geometry.cameras import Camera
from foreseen.render import ImageResult

Channel = Literal["rgb", "depth", "opacity", "motion"]
CHANNELS: tuple[Channel, ...] = ("rgb", "depth", "opacity", "motion")

MAX_STATIC_FLOW = 0.15
"""Optical flow up to this length [pixels] is shown as static."""
MIN_FLOW_SIDE = 32
"""No optical flow is computed for pictures with a side [pixels] below this."""

RenderView = Callable[[Camera], ImageResult]


def render_in_bands(render_view: RenderView, camera: Camera, lines: int) -> Iterator[ImageResult | None]:
    """What `camera` sees, in bands of `lines` lines: yields None after each band but the last, then the whole
    picture."""
    bands = []
    for top in range(0, camera.height, lines):
        height = min(lines, camera.height - top)
        bands.append(render_view(replace(camera, cy=camera.cy - top, height=height)))
        if top + height < camera.height:
            yield None
    yield ImageResult.concatenate(bands)


class ChannelColorizer:
    """Pictures of every channel. It keeps the range of depths, so that colours do not change between pictures."""

    def __init__(self) -> None:
        self._depths: tuple[float, float] | None = None

    def reset_range(self) -> None:
        """Starts a new range of depths."""
        self._depths = None

    def picture(self, channel: Channel, now: ImageResult, later: ImageResult | None = None) -> np.ndarray:
        """`[H, W, 3]` uint8. `later`: the same view a little later, for "motion"."""
        if channel == "depth":
            return self._depth(now)
        if channel == "opacity":
            return to_bytes(now.opacity.clamp(0, 1)[..., None].expand(-1, -1, 3))
        if channel == "motion" and later is not None:
            return motion_picture(now.rgb, later.rgb)
        return to_bytes(now.rgb)

    def _depth(self, now: ImageResult) -> np.ndarray:
        depth = now.depth / now.opacity.clamp(min=1e-6)
        seen = depth[now.opacity >= MIN_OPACITY_FOR_DEPTH]
        if len(seen):
            low, high = (float(x) for x in np.percentile(seen.numpy().ravel()[::7], [1, 99]))
            before = self._depths or (low, high)
            self._depths = min(low, before[0]), max(high, before[1])
        return depth_picture(depth, now.opacity.clamp(0, 1), *(self._depths or (0.0, 1.0)))


def motion_picture(now: Tensor, later: Tensor) -> np.ndarray:
    """Optical flow from one picture `[H, W, 3]` to another, as colours `[H, W, 3]` uint8: the hue is its direction, the
    saturation its length relative to the fastest pixel; static pixels are white.

    The flow is computed from the rendered pictures by dense inverse search (Kroeger et al. 2016), so it works with
    every type of scene.
    """
    height, width = now.shape[:2]
    if min(height, width) < MIN_FLOW_SIDE:
        return np.full((height, width, 3), 255, np.uint8)
    grey = [cv2.cvtColor(to_bytes(x), cv2.COLOR_RGB2GRAY) for x in (now, later)]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    return flow_picture(np.asarray(search.calc(grey[0], grey[1], np.zeros((height, width, 2), np.float32))))


def flow_picture(flow: np.ndarray) -> np.ndarray:
    """The colours of a flow `[H, W, 2]` in pixels."""
    length = np.linalg.norm(flow, axis=-1)
    hue = (np.degrees(np.arctan2(flow[..., 1], flow[..., 0])) % 360).astype(np.float32)
    maximum = max(float(np.percentile(length, 99.5)), 2 * MAX_STATIC_FLOW)
    saturation = np.where(length > MAX_STATIC_FLOW, np.clip(length / maximum, 0, 1), 0).astype(np.float32)
    return to_bytes(cv2.cvtColor(np.stack([hue, saturation, np.ones_like(hue)], -1), cv2.COLOR_HSV2RGB))
