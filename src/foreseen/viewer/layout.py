"""Pictures side by side, and pictures in windows of another aspect ratio."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from foreseen.export.compose import INK, PAPER
from foreseen.viewer.resolution import Size

GAP = 0.006
"""Gap between columns, as a share of the window's width."""


def column_size(window: Size, columns: int) -> Size:
    """Size of each column."""
    gap = round(GAP * window[0])
    return max((window[0] - (columns - 1) * gap) // columns, 1), window[1]


def fit_size(size: Size, shape: Size) -> Size:
    """The largest size with the aspect ratio of `shape` that fits into `size`."""
    share = min(size[0] / shape[0], size[1] / shape[1])
    return max(int(shape[0] * share), 1), max(int(shape[1] * share), 1)


def side_by_side(panels: Sequence[tuple[str, np.ndarray | None]], window: Size) -> np.ndarray:
    """Labelled pictures `[H, W, 3]` uint8 in columns of a window; None: no picture, the label says why."""
    size = column_size(window, len(panels))
    canvas = Image.new("RGB", window, PAPER)
    draw = ImageDraw.Draw(canvas)
    text = max(window[1] // 28, 9)
    for index, (label, picture) in enumerate(panels):
        left = index * (size[0] + round(GAP * window[0]))
        if picture is not None:
            source = Image.fromarray(picture)
            fitted = fit_size(size, source.size)
            if fitted != source.size:
                source = source.resize(fitted, Image.Resampling.BILINEAR)
            canvas.paste(source, (left + (size[0] - fitted[0]) // 2, (size[1] - fitted[1]) // 2))
        _label(draw, (left + text // 2, text // 2), label, text, size[0] - text)
    return np.asarray(canvas)


def _label(draw: ImageDraw.ImageDraw, position: tuple[int, int], label: str, text: int, room: int) -> None:
    font = ImageFont.load_default(size=text)
    label = shortened(label, lambda words: draw.textlength(words, font=font) <= room)
    left, top, right, bottom = draw.textbbox(position, label, font=font)
    draw.rectangle((left - 3, top - 3, right + 3, bottom + 3), fill=PAPER)
    draw.text(position, label, fill=INK, font=font)


def shortened(label: str, fits: Callable[[str], bool]) -> str:
    """A label, shortened in the middle where it does not fit: names of runs differ at their ends."""
    kept, text = len(label), label
    while kept > 2 and not fits(text):
        kept -= 1
        text = f"{label[: kept - kept // 2]}...{label[len(label) - kept // 2 :]}"
    return text


def match_height(picture: np.ndarray, window: Size) -> np.ndarray:
    """A picture in a window, as a camera of the same vertical field of view sees it: as high as the window, centred,
    cut or with empty sides."""
    height = window[1]
    width = max(round(picture.shape[1] * height / picture.shape[0]), 1)
    canvas = Image.new("RGB", window, PAPER)
    source = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
    canvas.paste(source, ((window[0] - width) // 2, 0))
    return np.asarray(canvas)
