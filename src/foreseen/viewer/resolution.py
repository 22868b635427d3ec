"""The number of pixels that can be rendered in time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

Size = tuple[int, int]
"""Width and height in pixels."""

MAX_WINDOW_SIDE = 8192
"""Largest side of a window [pixels]; a browser can send anything."""
SMOOTHING_WEIGHT = 0.4
"""Weight of the newest measurement, 0..1. Larger: faster adaptation, more flicker."""
STEP = 2.0
"""Each refinement has this many times the lines of the one before."""
HYSTERESIS = 1.25
"""While the view moves, the number of lines changes only if it is wrong by this factor: changing sizes flicker."""


@dataclass
class AdaptiveResolution:
    """Keeps the frame rate while the view moves, and refines in steps when it is static.

    Attributes:
        rate: target frames per second while the view moves.
        lines: height of the finest picture [pixels].
        min_lines: height of the coarsest one.
        seconds_per_pixel: measured while the view moves; None before the first picture.
        static_seconds_per_pixel: the same for a static view, whose pictures are rendered in more detail.
    """

    rate: float = 12.0
    lines: int = 540
    min_lines: int = 48
    seconds_per_pixel: float | None = None
    static_seconds_per_pixel: float | None = None
    _moving: int = field(default=0, repr=False)

    def finest(self, window: Size) -> Size:
        """The largest size for a window: its own, or with `lines` lines."""
        return scaled(window, self.lines)

    def moving(self, window: Size) -> Size:
        """The size that can be rendered within a frame's time while the view moves."""
        if self.seconds_per_pixel is None:
            lines = 2 * self.min_lines
        else:
            pixels = 1 / (self.rate * max(self.seconds_per_pixel, 1e-12))
            lines = int(math.sqrt(pixels * window[1] / max(window[0], 1)))
        if self._moving and 1 / HYSTERESIS < lines / self._moving < HYSTERESIS:
            lines = self._moving
        self._moving = min(max(lines, self.min_lines), self.lines)
        return scaled(window, self._moving)

    def refine(self, size: Size, window: Size) -> Size | None:
        """The next size after `size` for a static view; None where that was the finest."""
        finest = self.finest(window)
        if size[1] >= finest[1]:
            return None
        following = scaled(window, int(size[1] * STEP))
        return finest if following[1] * math.sqrt(STEP) > finest[1] else following

    def measured(self, pixels: int, seconds: float, *, moving: bool = True) -> None:
        """Takes a measurement: the time to render `pixels`, while the view moved or was static."""
        new = seconds / max(pixels, 1)
        if moving:
            self.seconds_per_pixel = _smoothed(self.seconds_per_pixel, new)
        else:
            self.static_seconds_per_pixel = _smoothed(self.static_seconds_per_pixel, new)


def _smoothed(old: float | None, new: float) -> float:
    return new if old is None else (1 - SMOOTHING_WEIGHT) * old + SMOOTHING_WEIGHT * new


def scaled(window: Size, lines: int) -> Size:
    """The window's aspect ratio with `lines` lines, never larger than the window."""
    height = max(min(lines, window[1]), 1)
    return max(round(window[0] * height / max(window[1], 1)), 1), height
