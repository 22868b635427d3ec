"""How balls rotate, from their texture: the steady spin under which their views agree best, or else an orientation
that is tracked from time to time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from foreseen.reconstruction.ball_views import BallViews


def find_rotations(ball_views: BallViews, times: np.ndarray) -> np.ndarray | None:
    """Orientations at `times` `[J]` in 0..1, as unit quaternions `[J, 4]`, real part first; None if the ball does not
    rotate, or its texture does not show how."""
    spin = find_spin(ball_views)
    if spin is not None:
        orientations = Rotation.from_rotvec(times[:, None] * spin)
    else:
        tracked = track_rotation(ball_views)
        if tracked is None:
            return None
        seen_times = np.unique(ball_views.times).astype(float)
        orientations = Slerp(seen_times, tracked)(times.clip(seen_times[0], seen_times[-1]))
    return orientations.as_quat()[:, [3, 0, 1, 2]]


def find_spin(ball_views: BallViews) -> np.ndarray | None:
    """The steady spin `[3]` [rad per window, about axes of the world] under which views agree all through the window;
    None if there is none. Candidates are refined on pairs of views that are further and further apart in time."""
    config = ball_views.config
    start = _first_candidates(ball_views, np.inf)
    if start is None:
        return None
    candidates, pair_time = start
    while pair_time < 1.0:
        before, pair_time = pair_time, min(pair_time * config.pair_time_growth, 1.0)
        pairs = ball_views.pairs(0.5 * pair_time, pair_time)
        if len(pairs):
            spacing = config.refined_spacing
            offsets = _grid_ball(2 * spacing * pair_time / before, spacing) / pair_time
            candidates = np.unique((candidates[:, None] + offsets[None]).reshape(-1, 3).round(6), axis=0)
            scores = ball_views.score(candidates, pairs)
            candidates = candidates[np.argsort(-scores)[: config.num_candidates]]
    if not len(pairs):
        return None
    spinning, static = ball_views.score(np.stack([candidates[0], np.zeros(3)]), pairs)
    return candidates[0] if _is_accepted(ball_views, spinning, static) else None


def _is_accepted(ball_views: BallViews, rotating: float, static: float) -> bool:
    """Whether views correlate enough under a rotation, and more than without one."""
    config = ball_views.config
    return rotating > max(config.min_correlation, static + config.min_correlation_gain)


def _first_candidates(ball_views: BallViews, until: float) -> tuple[np.ndarray, float] | None:
    """The spins `[C, 3]` under which consecutive views before the time `until` agree best, and how far these are apart
    in time, at most. None if no two of them show the same side."""
    config = ball_views.config
    apart = np.diff(np.unique(ball_views.times))
    if not len(apart):
        return None
    pair_time = config.first_pair_time * float(np.median(apart))
    pairs = ball_views.pairs(0.0, pair_time)
    pairs = pairs[ball_views.times[pairs[:, 1]] <= until][: config.max_first_pairs]
    if not len(pairs):
        return None
    candidates = _grid_ball(config.max_rotation, config.rotation_spacing) / pair_time
    best = np.argsort(-ball_views.score(candidates, pairs))[: config.num_candidates]
    return candidates[best], pair_time


def track_rotation(ball_views: BallViews) -> Rotation | None:
    """Orientations at the T times of the views: each is the one in which the ball looks most like itself at times
    before; then once more, at times before and after. None if this is not much better than no rotation."""
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
        near = [t + step for lag in config.compared_lags for step in (-lag, lag) if 0 <= t + step < len(times)]
        rotation, score, static = _correction(ball_views, views, t, near, orientations, orientations[t])
        orientations[t] = rotation * orientations[t]
        scores.append((score, static))
    if np.isnan(scores).all(0).any():
        return None
    rotating, static = np.nanmedian(scores, axis=0)
    return Rotation.concatenate(orientations) if _is_accepted(ball_views, rotating, static) else None


def _track_forward(
    ball_views: BallViews, views: Sequence[np.ndarray], times: np.ndarray, spin: np.ndarray
) -> list[Rotation]:
    """Orientations at `times` `[T]`, each from those before, which predict it by the spin `[3]` so far."""
    config = ball_views.config
    orientations = [Rotation.identity()]
    for t in range(1, len(times)):
        wait = times[t] - times[t - 1]
        expected = Rotation.from_rotvec(spin * wait) * orientations[-1]
        earlier = [t - lag for lag in config.compared_lags if lag <= t]
        rotation, score, _ = _correction(ball_views, views, t, earlier, orientations, expected)
        if score > config.weak_correlation:
            new_spin = (rotation * expected * orientations[-1].inv()).as_rotvec() / wait
            spin = config.spin_smoothing * spin + (1 - config.spin_smoothing) * new_spin
        orientations.append(rotation * expected)
    return orientations


def _correction(
    ball_views: BallViews, views: Sequence[np.ndarray], t: int, near: Sequence[int], orientations: Sequence[Rotation],
    expected: Rotation,
) -> tuple[Rotation, float, float]:  # fmt: skip
    """The rotation from the expected orientation at time t to the one in which the ball looks most like itself at the
    times `near`; the correlation then; and the correlation if the ball never rotated. Identity and NaN where nothing
    can be compared.

    Args:
        views: indices of the views that show the ball at each time.
    """
    config, toward = ball_views.config, ball_views.toward()
    pair_list, first_list = [], []
    for other in near:
        if not len(views[other]) or not len(views[t]):
            continue
        first = expected * orientations[other].inv()
        same_side = first.apply(toward[views[other]]) @ toward[views[t]].T > config.min_pair_cosine
        rows, cols = np.nonzero(same_side)
        pair_list.append(np.stack([views[other][rows], views[t][cols]], axis=-1))
        first_list += [first] * len(rows)
    if not first_list:
        return Rotation.identity(), np.nan, np.nan
    pairs, firsts = np.concatenate(pair_list), Rotation.concatenate(first_list)
    best = np.zeros(3)
    for largest, spacing in zip(config.search_ranges, config.search_spacings):
        candidates = best + _grid_ball(largest, spacing)
        scores = ball_views.score_rotations(candidates, pairs, firsts)
        best = candidates[scores.argmax()]
    if scores.max() <= config.weak_correlation:
        return Rotation.identity(), float(scores.max()), np.nan
    static = ball_views.score_rotations(np.zeros((1, 3)), pairs, Rotation.identity(len(pairs)))
    return Rotation.from_rotvec(best), float(scores.max()), float(static[0])


def _grid_ball(radius: float, spacing: float) -> np.ndarray:
    """`[M, 3]` points of a grid within `radius` of its middle, which is one of them."""
    line = spacing * np.arange(-int(radius / spacing), int(radius / spacing) + 1)
    points = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    return points[np.linalg.norm(points, axis=-1) <= radius + 1e-9]
