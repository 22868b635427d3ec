"""How many pixels can be rendered in time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

Size = tuple[int, int]
"""Width and height in pixels."""

MAX_WINDOW_SIDE = 8192
"""Pixels of a window's side that are believed: a browser can say anything."""
SMOOTHING_WEIGHT = 0.4
"""Weight of the newest measurement."""
STEP = 2.0
"""Each refinement has so many times the lines of the one before."""
HYSTERESIS = 1.25
"""While things move the number of lines stays as it is unless it is off by this factor: sizes that jump flicker."""


@dataclass
class AdaptiveResolution:
    """Keeps the frame rate while things move, and refines in steps when they rest.

    Attributes:
        rate: wanted frames a second while things move.
        lines: height of the finest picture.
        fewest: height of the coarsest one.
        seconds_per_pixel: measured while things move; None before the first picture.
        resting_seconds_per_pixel: the same at rest, where pictures are rendered more carefully.
    """

    rate: float = 12.0
    lines: int = 540
    min_lines: int = 48
    seconds_per_pixel: float | None = None
    static_seconds_per_pixel: float | None = None
    _moving: int = field(default=0, repr=False)

    def finest(self, window: Size) -> Size:
        """Of a window: as it is, or with `lines` lines."""
        return scaled(window, self.lines)

    def moving(self, window: Size) -> Size:
        """What can be rendered within a frame while things move."""
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
        """The next size after `size` for a view at rest; None where that was the finest."""
        finest = self.finest(window)
        if size[1] >= finest[1]:
            return None
        following = scaled(window, int(size[1] * STEP))
        return finest if following[1] * math.sqrt(STEP) > finest[1] else following

    def measured(self, pixels: int, seconds: float, *, moving: bool = True) -> None:
        """So long did it take to render so many pixels, while things moved or at rest."""
        new = seconds / max(pixels, 1)
        if moving:
            self.seconds_per_pixel = _smoothed(self.seconds_per_pixel, new)
        else:
            self.static_seconds_per_pixel = _smoothed(self.static_seconds_per_pixel, new)


def _smoothed(old: float | None, new: float) -> float:
    return new if old is None else (1 - SMOOTHING_WEIGHT) * old + SMOOTHING_WEIGHT * new


def scaled(window: Size, lines: int) -> Size:
    """The window's shape with `lines` lines, and never larger than the window."""
    height = max(min(lines, window[1]), 1)
    return max(round(window[0] * height / max(window[1], 1)), 1), height
