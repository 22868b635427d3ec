"""Balls that move on known paths before cameras around them, drawn by intersecting every pixel's ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path as FilePath

import numpy as np
import torch
from PIL import Image

from foreseen.core.scene_info import SceneInfo
from foreseen.data.types import Frame
from foreseen.geometry.cameras import Camera

WHITE = (1.0, 1.0, 1.0)
SIZE = 64
BOUNDS = np.array([[-2.0, -2.0, -2.0], [2.0, 2.0, 2.0]])
COLOURS = ((0.8, 0.1, 0.1), (0.1, 0.2, 0.8), (0.1, 0.6, 0.1), (0.5, 0.1, 0.5), (0.2, 0.2, 0.2))
Path = Callable[[float], tuple[float, float, float]]
Ball = tuple[Path, float]

# Neither lingers: a pixel that shows a ball most of the time has the ball as its background.
LEFT: Ball = (lambda t: (0.3 * np.sin(6 * t) - 0.9, 1.3 * (2 * t - 1), 0.3 * t), 0.35)
RIGHT: Ball = (lambda t: (0.9 + 0.2 * np.cos(5 * t), 1.2 * (1 - 2 * t), 0.5 - t), 0.3)


def camera(angle: float, height: float = 1.0, distance: float = 6.0, size: int = SIZE) -> Camera:
    """Looks at the origin from a circle around the y axis."""
    position = np.array([distance * np.sin(angle), height, -distance * np.cos(angle)])
    forward = -position / np.linalg.norm(position)
    right = np.cross([0.0, -1.0, 0.0], forward)
    right /= -np.linalg.norm(right)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.from_numpy(np.stack([right, np.cross(forward, right), forward], -1))
    pose[:3, 3] = torch.from_numpy(position)
    return Camera(pose.float(), 1.4 * size, 1.4 * size, size / 2, size / 2, size, size, 3.0, 9.0)


def picture(at: Camera, balls: Sequence[Ball], time: float, backdrop: np.ndarray | None = None) -> np.ndarray:
    """`[h, w, 3]`: the balls before a backdrop (white unless given), by intersecting every pixel's ray with each."""
    rays = at.rays(at.pixel_centres())
    origin, direction = rays.origins.numpy(), rays.directions.numpy()
    image = np.ones((at.height, at.width, 3), np.float32) if backdrop is None else backdrop.copy()
    nearest = np.full((at.height, at.width), np.inf)
    for colour, (path, radius) in zip(COLOURS, balls):
        to_centre = np.array(path(time)) - origin
        along = (to_centre * direction).sum(-1)
        beside = (to_centre**2).sum(-1) - along**2
        depth = along - np.sqrt(np.maximum(radius**2 - beside, 0))
        hit = (beside < radius**2) & (depth < nearest)
        image[hit], nearest[hit] = colour, depth[hit]
    return image


def frames(
    folder: FilePath, balls: Sequence[Ball], times: Sequence[float], cameras: int = 4, size: int = 24
) -> list[Frame]:
    """Files of fixed cameras that all see every time."""
    found = []
    for t in times:
        for i in range(cameras):
            at = camera(2 * i / max(cameras - 1, 1) - 1, height=0.5 + 0.5 * (i % 3), size=size)
            share = (t - times[0]) / (times[-1] - times[0])
            path = folder / f"{i}-{t:.3f}.png"
            Image.fromarray((255 * picture(at, balls, share)).round().astype(np.uint8)).save(path)
            found.append(Frame("balls", at, str(i), t, path))
    return found


def info(times: Sequence[float]) -> SceneInfo:
    """What a method knows of them."""
    low, high = (tuple(float(x) for x in corner) for corner in BOUNDS)
    bounds, names = (low, high), ("balls",)
    return SceneInfo.of_one_scene(bounds, 3.0, 9.0, (tuple(times),), WHITE, False, False, True, names)  # type: ignore[arg-type]
