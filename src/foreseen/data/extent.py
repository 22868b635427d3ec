"""Estimates near, far and bounds of a data set, for formats that do not state them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from foreseen.data.types import Frame, SceneExtent
from foreseen.geometry.cameras import Camera
from foreseen.geometry.paths import look_at_point

MIN_NEAR_SHARE = 0.05
"""Smallest near, as a share of the distance to what the cameras look at."""


def extent_from_cameras(cameras: Sequence[Camera]) -> SceneExtent:
    """A cube around the point nearest to all optical axes, as large as the pictures are there.

    The cube's size is the median over the cameras, as they are aimed and zoomed to show the scene: close-ups show less
    of it, and far cameras show empty space around it. Near is the least distance of a camera from the cube, far
    the largest to a corner of it. The cameras' own near and far are not used.
    """
    positions = np.stack([c.position.double().numpy() for c in cameras])
    forward = np.stack([c.camera_to_world[:3, 2].double().numpy() for c in cameras])
    guess = _distance_of_origin(positions, forward)
    # With near = far = guess the look-at point lies that far ahead where the axes leave it open.
    target = look_at_point([replace(c, near=guess, far=guess) for c in cameras])
    distances = np.linalg.norm(positions - target, axis=-1)
    views = np.array([max(c.width / c.fx, c.height / c.fy) / 2 for c in cameras])
    half = float(np.median(distances * views))
    outside = np.maximum(np.abs(positions - target) - half, 0)
    corners = np.abs(positions - target) + half
    near = max(float(np.linalg.norm(outside, axis=-1).min()), MIN_NEAR_SHARE * float(np.median(distances)))
    far = float(np.linalg.norm(corners, axis=-1).max())
    bounds = torch.from_numpy(np.stack([target - half, target + half])).float()
    return SceneExtent(near, far, bounds)


def _distance_of_origin(positions: np.ndarray, forward: np.ndarray) -> float:
    """How far ahead of the cameras the world's origin lies, the usual middle of a scene; 1 where it is behind."""
    ahead = float(np.median(-(positions * forward).sum(axis=-1)))
    return ahead if ahead > 1e-6 else 1.0


def with_extent(frames: Sequence[Frame], extent: SceneExtent) -> list[Frame]:
    """The frames with the extent's near and far in their cameras."""
    return [replace(f, calibration=replace(f.camera, near=extent.near, far=extent.far)) for f in frames]
