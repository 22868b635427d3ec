"""Paths in pieces: where a body that is otherwise under a constant acceleration was struck.

`x(t) = x0 + v0 t + a t^2 / 2 + sum_j d_j max(t - tau_j, 0)`: linear in all but the times tau_j of the kinks, which are
found greedily (orthogonal matching pursuit) and moved until none of them has a better place; how many there are is told
by the Bayesian information criterion. Paths that were smoothed before are met by the same model, smoothed likewise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GRID = 3
"""Times at which a kink is tried, for each time at which the path was seen."""
EDGE = 0.02
"""No kink is sought nearer to the window's ends, in windows."""
FLOOR = 1e-3
"""What is left of a path is of no account below this share of its extent."""
PRICE = 6.0
"""Of a kink: its three numbers, its time, and that it was chosen among many."""
SPANS = ((0.0, 0.4), (0.3, 0.7), (0.6, 1.0), (0.0, 1.0))
"""Parts of the window from which the acceleration is guessed."""
NEAR = 0.15
"""Guesses that differ by less than this share agree."""
KINDS = 2
"""So many groups of agreeing guesses are tried."""
RESTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Times from which a body may rest."""
PATIENCE = 3
"""No more kinks are tried where they cost so many kinks' price more than fewer did."""
ROUNDS = 2
"""How often each kink is moved to its best place after a new one came."""


@dataclass(frozen=True)
class Seen:
    """When paths were seen: at `times` `[N]`, as means, by `smoother` `[N, M]`, of places at the times `fine` `[M]`."""

    times: np.ndarray
    fine: np.ndarray
    smoother: np.ndarray

    @property
    def freedom(self) -> int:
        """How many of the N times tell something of their own."""
        return int(np.linalg.matrix_rank(self.smoother, tol=1e-6 * len(self.fine)))

    def between(self, low: float, high: float) -> Seen:
        """What is told by the times from `low` to `high`."""
        known = (self.times >= low) & (self.times <= high)
        return Seen(self.times[known], self.fine, self.smoother[known])


@dataclass(frozen=True)
class Course:
    """One body's path in pieces.

    Attributes:
        place, velocity, acceleration: `[3]` at time 0.
        rest: from when on it is under no acceleration any more.
        times: `[J]` of the kinks, ascending; jumps: `[J, 3]` of the velocity.
        left: `[N, 3]`, what the course leaves of the path that was seen.
        cost: Bayesian information criterion: the lower the better.
    """

    place: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    rest: float
    times: np.ndarray
    jumps: np.ndarray
    left: np.ndarray
    cost: float

    def at(self, times: np.ndarray) -> np.ndarray:
        """Places `[T, 3]`."""
        since = np.maximum(times[:, None] - self.times, 0.0)
        t = times[:, None]
        pulled = 0.5 * t**2 - 0.5 * np.maximum(t - self.rest, 0.0) ** 2
        return self.place + self.velocity * t + self.acceleration * pulled + since @ self.jumps

    def rate(self, time: float, after: bool = True) -> np.ndarray:
        """Velocity `[3]` at a time; where that is a kink's, after it or before."""
        passed = self.times <= time if after else self.times < time
        return self.velocity + self.acceleration * min(time, self.rest) + self.jumps[passed].sum(0)


