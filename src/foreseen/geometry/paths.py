"""Camera paths to render along: orbit, spiral, fixed view, and the path of the data set's camera.

A path goes by cameras of the data set. The first of them lends its intrinsics, bounds and NDC to all cameras
of the path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation, Slerp

from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera

FOCUS_SHARE = 0.75
"""The focus lies at this share of the way from near to far, measured in disparity (LLFF's value)."""

MIN_SPIRAL_RADIUS = 0.03
"""Radius of a spiral around cameras that hardly move, as a share of the focus distance."""

MAX_NDC_ORBIT = 90.0
"""Largest orbit [degrees] in normalised device coordinates, which hold only what is in front of the reference
camera."""


def look_at(position: np.ndarray, target: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Rigid `[4, 4]` of a camera at `position` that sees `target` in its centre, `up` upwards; all `[3]`."""
    forward = _unit(target - position)
    right = np.cross(forward, up)
    if np.linalg.norm(right) < 1e-6 * np.linalg.norm(up):
        # Looking straight up or down, any heading is possible: take an axis that is not the view direction.
        right = np.cross(forward, np.eye(3)[np.argmin(np.abs(forward))])
    right = _unit(right)
    pose = np.eye(4)
    pose[:3, :4] = np.stack([right, np.cross(forward, right), forward, position], axis=-1)
    return pose


def up_direction(cameras: Sequence[Camera]) -> np.ndarray:
    """`[3]` unit vector that points up in the world, from cameras that are held upright for the most part.

    An upright camera's right axis is level however far it looks up or down, so that up is what all right
    axes are perpendicular to; the worst tenth is left out, then. Where the right axes are too much alike to
    span a plane (one camera, cameras side by side) it is the median of the cameras' own up axes.
    """
    axes = _poses(cameras)[:, :3, :3]
    own = _unit(np.median(-axes[:, :, 1], axis=0))
    right = axes[:, :, 0]
    keep = np.ones(len(right), bool)
    up = own
    for _ in range(2):
        values, vectors = np.linalg.eigh(right[keep].T @ right[keep] / keep.sum())
        if values[1] < 0.05 or values[1] < 5 * values[0]:
            return own
        up = vectors[:, 0] * (1.0 if vectors[:, 0] @ own >= 0 else -1.0)
        tilt = np.abs(right @ up)
        keep = tilt <= np.quantile(tilt, 0.9)
    return up


def focus_distance(camera: Camera) -> float:
    """Distance [scene units] at which the scene's content is expected, from the camera's near and far."""
    if camera.ndc is not None:
        return camera.ndc.near / (1 - FOCUS_SHARE)
    near = max(camera.near, 1e-3 * camera.far)
    return 1 / ((1 - FOCUS_SHARE) / near + FOCUS_SHARE / camera.far)


def look_at_point(cameras: Sequence[Camera]) -> np.ndarray:
    """`[3]`: the point nearest to all optical axes, in the sense of least squares.

    Axes that are parallel, or that meet behind the cameras, do not say how far away it is: then it lies at
    the focus distance.
    """
    poses = _poses(cameras)
    positions, forward = poses[:, :3, 3], poses[:, :3, 2]
    distance = focus_distance(cameras[0])
    guess = (positions + distance * forward).mean(axis=0)
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    # The small regularisation towards the guess decides only what the axes leave undetermined.
    pull = 1e-3 * len(cameras)
    right = np.einsum("nij,nj->i", across, positions) + pull * guess
    point = np.linalg.solve(across.sum(axis=0) + pull * np.eye(3), right)
    ahead = np.einsum("ni,ni->n", point - positions, forward)
    return point if np.median(ahead) > 0 else guess


def orbit(cameras: Sequence[Camera], count: int, degrees: float = 360.0) -> list[Camera]:
    """A circle around the point that the cameras look at, at their median height and distance from it.

    It starts where the first camera stands. Less than 360 `degrees` are swung to both sides of the cameras'
    mean direction, there and back. Both ways the last camera leads on to the first one.

    Raises:
        UserError: rays are in normalised device coordinates, and the orbit is wider than what those hold.
    """
    _check(cameras, count)
    if cameras[0].ndc is not None and degrees > MAX_NDC_ORBIT:
        raise UserError(
            f"an orbit of {degrees:g} degrees leaves what a forward-facing scene holds: take the spiral, "
            f"or at most {MAX_NDC_ORBIT:g} degrees."
        )
    up, target = up_direction(cameras), look_at_point(cameras)
    offsets = _poses(cameras)[:, :3, 3] - target
    height = float(np.median(offsets @ up))
    level = offsets - (offsets @ up)[:, None] * up
    radius = max(float(np.median(np.linalg.norm(level, axis=-1))), 1e-3 * focus_distance(cameras[0]))
    phase = np.arange(count) / count
    if degrees >= 360:
        start, angles = level[0], np.radians(degrees) * phase
    else:
        start, angles = level.mean(axis=0), np.radians(degrees / 2) * np.sin(2 * np.pi * phase)
    if np.linalg.norm(start) < 1e-6 * radius:
        start = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    first = _unit(start)
    second = np.cross(up, first)
    ring = np.cos(angles)[:, None] * first + np.sin(angles)[:, None] * second
    return [_moved(cameras[0], look_at(target + height * up + radius * r, target, up)) for r in ring]


def spiral(cameras: Sequence[Camera], count: int, turns: int = 2) -> list[Camera]:
    """A spiral around the cameras' mean pose, for forward-facing scenes, that keeps looking at the focus.

    Source: Mildenhall et al. 2019 (LLFF): the radii are what 90 % of the cameras stay within, and forwards
    and backwards it swings half as fast as around; an even number of `turns` closes the path.
    """
    _check(cameras, count)
    poses = _poses(cameras)
    up, distance = up_direction(cameras), focus_distance(cameras[0])
    centre = poses[:, :3, 3].mean(axis=0)
    mean = look_at(centre, centre + _unit(poses[:, :3, 2].mean(axis=0)), up)
    local = (poses[:, :3, 3] - centre) @ mean[:3, :3]
    radii = np.quantile(np.abs(local), 0.9, axis=0)
    radii[:2] = np.maximum(radii[:2], MIN_SPIRAL_RADIUS * distance)
    target = centre + distance * mean[:3, 2]
    angles = 2 * np.pi * turns * np.arange(count) / count
    offsets = np.stack([np.cos(angles), np.sin(angles), np.sin(angles / 2)], axis=-1) * radii
    return [_moved(cameras[0], look_at(p, target, up)) for p in centre + offsets @ mean[:3, :3].T]


def fixed(camera: Camera, count: int) -> list[Camera]:
    """The same camera at all times."""
    _check([camera], count)
    return [camera] * count


def follow(cameras: Sequence[Camera], count: int) -> list[Camera]:
    """The path of the data set's camera, from the first pose to the last in equal steps.

    Between two poses positions are interpolated linearly and rotations along the shortest arc.
    """
    _check(cameras, count)
    poses = _poses(cameras)
    if len(cameras) == 1:
        return fixed(cameras[0], count)
    knots = np.arange(len(cameras))
    at = np.linspace(0, len(cameras) - 1, count)
    path = np.tile(np.eye(4), (count, 1, 1))
    path[:, :3, :3] = Slerp(knots, Rotation.from_matrix(poses[:, :3, :3]))(at).as_matrix()
    path[:, :3, 3] = np.stack([np.interp(at, knots, poses[:, i, 3]) for i in range(3)], axis=-1)
    return [_moved(cameras[0], pose) for pose in path]


def _check(cameras: Sequence[Camera], count: int) -> None:
    if not cameras:
        raise UserError("a camera path needs at least one camera of the data set.")
    if count < 1:
        raise UserError(f"a camera path of {count} pictures is empty: ask for 1 or more.")


def _poses(cameras: Sequence[Camera]) -> np.ndarray:
    """`[N, 4, 4]` float64."""
    return np.stack([c.camera_to_world.detach().cpu().double().numpy() for c in cameras])


def _moved(camera: Camera, pose: np.ndarray) -> Camera:
    return replace(camera, camera_to_world=torch.from_numpy(pose).to(camera.camera_to_world))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
