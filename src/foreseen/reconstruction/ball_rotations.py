"""Rotation of balls over time, estimated from their texture.

First a constant angular velocity (spin) is searched for which the views of the ball correlate best. If no spin is good
enough, the orientation is tracked from each time to the next.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from foreseen.reconstruction.ball_views import BallViews


def find_rotations(ball_views: BallViews, times: np.ndarray) -> np.ndarray | None:
    """Orientations at `times` `[J]` (0..1, in windows), as unit quaternions `[J, 4]`, real part first. None if the ball
    does not rotate, or if the texture does not determine the rotation."""
    spin = find_spin(ball_views)
    if spin is not None:
        orientations = Rotation.from_rotvec(times[:, None] * spin)
    else:
        tracked = track_rotation(ball_views)
        if tracked is None:
            return None
        view_times = np.unique(ball_views.times).astype(float)
        orientations = Slerp(view_times, tracked)(times.clip(view_times[0], view_times[-1]))
    return orientations.as_quat()[:, [3, 0, 1, 2]]


def find_spin(ball_views: BallViews) -> np.ndarray | None:
    """The constant angular velocity `[3]` [rad per window, in world axes] for which views correlate best over the
    whole window. None if the correlation is too low.

    Coarse to fine: candidates are refined on pairs of views whose time difference grows up to the whole window.
    """
    config = ball_views.config
    start = _first_candidates(ball_views, np.inf)
    if start is None:
        return None
    candidates, pair_time = start
    while pair_time < 1.0:
        previous_time, pair_time = pair_time, min(pair_time * config.pair_time_growth, 1.0)
        pairs = ball_views.pairs(0.5 * pair_time, pair_time)
        if len(pairs):
            spacing = config.refined_spacing
            offsets = _rotation_grid(2 * spacing * pair_time / previous_time, spacing) / pair_time
            candidates = np.unique((candidates[:, None] + offsets[None]).reshape(-1, 3).round(6), axis=0)
            scores = ball_views.score(candidates, pairs)
            candidates = candidates[np.argsort(-scores)[: config.num_candidates]]
    if not len(pairs):
        return None
    spinning, static = ball_views.score(np.stack([candidates[0], np.zeros(3)]), pairs)
    return candidates[0] if _is_accepted(ball_views, spinning, static) else None


def _is_accepted(ball_views: BallViews, rotating: float, static: float) -> bool:
    """Whether the correlation with a rotation (`rotating`) is high enough, and higher than without (`static`)."""
    config = ball_views.config
    return rotating > max(config.min_correlation, static + config.min_correlation_gain)


def _first_candidates(ball_views: BallViews, end_time: float) -> tuple[np.ndarray, float] | None:
    """The spins `[C, 3]` for which consecutive views up to `end_time` correlate best, best first; and the largest time
    difference of these views. None if no two of the views show the same side of the ball."""
    config = ball_views.config
    intervals = np.diff(np.unique(ball_views.times))
    if not len(intervals):
        return None
    pair_time = config.first_pair_time * float(np.median(intervals))
    pairs = ball_views.pairs(0.0, pair_time)
    pairs = pairs[ball_views.times[pairs[:, 1]] <= end_time][: config.max_first_pairs]
    if not len(pairs):
        return None
    candidates = _rotation_grid(config.max_rotation, config.rotation_spacing) / pair_time
    best = np.argsort(-ball_views.score(candidates, pairs))[: config.num_candidates]
    return candidates[best], pair_time


def track_rotation(ball_views: BallViews) -> Rotation | None:
    """Orientations `[T]` at the times of the views. None if they correlate not much better than no rotation.

    Two passes: the first compares each time with earlier times, the second with earlier and later times.
    """
    config = ball_views.config
    times = np.unique(ball_views.times)
    if len(times) <= config.tracking_start:
        return None
    start = _first_candidates(ball_views, times[config.tracking_start])
    if start is None:
        return None
    views = [np.flatnonzero(ball_views.visible() & (ball_views.times == time)) for time in times]
    orientations = _track_forward(ball_views, views, times, start[0][0])
    scores = []
    for t in range(len(times)):
        neighbours = [t + step for lag in config.compared_lags for step in (-lag, lag) if 0 <= t + step < len(times)]
        rotation, score, static = _correction(ball_views, views, t, neighbours, orientations, orientations[t])
        orientations[t] = rotation * orientations[t]
        scores.append((score, static))
    if np.isnan(scores).all(0).any():
        return None
    rotating, static = np.nanmedian(scores, axis=0)
    return Rotation.concatenate(orientations) if _is_accepted(ball_views, rotating, static) else None


def _track_forward(
    ball_views: BallViews, views: Sequence[np.ndarray], times: np.ndarray, spin: np.ndarray
) -> list[Rotation]:
    """Orientations at `times` `[T]`, the first pass. Each is predicted from the previous one with the `spin` `[3]`, and
    then corrected by comparison with earlier times. The spin is a running average of the changes of orientation."""
    config = ball_views.config
    orientations = [Rotation.identity()]
    for t in range(1, len(times)):
        interval = times[t] - times[t - 1]
        predicted = Rotation.from_rotvec(spin * interval) * orientations[-1]
        earlier = [t - lag for lag in config.compared_lags if lag <= t]
        rotation, score, _ = _correction(ball_views, views, t, earlier, orientations, predicted)
        if score > config.weak_correlation:
            new_spin = (rotation * predicted * orientations[-1].inv()).as_rotvec() / interval
            spin = config.spin_smoothing * spin + (1 - config.spin_smoothing) * new_spin
        orientations.append(rotation * predicted)
    return orientations


def _correction(
    ball_views: BallViews, views: Sequence[np.ndarray], t: int, neighbours: Sequence[int],
    orientations: Sequence[Rotation], predicted: Rotation,
) -> tuple[Rotation, float, float]:  # fmt: skip
    """A correction of the predicted orientation at time index t: the rotation for which the views at t correlate best
    with those at the time indices `neighbours`. Also this best correlation, and the correlation without any rotation.
    Identity and NaN where no views can be compared.

    Args:
        views: for each time the indices of the views that show the ball.
        orientations: at the times `neighbours`, at least.
        predicted: orientation at t before the correction.
    """
    config, directions = ball_views.config, ball_views.camera_directions()
    pair_list, relative_list = [], []
    for other in neighbours:
        if not len(views[other]) or not len(views[t]):
            continue
        relative = predicted * orientations[other].inv()
        same_side = relative.apply(directions[views[other]]) @ directions[views[t]].T > config.min_pair_cosine
        rows, cols = np.nonzero(same_side)
        pair_list.append(np.stack([views[other][rows], views[t][cols]], axis=-1))
        relative_list += [relative] * len(rows)
    if not relative_list:
        return Rotation.identity(), np.nan, np.nan
    pairs, relatives = np.concatenate(pair_list), Rotation.concatenate(relative_list)
    best = np.zeros(3)
    for max_angle, spacing in zip(config.search_ranges, config.search_spacings):
        candidates = best + _rotation_grid(max_angle, spacing)
        scores = ball_views.score_rotations(candidates, pairs, relatives)
        best = candidates[scores.argmax()]
    if scores.max() <= config.weak_correlation:
        return Rotation.identity(), float(scores.max()), np.nan
    static = ball_views.score_rotations(np.zeros((1, 3)), pairs, Rotation.identity(len(pairs)))
    return Rotation.from_rotvec(best), float(scores.max()), float(static[0])


def _rotation_grid(max_angle: float, spacing: float) -> np.ndarray:
    """Rotation vectors `[M, 3]` [rad] on a regular grid around 0, with angles up to `max_angle`."""
    axis = spacing * np.arange(-int(max_angle / spacing), int(max_angle / spacing) + 1)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    return points[np.linalg.norm(points, axis=-1) <= max_angle + 1e-9]
