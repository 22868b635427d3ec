"""Paths in pieces: where a body that is otherwise under a constant acceleration was struck.

`x(t) = x0 + v0 t + a t^2 / 2 + sum_j d_j max(t - tau_j, 0)`: linear in all but the times tau_j of the kinks, which are
found greedily (orthogonal matching pursuit) and moved until none of them has a better place; how many there are is told
by the Bayesian information criterion. Paths that were smoothed before are met by the same model, smoothed likewise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TRIALS_PER_TIME = 3
"""Times at which a kink is tried, for each time at which the path was seen."""
END_MARGIN = 0.02
"""No kink is sought nearer to the window's ends, in windows."""
NEGLIGIBLE_RESIDUAL = 1e-3
"""What is left of a path is of no account below this share of its extent."""
JUMP_PENALTY = 6.0
"""Of a kink: its three numbers, its time, and that it was chosen among many."""
GUESS_SPANS = ((0.0, 0.4), (0.3, 0.7), (0.6, 1.0), (0.0, 1.0))
"""Parts of the window from which the acceleration is guessed."""
AGREEMENT_SHARE = 0.15
"""Guesses that differ by less than this share agree."""
NUM_GUESSES = 2
"""So many groups of agreeing guesses are tried."""
REST_TIMES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Times from which a body may rest."""
PATIENCE = 3
"""No more kinks are tried where they cost so many kinks' price more than fewer did."""
ITERATIONS = 2
"""How often each kink is moved to its best place after a new one came."""


@dataclass(frozen=True)
class PathSampling:
    """When paths were seen: at `times` `[N]`, as means, by `smoother` `[N, M]`, of places at the times `fine` `[M]`."""

    times: np.ndarray
    fine_times: np.ndarray
    smoother: np.ndarray

    @property
    def degrees_of_freedom(self) -> int:
        """How many of the N times tell something of their own."""
        return int(np.linalg.matrix_rank(self.smoother, tol=1e-6 * len(self.fine_times)))

    def between(self, low: float, high: float) -> PathSampling:
        """What is told by the times from `low` to `high`."""
        known = (self.times >= low) & (self.times <= high)
        return PathSampling(self.times[known], self.fine_times, self.smoother[known])


@dataclass(frozen=True)
class PiecewisePath:
    """One body's path in pieces.

    Attributes:
        place, velocity, acceleration: `[3]` at time 0.
        rest: from when on it is under no acceleration any more.
        times: `[J]` of the kinks, ascending; jumps: `[J, 3]` of the velocity.
        left: `[N, 3]`, what the course leaves of the path that was seen.
        cost: Bayesian information criterion: the lower the better.
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
        """Places `[T, 3]`."""
        since = np.maximum(times[:, None] - self.times, 0.0)
        t = times[:, None]
        pulled = 0.5 * t**2 - 0.5 * np.maximum(t - self.rest_time, 0.0) ** 2
        return self.position + self.velocity * t + self.acceleration * pulled + since @ self.velocity_jumps

    def rate(self, time: float, after: bool = True) -> np.ndarray:
        """Velocity `[3]` at a time; where that is a kink's, after it or before."""
        passed = self.times <= time if after else self.times < time
        return self.velocity + self.acceleration * min(time, self.rest_time) + self.velocity_jumps[passed].sum(0)


def fit_piecewise_path(
    path_sampling: PathSampling, path: np.ndarray, acceleration: np.ndarray | None, rest: float, maximum: int
) -> PiecewisePath:
    """The course that follows `path` `[N, 3]` best for what its kinks cost; `maximum` of them at most. Where no
    acceleration `[3]` is given, it is found; it ends at the time `rest`."""
    t = path_sampling.fine_times[:, None]
    pulled = 0.5 * t**2 - 0.5 * np.maximum(t - rest, 0.0) ** 2
    smooth = [np.ones_like(t), t] + ([pulled] if acceleration is None else [])
    base = path_sampling.smoother @ np.concatenate(smooth, axis=1)
    wanted = path if acceleration is None else path - path_sampling.smoother @ (pulled * acceleration)
    grid = np.linspace(END_MARGIN, 1 - END_MARGIN, TRIALS_PER_TIME * len(path_sampling.times))
    grid = grid[(grid > path_sampling.times[0] + END_MARGIN) & (grid < path_sampling.times[-1] - END_MARGIN)]
    columns = path_sampling.smoother @ np.maximum(t - grid, 0.0)
    floor = path.size * (NEGLIGIBLE_RESIDUAL * np.ptp(path, axis=0).max()) ** 2 + 1e-300
    degrees_of_freedom = 3 * min(path_sampling.degrees_of_freedom, len(path))
    chosen: list[int] = []
    found: list[tuple[float, list[int]]] = []
    for count in range(maximum + 1):
        if count:
            chosen = _moved(base, columns, wanted, [*chosen, _best(base, columns, wanted, chosen)])
        left = float(np.square(_residuals(base, columns, wanted, chosen)).sum())
        cost = (
            degrees_of_freedom * np.log((left + floor) / path.size) + JUMP_PENALTY * np.log(degrees_of_freedom) * count
        )
        found.append((cost, chosen))
        hopeless = cost > min(one[0] for one in found) + PATIENCE * JUMP_PENALTY * np.log(degrees_of_freedom)
        if left < 0.1 * floor or 4 * (count + 2) > degrees_of_freedom or hopeless:
            break
    cost, chosen = min(found, key=lambda one: one[0])
    chosen = sorted(chosen)
    basis = np.concatenate([base, columns[:, chosen]], axis=1)
    numbers = np.linalg.lstsq(basis, wanted, rcond=None)[0]
    own = numbers[2] if acceleration is None else acceleration
    rest_of = wanted - basis @ numbers
    return PiecewisePath(
        numbers[0], numbers[1], own, rest, grid[chosen], numbers[base.shape[1] :], rest_of, float(cost)
    )


