"""The rotation of a tracked part, from the direction of its tail or of its long axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foreseen.reconstruction.config import PartsConfig
from foreseen.reconstruction.hull_tracks import HullTrack
from foreseen.reconstruction.spline_fitting import fit_spline


def rotations_of_track(track: HullTrack, controls: int, config: PartsConfig) -> np.ndarray:
    """Control points `[n, 3]` of the rotation vector that turns a part's direction from the middle of its track to
    each time. The direction is that of its tail, or of its long axis; no rotation if both are noise."""
    middle = len(track.axes) // 2
    candidates = []
    if np.median(np.linalg.norm(track.tails, axis=-1)) > config.min_third_moment:
        candidates.append([_unit(x) for x in track.tails])
    if np.median(track.elongations) > config.min_elongation:
        candidates.append(_same_sign(track.axes[middle::-1])[::-1] + _same_sign(track.axes[middle:])[1:])
    steady = [d for d in candidates if _direction_error(d) < np.radians(config.max_direction_error)]
    if not steady:
        return np.zeros((controls, 3))
    directions = steady[0]
    vectors = []
    for direction in directions:
        cross = np.cross(directions[middle], direction)
        vectors.append(_unit(cross) * _angle(directions[middle], direction))
    times = np.array(track.times)
    return fit_spline(times, np.array(vectors), controls, config.rotation_smoothness, config.curvature_weight)


def _direction_error(directions: Sequence[np.ndarray]) -> float:
    """Median angle [rad] between a direction and its prediction from the two before."""
    triples = zip(directions, directions[1:], directions[2:])
    return float(np.median([np.pi, *(_angle(_unit(2 * b - a), c) for a, b, c in triples)]))


def _same_sign(axes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Axes, each with the sign that is nearer to the one before: an axis has no sign of its own."""
    signed = [axes[0]]
    for axis in axes[1:]:
        signed.append(axis if axis @ signed[-1] >= 0 else -axis)
    return signed


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    """Between unit vectors [rad]."""
    return float(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b))
