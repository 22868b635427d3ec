"""Marks at points of the scene in a picture."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from foreseen.geometry.cameras import Camera

COLOUR, EDGE = (255, 255, 255), (24, 24, 28)
SUPERSAMPLING = 4
"""Marks are drawn larger by this factor and then shrunk, for smooth edges."""


def mark_points(picture: np.ndarray, camera: Camera, points: Tensor) -> np.ndarray:
    """Draws a dot at each of `points` `[N, 3]` in front of the camera, on a picture `[H, W, 3]` uint8 of its size."""
    height, width = picture.shape[:2]
    radius = SUPERSAMPLING * max(height / 110, 1.5)
    mark = Image.new("RGBA", (SUPERSAMPLING * width, SUPERSAMPLING * height), (0, 0, 0, 0))
    draw = ImageDraw.Draw(mark)
    pixels, depths = camera.project(points)
    before = (depths > 0) & torch.isfinite(pixels).all(-1) & (pixels.abs() < 10 * max(height, width)).all(-1)
    for x, y in (SUPERSAMPLING * pixels[before]).tolist():
        draw.ellipse(
            (x - radius, y - radius, x + radius, y + radius), fill=COLOUR, outline=EDGE, width=SUPERSAMPLING // 2
        )
    mark = mark.resize((width, height), Image.Resampling.BOX)
    return np.asarray(Image.alpha_composite(Image.fromarray(picture).convert("RGBA"), mark).convert("RGB"))