def find_gravity(seen: PathSampling, paths: np.ndarray, maximum: int) -> tuple[np.ndarray, list[PiecewisePath]]:
    """The acceleration `[3]` that all of `paths` `[N, K, 3]` share, save where they rest, and the courses under it."""
    guesses = []
    for low, high in GUESS_SPANS:
        part = seen.between(low, high)
        few = max(1, round((high - low) * maximum))
        here = (seen.times >= low) & (seen.times <= high)
        for k in range(paths.shape[1]):
            guesses.append(fit_piecewise_path(part, paths[here, k], None, 1.0, few).acceleration)
    best: tuple[float, np.ndarray, list[PiecewisePath]] | None = None
    for guess in [np.zeros(3), *_agreeing(np.array(guesses))]:
        piecewise_paths = [_resting(seen, paths[:, k], guess, maximum) for k in range(paths.shape[1])]
        total = sum(one.penalized_cost for one in piecewise_paths)
        if best is None or total < best[0]:
            best = total, guess, piecewise_paths
    assert best is not None
    return best[1], best[2]


def _agreeing(guesses: np.ndarray) -> list[np.ndarray]:
    """Of accelerations `[G, 3]` those that most others agree with, one of each kind."""
    sizes = np.linalg.norm(guesses, axis=1)
    apart = np.linalg.norm(guesses[:, None] - guesses[None], axis=-1)
    near = apart < AGREEMENT_SHARE * np.maximum(sizes[:, None], sizes)
    found: list[np.ndarray] = []
    for _ in range(NUM_GUESSES):
        votes = near.sum(1)
        if votes.max() == 0:
            break
        members = near[votes.argmax()]
        found.append(np.median(guesses[members], axis=0))
        near[members], near[:, members] = False, False
    return found


def _resting(seen: PathSampling, path: np.ndarray, acceleration: np.ndarray, maximum: int) -> PiecewisePath:
    """Under an acceleration until the body comes to rest on something, at the best time for that."""
    if not acceleration.any():
        return fit_piecewise_path(seen, path, acceleration, 1.0, maximum)
    tried = {rest: fit_piecewise_path(seen, path, acceleration, rest, maximum) for rest in REST_TIMES}
    for step in (0.125, 0.0625):
        middle = min(tried, key=lambda rest: tried[rest].penalized_cost)
        for rest in (middle - step, middle + step):
            if 0 < rest < 1:
                tried[rest] = fit_piecewise_path(seen, path, acceleration, rest, maximum)
    return min(tried.values(), key=lambda one: one.penalized_cost)


def _residuals(base: np.ndarray, columns: np.ndarray, wanted: np.ndarray, chosen: list[int]) -> np.ndarray:
    basis = np.linalg.qr(np.concatenate([base, columns[:, chosen]], axis=1))[0]
    return np.asarray(wanted - basis @ (basis.T @ wanted))


def _best(base: np.ndarray, columns: np.ndarray, wanted: np.ndarray, chosen: list[int]) -> int:
    """The kink that takes most of what the chosen ones leave."""
    basis = np.linalg.qr(np.concatenate([base, columns[:, chosen]], axis=1))[0]
    rest = wanted - basis @ (basis.T @ wanted)
    own = columns - basis @ (basis.T @ columns)
    size = np.square(own).sum(0)
    gain = np.square(own.T @ rest).sum(1) / np.maximum(size, 1e-30)
    # What is hardly more than a sum of the others says nothing of its own.
    gain[size < 1e-4 * np.square(columns).sum(0).mean() / len(columns)] = -1.0
    for index in chosen:
        gain[max(0, index - 1) : index + 2] = -1.0
    return int(gain.argmax())


def _moved(base: np.ndarray, columns: np.ndarray, wanted: np.ndarray, chosen: list[int]) -> list[int]:
    """Each of the kinks at its best place among the others, in turn."""
    for _ in range(ITERATIONS):
        before = list(chosen)
        for k in range(len(chosen)):
            others = chosen[:k] + chosen[k + 1 :]
            chosen = [*others[:k], _best(base, columns, wanted, others), *others[k:]]
        if sorted(before) == sorted(chosen):
            break
    return chosen
