"""Pictures side by side with labels, and a bar that shows where the observed window ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

GAIN = 4
"""Factor by which differences are amplified."""
MIN_PANEL_HEIGHT = 240
"""Panels below this height [pixels] are enlarged by a whole factor, so that labels fit."""
MARGIN, BAR = 8, 8
INK, PAPER = (235, 235, 235), (24, 24, 28)
FAINT_COLOR = (120, 120, 128)
OBSERVED, FORECAST = (86, 180, 233), (230, 120, 0)


@dataclass(frozen=True)
class Timeline:
    """The times of a clip, and the end of the observed window.

    Attributes:
        start, end: first and last time of the clip.
        observed_until: last observed time; all in the data set's unit.
        unit: that unit; "unknown" is not printed.
    """

    start: float
    end: float
    observed_until: float
    unit: str = "unknown"

    def share(self, time: float) -> float:
        """Position of a time on the bar, 0..1."""
        if self.end <= self.start:
            return 1.0
        return min(max((time - self.start) / (self.end - self.start), 0.0), 1.0)

    def is_forecast(self, time: float) -> bool:
        """Whether a time is after the observed window, by more than rounding."""
        return time > self.observed_until + 1e-6 * max(abs(self.end - self.start), 1e-6)


def to_bytes(image: Tensor | np.ndarray) -> np.ndarray:
    """`[H, W, 3]` 0..1 -> uint8."""
    array = np.asarray(image, dtype=np.float32)
    return (np.clip(array, 0, 1) * 255).round().astype(np.uint8)


def difference_picture(image: Tensor, truth: Tensor) -> np.ndarray:
    """`[H, W, 3]` uint8: absolute difference, amplified by `GAIN`: black where both agree."""
    return to_bytes((image - truth).abs() * GAIN)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def compose(panels: Sequence[tuple[str, np.ndarray | None]], time: float, timeline: Timeline) -> np.ndarray:
    """One frame of a clip: labelled panels in a row over the timeline.

    Args:
        panels: label and picture `[H, W, 3]` uint8 each, of one size; None is drawn as an empty panel. At least one
            is a picture.
        time: the frame's time.
        timeline: range of the clip, and the end of the observed window.

    Returns:
        `[H', W', 3]` uint8, both sizes even.
    """
    height, width = next(p.shape[:2] for _, p in panels if p is not None)
    zoom = max(-(-MIN_PANEL_HEIGHT // height), 1)
    height, width = height * zoom, width * zoom
    text = max(height // 18, 13)
    top, bottom = text + 2 * MARGIN, text + BAR + 3 * MARGIN
    size = (len(panels) * width + (len(panels) + 1) * MARGIN, top + height + bottom)
    canvas = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2), PAPER)
    draw = ImageDraw.Draw(canvas)
    for index, (label, picture) in enumerate(panels):
        left = MARGIN + index * (width + MARGIN)
        draw.text((left, MARGIN // 2 + top // 2), label, fill=INK, font=_font(text), anchor="lm")
        if picture is None:
            _draw_absent(draw, (left, top, left + width - 1, top + height - 1), text)
        else:
            enlarged = Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST)
            canvas.paste(enlarged, (left, top))
    _draw_timeline(draw, (MARGIN, top + height + MARGIN, size[0] - MARGIN), time, timeline, text)
    return np.asarray(canvas)


def _draw_absent(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], text: int) -> None:
    draw.rectangle(box, outline=FAINT_COLOR)
    middle = ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)
    draw.text(middle, "not captured", fill=FAINT_COLOR, font=_font(text), anchor="mm")


def _draw_timeline(
    draw: ImageDraw.ImageDraw, place: tuple[int, int, int], time: float, timeline: Timeline, text: int
) -> None:
    """The bar: observed times are blue, later ones orange, faint after the current time."""
    left, top, right = place
    length = right - left
    border = left + round(length * timeline.share(timeline.observed_until))
    now = left + round(length * timeline.share(time))
    forecast = timeline.is_forecast(time)
    for start, end, colour in ((left, border, OBSERVED), (border, right, FORECAST)):
        if end > start:
            draw.rectangle((start, top, end, top + BAR), fill=tuple(c // 4 for c in colour))
        if min(end, now) > start:
            draw.rectangle((start, top, min(end, now), top + BAR), fill=colour)
    if left < border < right:
        draw.rectangle((border - 1, top - MARGIN // 2, border + 1, top + BAR + MARGIN // 2), fill=INK)
    draw.rectangle((now - 2, top - 3, now + 2, top + BAR + 3), fill=INK)
    label, colour = ("forecast", FORECAST) if forecast else ("observed", OBSERVED)
    unit = "" if timeline.unit == "unknown" else f" {timeline.unit}"
    below = top + BAR + MARGIN + text // 2
    draw.text((left, below), label, fill=colour, font=_font(text), anchor="lm")
    draw.text((right, below), f"t = {time:.3f}{unit}", fill=INK, font=_font(text), anchor="rm")
