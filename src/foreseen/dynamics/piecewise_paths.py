"""Paths as parabolas with velocity jumps: a body under a constant acceleration that impacts interrupt.

`x(t) = x0 + v0 t + a t^2 / 2 + sum_j d_j max(t - tau_j, 0)` is linear in all but the times tau_j of the jumps. These
are found greedily (orthogonal matching pursuit) and then refined in turn; the Bayesian information criterion gives
their number. A path that was smoothed before is compared with the same model after the same smoothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foreseen.dynamics.impacts_config import PiecewisePathConfig


@dataclass(frozen=True)
class PathSampling:
    """How paths were sampled: a position at each of `times` `[N]` is a mean, with the weights `smoother` `[N, M]`, of
    true positions at `fine_times` `[M]`."""

    times: np.ndarray
    fine_times: np.ndarray
    smoother: np.ndarray

    @property
    def degrees_of_freedom(self) -> int:
        """Rank of the smoother: how many of the N positions are independent."""
        return int(np.linalg.matrix_rank(self.smoother, tol=1e-6 * len(self.fine_times)))

    def between(self, low: float, high: float) -> PathSampling:
        """Of the times from `low` to `high` alone."""
        inside = (self.times >= low) & (self.times <= high)
        return PathSampling(self.times[inside], self.fine_times, self.smoother[inside])


@dataclass(frozen=True)
class PiecewisePath:
    """A parabola with velocity jumps, fitted to one body's path.

    Attributes:
        position, velocity, acceleration: `[3]` at time 0.
        rest_time: from then on the acceleration is 0.
        times: `[J]` of the jumps, ascending; velocity_jumps: `[J, 3]`.
        residual: `[N, 3]`, the path less the fit.
        penalized_cost: Bayesian information criterion; lower is better.
    """

    position: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    rest_time: float
    times: np.ndarray
    velocity_jumps: np.ndarray
    residual: np.ndarray
    penalized_cost: float

    def at(self, times: np.ndarray) -> np.ndarray:
        """Positions `[T, 3]`."""
        since = np.maximum(times[:, None] - self.times, 0.0)
        t = times[:, None]
        pulled = 0.5 * t**2 - 0.5 * np.maximum(t - self.rest_time, 0.0) ** 2
        return self.position + self.velocity * t + self.acceleration * pulled + since @ self.velocity_jumps

    def rate(self, time: float, after: bool = True) -> np.ndarray:
        """Velocity `[3]` at a time; at the time of a jump, after it or before it."""
        passed = self.times <= time if after else self.times < time
        return self.velocity + self.acceleration * min(time, self.rest_time) + self.velocity_jumps[passed].sum(0)


def fit_piecewise_path(
    path_sampling: PathSampling,
    path: np.ndarray,
    acceleration: np.ndarray | None,
    rest_time: float,
    maximum: int,
    config: PiecewisePathConfig,
) -> PiecewisePath:
    """Fits `path` `[N, 3]` with at most `maximum` velocity jumps, as many as lower the penalised cost.

    Args:
        acceleration: `[3]`; None: it is fitted, too. It ends at `rest_time`.
    """
    t, margin = path_sampling.fine_times[:, None], config.end_margin
    fallen = 0.5 * t**2 - 0.5 * np.maximum(t - rest_time, 0.0) ** 2
    smooth = [np.ones_like(t), t] + ([fallen] if acceleration is None else [])
    base = path_sampling.smoother @ np.concatenate(smooth, axis=1)
    target = path if acceleration is None else path - path_sampling.smoother @ (fallen * acceleration)
    grid = np.linspace(margin, 1 - margin, config.trials_per_time * len(path_sampling.times))
    grid = grid[(grid > path_sampling.times[0] + margin) & (grid < path_sampling.times[-1] - margin)]
    columns = path_sampling.smoother @ np.maximum(t - grid, 0.0)
    degrees_of_freedom = 3 * min(path_sampling.degrees_of_freedom, len(path))
    floor = path.size * (config.negligible_residual * np.ptp(path, axis=0).max()) ** 2 + 1e-300
    cost, chosen = _choose_jumps(base, columns, target, floor, degrees_of_freedom, maximum, config)
    basis = np.concatenate([base, columns[:, chosen]], axis=1)
    solution = np.linalg.lstsq(basis, target, rcond=None)[0]
    position, velocity, jumps = solution[0], solution[1], solution[base.shape[1] :]
    if acceleration is None:
        acceleration = solution[2]
    residual = target - basis @ solution
    return PiecewisePath(position, velocity, acceleration, rest_time, grid[chosen], jumps, residual, cost)


def _choose_jumps(
    base: np.ndarray,
    columns: np.ndarray,
    target: np.ndarray,
    floor: float,
    degrees_of_freedom: int,
    maximum: int,
    config: PiecewisePathConfig,
) -> tuple[float, list[int]]:
    """The lowest Bayesian information criterion, and the candidate jumps (ascending indices of `columns` `[N, G]`) that
    reach it, beside the columns `base` `[N, B]` that are always used.

    Args:
        target: `[N, 3]`.
        floor: sum of squared residuals that counts as zero.
    """
    scale = np.log(degrees_of_freedom)
    chosen: list[int] = []
    tried: list[tuple[float, list[int]]] = []
    for count in range(maximum + 1):
        if count:
            chosen = [*chosen, _best_jump(base, columns, target, chosen)]
            chosen = _refined_jumps(base, columns, target, chosen, config.refinements)
        squared = float(np.square(_residuals(base, columns, target, chosen)).sum())
        cost = degrees_of_freedom * np.log((squared + floor) / target.size) + config.jump_penalty * scale * count
        tried.append((cost, chosen))
        too_costly = cost > min(cost for cost, _ in tried) + config.max_extra_cost * config.jump_penalty * scale
        # The second condition keeps about four degrees of freedom for each jump.
        if squared < 0.1 * floor or 4 * (count + 2) > degrees_of_freedom or too_costly:
            break
    cost, chosen = min(tried, key=lambda entry: entry[0])
    return float(cost), sorted(chosen)


def find_gravity(
    path_sampling: PathSampling, paths: np.ndarray, maximum: int, config: PiecewisePathConfig
) -> tuple[np.ndarray, list[PiecewisePath]]:
    """The acceleration `[3]` that all of `paths` `[N, K, 3]` share, except where they rest, and their fits with it."""
    guesses = []
    for low, high in config.guess_spans:
        part = path_sampling.between(low, high)
        few = max(1, round((high - low) * maximum))
        inside = (path_sampling.times >= low) & (path_sampling.times <= high)
        for k in range(paths.shape[1]):
            guesses.append(fit_piecewise_path(part, paths[inside, k], None, 1.0, few, config).acceleration)
    best: tuple[float, np.ndarray, list[PiecewisePath]] | None = None
    for guess in [np.zeros(3), *_agreeing(np.array(guesses), config)]:
        fits = [_fit_with_rest(path_sampling, paths[:, k], guess, maximum, config) for k in range(paths.shape[1])]
        total = sum(fit.penalized_cost for fit in fits)
        if best is None or total < best[0]:
            best = total, guess, fits
    assert best is not None
    return best[1], best[2]


def _agreeing(guesses: np.ndarray, config: PiecewisePathConfig) -> list[np.ndarray]:
    """Candidates for the common acceleration: medians of the largest groups of similar `guesses` `[G, 3]`."""
    sizes = np.linalg.norm(guesses, axis=1)
    distances = np.linalg.norm(guesses[:, None] - guesses[None], axis=-1)
    is_similar = distances < config.agreement * np.maximum(sizes[:, None], sizes)
    medians: list[np.ndarray] = []
    for _ in range(config.num_guesses):
        votes = is_similar.sum(1)
        if votes.max() == 0:
            break
        members = is_similar[votes.argmax()]
        medians.append(np.median(guesses[members], axis=0))
        is_similar[members], is_similar[:, members] = False, False
    return medians


def _fit_with_rest(
    path_sampling: PathSampling, path: np.ndarray, acceleration: np.ndarray, maximum: int, config: PiecewisePathConfig
) -> PiecewisePath:
    """The fit with an acceleration that becomes 0 at the time when the body comes to rest. The time with the lowest
    cost is chosen."""

    def fit(rest_time: float) -> PiecewisePath:
        return fit_piecewise_path(path_sampling, path, acceleration, rest_time, maximum, config)

    if not acceleration.any():
        return fit(1.0)
    fits = {rest_time: fit(rest_time) for rest_time in config.rest_times}
    for step in config.rest_time_steps:
        best_time = min(fits, key=lambda rest_time: fits[rest_time].penalized_cost)
        for rest_time in (best_time - step, best_time + step):
            if 0 < rest_time < 1:
                fits[rest_time] = fit(rest_time)
    return min(fits.values(), key=lambda fit: fit.penalized_cost)


def _residuals(base: np.ndarray, columns: np.ndarray, target: np.ndarray, chosen: list[int]) -> np.ndarray:
    basis = np.linalg.qr(np.concatenate([base, columns[:, chosen]], axis=1))[0]
    return np.asarray(target - basis @ (basis.T @ target))


def _best_jump(base: np.ndarray, columns: np.ndarray, target: np.ndarray, chosen: list[int]) -> int:
    """The candidate jump that lowers the residual of the chosen ones most."""
    basis = np.linalg.qr(np.concatenate([base, columns[:, chosen]], axis=1))[0]
    residual = target - basis @ (basis.T @ target)
    independent = columns - basis @ (basis.T @ columns)
    size = np.square(independent).sum(0)
    gain = np.square(independent.T @ residual).sum(1) / np.maximum(size, 1e-30)
    # A column that nearly is a sum of the chosen ones would only add rounding errors.
    gain[size < 1e-4 * np.square(columns).sum(0).mean() / len(columns)] = -1.0
    for index in chosen:
        gain[max(0, index - 1) : index + 2] = -1.0
    return int(gain.argmax())


def _refined_jumps(
    base: np.ndarray, columns: np.ndarray, target: np.ndarray, chosen: list[int], passes: int
) -> list[int]:
    """Moves each jump to its best time given the others, in turn."""
    for _ in range(passes):
        previous = list(chosen)
        for k in range(len(chosen)):
            others = chosen[:k] + chosen[k + 1 :]
            chosen = [*others[:k], _best_jump(base, columns, target, others), *others[k:]]
        if sorted(previous) == sorted(chosen):
            break
    return chosen