def course(seen: Seen, path: np.ndarray, acceleration: np.ndarray | None, rest: float, most: int) -> Course:
    """The course that follows `path` `[N, 3]` best for what its kinks cost; `most` of them at most. Where no
    acceleration `[3]` is given, it is found; it ends at the time `rest`."""
    t = seen.fine[:, None]
    pulled = 0.5 * t**2 - 0.5 * np.maximum(t - rest, 0.0) ** 2
    smooth = [np.ones_like(t), t] + ([pulled] if acceleration is None else [])
    base = seen.smoother @ np.concatenate(smooth, axis=1)
    wanted = path if acceleration is None else path - seen.smoother @ (pulled * acceleration)
    grid = np.linspace(EDGE, 1 - EDGE, GRID * len(seen.times))
    grid = grid[(grid > seen.times[0] + EDGE) & (grid < seen.times[-1] - EDGE)]
    columns = seen.smoother @ np.maximum(t - grid, 0.0)
    floor = path.size * (FLOOR * np.ptp(path, axis=0).max()) ** 2 + 1e-300
    freedom = 3 * min(seen.freedom, len(path))
    chosen: list[int] = []
    found: list[tuple[float, list[int]]] = []
    for count in range(most + 1):
        if count:
            chosen = _moved(base, columns, wanted, [*chosen, _best(base, columns, wanted, chosen)])
        left = float(np.square(_left(base, columns, wanted, chosen)).sum())
        cost = freedom * np.log((left + floor) / path.size) + PRICE * np.log(freedom) * count
        found.append((cost, chosen))
        hopeless = cost > min(one[0] for one in found) + PATIENCE * PRICE * np.log(freedom)
        if left < 0.1 * floor or 4 * (count + 2) > freedom or hopeless:
            break
    cost, chosen = min(found, key=lambda one: one[0])
    chosen = sorted(chosen)
    basis = np.concatenate([base, columns[:, chosen]], axis=1)
    numbers = np.linalg.lstsq(basis, wanted, rcond=None)[0]
    own = numbers[2] if acceleration is None else acceleration
    rest_of = wanted - basis @ numbers
    return Course(numbers[0], numbers[1], own, rest, grid[chosen], numbers[base.shape[1] :], rest_of, float(cost))


def gravity(seen: Seen, paths: np.ndarray, most: int) -> tuple[np.ndarray, list[Course]]:
    """The acceleration `[3]` that all of `paths` `[N, K, 3]` share, save where they rest, and the courses under it."""
    guesses = []
    for low, high in SPANS:
        part = seen.between(low, high)
        few = max(1, round((high - low) * most))
        here = (seen.times >= low) & (seen.times <= high)
        for k in range(paths.shape[1]):
            guesses.append(course(part, paths[here, k], None, 1.0, few).acceleration)
    best: tuple[float, np.ndarray, list[Course]] | None = None
    for guess in [np.zeros(3), *_agreed(np.array(guesses))]:
        courses = [_resting(seen, paths[:, k], guess, most) for k in range(paths.shape[1])]
        total = sum(one.cost for one in courses)
        if best is None or total < best[0]:
            best = total, guess, courses
    assert best is not None
    return best[1], best[2]


def _agreed(guesses: np.ndarray) -> list[np.ndarray]:
    """Of accelerations `[G, 3]` those that most others agree with, one of each kind."""
    sizes = np.linalg.norm(guesses, axis=1)
    apart = np.linalg.norm(guesses[:, None] - guesses[None], axis=-1)
    near = apart < NEAR * np.maximum(sizes[:, None], sizes)
    found: list[np.ndarray] = []
    for _ in range(KINDS):
        votes = near.sum(1)
        if votes.max() == 0:
            break
        members = near[votes.argmax()]
        found.append(np.median(guesses[members], axis=0))
        near[members], near[:, members] = False, False
    return found


def _resting(seen: Seen, path: np.ndarray, acceleration: np.ndarray, most: int) -> Course:
    """Under an acceleration until the body comes to rest on something, at the best time for that."""
    if not acceleration.any():
        return course(seen, path, acceleration, 1.0, most)
    tried = {rest: course(seen, path, acceleration, rest, most) for rest in RESTS}
    for step in (0.125, 0.0625):
        middle = min(tried, key=lambda rest: tried[rest].cost)
        for rest in (middle - step, middle + step):
            if 0 < rest < 1:
                tried[rest] = course(seen, path, acceleration, rest, most)
    return min(tried.values(), key=lambda one: one.cost)


def _left(base: np.ndarray, columns: np.ndarray, wanted: np.ndarray, chosen: list[int]) -> np.ndarray:
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
    for _ in range(ROUNDS):
        before = list(chosen)
        for k in range(len(chosen)):
            others = chosen[:k] + chosen[k + 1 :]
            chosen = [*others[:k], _best(base, columns, wanted, others), *others[k:]]
        if sorted(before) == sorted(chosen):
            break
    return chosen
