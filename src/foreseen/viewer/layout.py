"""Pictures side by side, and pictures in windows of another shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from foreseen.export.compose import INK, PAPER
from foreseen.viewer.resolution import Size

GAP = 0.006
"""Between columns, as a share of the window's width."""


def column_size(window: Size, columns: int) -> Size:
    """How large each of some columns is."""
    gap = round(GAP * window[0])
    return max((window[0] - (columns - 1) * gap) // columns, 1), window[1]


def fit_size(size: Size, shape: Size) -> Size:
    """The largest size of the form `shape` that fits into `size`."""
    share = min(size[0] / shape[0], size[1] / shape[1])
    return max(int(shape[0] * share), 1), max(int(shape[1] * share), 1)


def side_by_side(panels: Sequence[tuple[str, np.ndarray | None]], window: Size) -> np.ndarray:
    """Labelled pictures `[H, W, 3]` uint8 in columns of a window; None: there is none, which the label says."""
    size = column_size(window, len(panels))
    canvas = Image.new("RGB", window, PAPER)
    draw = ImageDraw.Draw(canvas)
    text = max(window[1] // 28, 9)
    for index, (label, picture) in enumerate(panels):
        left = index * (size[0] + round(GAP * window[0]))
        if picture is not None:
            source = Image.fromarray(picture)
            request = fit_size(size, source.size)
            if request != source.size:
                source = source.resize(request, Image.Resampling.BILINEAR)
            canvas.paste(source, (left + (size[0] - request[0]) // 2, (size[1] - request[1]) // 2))
        _label(draw, (left + text // 2, text // 2), label, text, size[0] - text)
    return np.asarray(canvas)


def _label(draw: ImageDraw.ImageDraw, position: tuple[int, int], label: str, text: int, room: int) -> None:
    font = ImageFont.load_default(size=text)
    label = shortened(label, lambda words: draw.textlength(words, font=font) <= room)
    left, top, right, bottom = draw.textbbox(position, label, font=font)
    draw.rectangle((left - 3, top - 3, right + 3, bottom + 3), fill=PAPER)
    draw.text(position, label, fill=INK, font=font)


def shortened(label: str, fits: Callable[[str], bool]) -> str:
    """A label, without its middle where it does not fit: names of runs differ at their ends."""
    kept = len(label)
    found = label
    while kept > 2 and not fits(found):
        kept -= 1
        found = f"{label[: kept - kept // 2]}...{label[len(label) - kept // 2 :]}"
    return found


def match_height(picture: np.ndarray, window: Size) -> np.ndarray:
    """A picture as the browser's camera would see it that has its vertical field of view: as high as the window, in the
    middle, cut or with empty sides."""
    height = window[1]
    width = max(round(picture.shape[1] * height / picture.shape[0]), 1)
    canvas = Image.new("RGB", window, PAPER)
    source = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
    canvas.paste(source, ((window[0] - width) // 2, 0))
    return np.asarray(canvas)
