"""Fits a world of colliding balls to their paths: velocity jumps, then walls and contacts, then multiple shooting."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from foreseen.dynamics.collisions import CollisionWorld
from foreseen.dynamics.contacts import body_impacts, find_intangible, find_walls, impact_events, restitutions
from foreseen.dynamics.impact_parameters import TypicalScales, WorldParameters
from foreseen.dynamics.impact_shooting import ImpactShooting
from foreseen.dynamics.impacts_config import ImpactsConfig, ImpactShootingConfig
from foreseen.dynamics.piecewise_paths import PathSampling, PiecewisePath, find_gravity


@dataclass(frozen=True)
class ImpactFit:
    """A fitted world, and the states `[K, WIDTH]` at the start and the end of the window.

    Attributes:
        misfit: root mean square of the residuals over that of the motion, without each path's worst times
            (`ImpactsConfig.misfit_quantile`).
    """

    world: CollisionWorld
    first_state: np.ndarray
    last_state: np.ndarray
    misfit: float


def fit_impacts(
    sampling: PathSampling, paths: np.ndarray, radii: np.ndarray, config: ImpactsConfig
) -> ImpactFit | None:
    """Fits a world to `paths` `[N, K, 3]` of bodies with approximate `radii` `[K]`; None if it fits no body."""
    max_jumps = max(4, min(config.max_velocity_jumps, sampling.degrees_of_freedom // 2))
    gravity, piecewise_paths = find_gravity(sampling, paths, max_jumps, config.paths)
    scales = _typical_scales(piecewise_paths, paths, radii, config.min_noise)
    world, lost = _initial_world(sampling, piecewise_paths, paths, radii, gravity, config), np.zeros(len(radii), bool)
    for _ in range(2):  # again without the bodies that the first fit lost
        world = world._replace(collides=world.collides & ~lost, weights=np.where(lost, 0.0, world.weights))
        constants = WorldParameters(world, scales, config.prior)
        cuts = _cuts(sampling, piecewise_paths, config.shooting)
        impulses = _impulses(sampling, piecewise_paths, cuts)
        body_weights = np.where(lost, config.lost_weight, 1.0)
        shooting = ImpactShooting(sampling, paths, cuts, impulses, constants, body_weights, config.shooting)
        theta, starts, solved = shooting.fit(_starts(shooting, world, piecewise_paths))
        residuals = shooting.path_residuals(solved)
        misses = np.quantile(np.linalg.norm(residuals, axis=-1), config.max_miss_quantile, axis=0)
        is_off = misses > config.max_miss * radii
        if not (is_off & ~lost).any():
            break
        lost |= is_off
    if lost.all():
        return None
    begin, end = starts[0].copy(), shooting.at(theta, starts, float(sampling.times[-1]))
    _set_lost_states(begin, end, lost, sampling.times, paths, config.lost_positions)
    misfit = _misfit(residuals[:, ~lost], paths[:, ~lost], config.misfit_quantile)
    return ImpactFit(constants.world(theta), begin, end, misfit)


def _set_lost_states(
    begin: np.ndarray, end: np.ndarray, lost: np.ndarray, times: np.ndarray, paths: np.ndarray, count: int
) -> None:
    """Writes the states of `lost` `[K]` bodies into `begin` and `end`: observed positions, and the mean velocities of
    the first and the last `count` positions."""
    for k in np.flatnonzero(lost):
        for state, row, few in ((begin, 0, slice(None, count)), (end, -1, slice(-count, None))):
            slope = np.polyfit(times[few], paths[few, k], 1)[0]
            state[k, :3], state[k, 3:] = paths[few, k][row], [*slope, 0, 0, 0]


def _misfit(residuals: np.ndarray, paths: np.ndarray, quantile: float) -> float:
    squares, deviation = np.sort(np.square(residuals).sum(-1), axis=0), paths - paths.mean(0)
    best = squares[: max(1, round(quantile * len(squares)))]
    return float(np.sqrt(best.mean() / max(np.square(deviation).sum(-1).mean(), 1e-300)))


def _typical_scales(
    piecewise_paths: list[PiecewisePath], paths: np.ndarray, radii: np.ndarray, min_noise: float
) -> TypicalScales:
    # 2.37 is the median of a chi-square distribution with three degrees of freedom.
    noise = np.sqrt(np.median([np.median(np.square(c.residual).sum(1)) / 2.37 for c in piecewise_paths]))
    rates = np.array([[c.rate(t) for t in np.linspace(0.05, 0.95, 19)] for c in piecewise_paths])
    extent = max(float(np.ptp(paths, axis=0).max()), 1e-9)
    speed = float(np.sqrt(np.square(rates).sum(-1).mean()))
    return TypicalScales(max(float(noise), min_noise * extent), speed + 1e-3 * extent, float(radii.mean()))


def _initial_world(
    sampling: PathSampling,
    piecewise_paths: list[PiecewisePath],
    paths: np.ndarray,
    radii: np.ndarray,
    gravity: np.ndarray,
    config: ImpactsConfig,
) -> CollisionWorld:
    """The initial guess, from the velocity jumps."""
    events = impact_events(piecewise_paths, float(np.diff(sampling.fine_times).mean()), config.contacts)
    pairs = body_impacts(events, piecewise_paths, radii, config.contacts)
    explained = {id(event) for event, _ in pairs}
    is_static = np.array([c.rest_time == 0 for c in piecewise_paths])
    is_shadow = find_intangible(piecewise_paths, paths, radii, config.contacts)
    inside = ~(is_static | is_shadow)  # shadows lie in walls
    wall_events = [s for s in events if id(s) not in explained and not is_shadow[s.body]]
    planes = find_walls(wall_events, paths, radii, gravity, inside if inside.any() else ~inside, config.contacts)
    planes = planes[: config.max_walls]
    speeds = [impact for plane in planes for impact in restitutions(plane) if impact[0] > 0]
    fastest = sorted(speeds, reverse=True)[: max(3, len(speeds) // 2)]
    restitution = float(np.clip(np.median([e for _, e in fastest]), 0.1, 0.98)) if fastest else config.first_restitution
    factor = float(np.median([ratio for _, ratio in pairs])) if pairs else 1.0
    size = radii * factor
    normals = np.array([p.normal for p in planes]).reshape(-1, 3)
    offsets = np.array([p.offset + (1 - factor) * float(radii.mean()) for p in planes])
    limits = config.solver
    return CollisionWorld(
        size, size**3, np.where(is_static, 0.0, 1.0), ~is_shadow, gravity,
        config.first_drag, config.first_friction, restitution, normals, offsets, np.full(len(planes), restitution),
        limits.settling_time, limits.level_slope, limits.search_step, limits.max_events,
    )  # fmt: skip


def _cuts(sampling: PathSampling, piecewise_paths: list[PiecewisePath], config: ImpactShootingConfig) -> np.ndarray:
    """`[S - 1]` times between segments: about evenly spaced, as far from velocity jumps as possible."""
    times = sampling.fine_times
    count = max(1, min(config.max_segments, round(len(times) / config.times_per_segment)))
    jump_times = np.concatenate([c.times for c in piecewise_paths] + [[-1.0]])
    length = (times[-1] - times[0]) / count
    cuts = []
    for middle in times[0] + length * np.arange(1, count):
        candidates = middle + length * np.linspace(-config.cut_range, config.cut_range, 13)
        cuts.append(candidates[np.abs(candidates[:, None] - jump_times).min(1).argmax()])
    return np.array(cuts)


def _impulses(sampling: PathSampling, piecewise_paths: list[PiecewisePath], cuts: np.ndarray) -> np.ndarray:
    """`[S - 1, K]`: the sums of all velocity jumps in each segment but the last."""
    edges = np.concatenate([[sampling.fine_times[0]], cuts])
    within = [(c.times >= a) & (c.times < b) for a, b in pairwise(edges) for c in piecewise_paths]
    sums = [
        float(np.linalg.norm(c.velocity_jumps[inside], axis=1).sum())
        for inside, c in zip(within, piecewise_paths * len(cuts))
    ]
    return np.array(sums).reshape(len(cuts), len(piecewise_paths))


def _starts(shooting: ImpactShooting, world: CollisionWorld, piecewise_paths: list[PiecewisePath]) -> np.ndarray:
    """Initial guesses of the states `[S, K, WIDTH]`: positions and velocities of the fitted parabolas, spins as the
    impacts of the segments before produce them."""
    spins, starts = np.zeros((len(piecewise_paths), 3)), []
    for index, time in enumerate(shooting.edges[:-1]):
        positions = np.array([c.at(np.array([time]))[0] for c in piecewise_paths])
        start = np.concatenate([positions, np.array([c.rate(time) for c in piecewise_paths]), spins], axis=1)
        starts.append(start)
        spins = shooting.segment(world, index, start)[-1][:, 6:]
    return np.array(starts)
