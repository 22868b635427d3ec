"""Balls that collide, made to follow what was seen: multiple shooting (Bock and Plitt 1984) with loose joints.

The window is cut into short stretches. Constants, and the state at the beginning of each stretch, are found by robust
least squares (Levenberg and Marquardt, Huber's weights). From stretch to stretch the state may jump a little: no real
impact loses exactly the share that the law says, a chain of impacts multiplies each error, and one path through all of
them would rather bend the constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from foreseen.dynamics.collisions import CollisionWorld, roll_out
from foreseen.dynamics.piecewise_paths import PathSampling

SEGMENT_TIMES = 6
"""Times of what was seen in a stretch, about."""
MAX_SEGMENTS = 20
ITERATIONS = 25
CONVERGENCE = 1e-3
"""Improvement, as a share, below which rounds end."""
HUBER_DEVIATIONS = 2.0
"""So many deviations count in full; more of them by their square root."""
JOINT_SCALE, JOINT_FLOOR = 0.05, 0.005
"""How much the velocity may jump from stretch to stretch, over all the pushes that the body got between, and over the
usual velocity."""
FIRST_SPIN_SCALE = 0.5
"""First spins, as the speed of the surface over the usual velocity."""
RIGHT_ANGLE_SCALE = 0.005
"""Deviation [rad] of walls from right angles with one another and with gravity, where they are nearly so."""
NEARLY_RIGHT = 0.35


@dataclass(frozen=True)
class TypicalScales:
    """Usual sizes: of a place's error, a velocity, a radius."""

    noise: float
    velocity: float
    radius: float


@dataclass(frozen=True)
class ParameterPrior:
    """What constants usually deviate by from what they are thought to be.

    Attributes:
        drag: from none [1/window].
        friction, restitution: what it is thought to be, and the deviation.
        bounce: of a wall's restitution from that of two balls.
        common, radius, mass: logarithms: of the factor of all radii, of each radius, of each density.
        offset: of a wall, in radii.
    """

    drag: float = 0.4
    friction: tuple[float, float] = (0.25, 0.25)
    restitution: tuple[float, float] = (0.7, 0.3)
    bounce: float = 0.07
    common: float = 0.2
    radius: float = 0.04
    mass: float = 0.25
    offset: float = 0.5


class WorldParameters:
    """A world as a vector of deviations from a first guess."""

    def __init__(self, guess: CollisionWorld, sizes: TypicalScales) -> None:
        self.initial_guess, self.sizes = guess, sizes
        self.balls, self.walls = len(guess.radii), len(guess.offsets)
        self.tangents = np.array([np.linalg.svd(n[None])[2][1:] for n in guess.normals]).reshape(-1, 2, 3)
        self.size = 7 + 2 * self.balls + 4 * self.walls
        self.gravity_scale = max(float(np.linalg.norm(guess.gravity)), sizes.velocity)
        self.first = np.zeros(self.size)
        self.first[3] = np.sqrt(guess.drag)

    def world(self, theta: np.ndarray) -> CollisionWorld:
        """The world that a vector `[size]` means."""
        g, k, w = self.initial_guess, self.balls, self.walls
        own, heavy = theta[7 : 7 + k], theta[7 + k : 7 + 2 * k]
        tilt, offset, bounce = np.split(theta[7 + 2 * k :], [2 * w, 3 * w])
        normals = g.normals + np.einsum("wi,wij->wj", tilt.reshape(w, 2), self.tangents)
        radii = g.radii * np.exp(theta[6] + own)
        return g._replace(
            gravity=g.gravity + self.gravity_scale * theta[:3],
            drag=float(theta[3] ** 2),
            friction=float(np.clip(g.friction + theta[4], 0, 2)),
            restitution=float(np.clip(g.restitution + theta[5], 0.02, 1)),
            radii=radii,
            masses=(g.radii * np.exp(own)) ** 3 * np.exp(heavy),
            normals=normals / np.linalg.norm(normals, axis=1, keepdims=True),
            offsets=g.offsets + self.sizes.radius * offset,
            bounces=np.clip(g.bounces + bounce, 0.02, 1),
        )

    def prior_residuals(self, theta: np.ndarray) -> np.ndarray:
        """Deviations from what is thought of constants, each over its usual size."""
        g, k, w, typical = self.initial_guess, self.balls, self.walls, ParameterPrior()
        offset, bounce = np.split(theta[7 + 2 * k + 2 * w :], 2)
        friction, restitution = g.friction + theta[4], g.restitution + theta[5]
        terms = [
            theta[3:4] ** 2 / typical.drag,
            [
                (friction - typical.friction[0]) / typical.friction[1],
                (restitution - typical.restitution[0]) / typical.restitution[1],
            ],
            (g.bounces + bounce - restitution) / typical.bounce,
            theta[6:7] / typical.common,
            theta[7 : 7 + k] / typical.radius,
            theta[7 + k : 7 + 2 * k] / typical.mass,
            offset / typical.offset,
            self._angles(self.world(theta)) / RIGHT_ANGLE_SCALE,
        ]
        return np.concatenate([np.asarray(t, float) for t in terms])

    def _angles(self, world: CollisionWorld) -> np.ndarray:
        """Cosines, or sines, of angles that are nearly right or none in the guess."""

        def directions(world: CollisionWorld) -> np.ndarray:
            size = float(np.linalg.norm(world.gravity))
            return np.concatenate([world.normals, world.gravity[None] / size]) if size else world.normals

        before, now = directions(self.initial_guess), directions(world)
        rows, columns = np.triu_indices(len(before), 1)
        first = before[rows] * before[columns]
        cosine = first.sum(1)
        square, flat = (
            np.abs(cosine) < NEARLY_RIGHT,
            np.linalg.norm(np.cross(before[rows], before[columns]), axis=1) < NEARLY_RIGHT,
        )
        a, b = now[rows], now[columns]
        return np.concatenate([(a * b).sum(1)[square], np.cross(a, b)[flat].ravel()])


class MultipleShooting:
    """Stretches of paths `[N, K, 3]` that were seen, and how well worlds and states follow them.

    Args:
        cuts: `[S - 1]` times between stretches.
        pushes: `[S - 1, K]`, by how much impacts change velocities in each stretch but the last, about.
        weigh: `[K]`, how much bodies count.
    """

    def __init__(
        self,
        seen: PathSampling,
        paths: np.ndarray,
        cuts: np.ndarray,
        impulses: np.ndarray,
        constants: WorldParameters,
        weigh: np.ndarray,
    ) -> None:
        self.path_sampling, self.paths, self.constants = seen, paths, constants
        self.edges = np.concatenate([[seen.fine_times[0]], cuts, [seen.fine_times[-1]]])
        at = np.searchsorted(seen.fine_times, self.edges)
        at[-1] = len(seen.fine_times)
        self.rows = [slice(int(a), int(b)) for a, b in pairwise(at)]
        sizes = constants.sizes
        self.weight = weigh[None, :, None] * (seen.degrees_of_freedom / len(paths)) ** 0.5 / sizes.noise
        jump = JOINT_SCALE * impulses + JOINT_FLOOR * sizes.velocity
        parts = [np.full_like(jump, 0.5 * sizes.noise), jump, 3 * jump / sizes.radius]
        self.joint_scale = np.repeat(np.stack(parts, axis=-1), 3, axis=-1)

    def segment(self, world: CollisionWorld, index: int, start: np.ndarray) -> np.ndarray:
        """States at the fine times of a stretch, and at its end: `[m + 1, K, WIDTH]`."""
        times = np.append(self.path_sampling.fine_times[self.rows[index]], self.edges[index + 1]) - self.edges[index]
        return np.asarray(roll_out(start, np.maximum(times, 0.0), world)[0])

    def residuals(self, theta: np.ndarray, starts: np.ndarray, solved: list[np.ndarray]) -> list[np.ndarray]:
        """Of places `[N, K, 3]`, joints `[S - 1, K, WIDTH]`, first spins and constants `[D]`."""
        path_residuals = self.path_residuals(solved) * self.weight
        ends = np.array([one[-1] for one in solved[:-1]]).reshape(-1, *starts.shape[1:])
        joints = (starts[1:] - ends) / self.joint_scale
        spins = starts[0, :, 6:] * self.constants.sizes.radius / (FIRST_SPIN_SCALE * self.constants.sizes.velocity)
        return [path_residuals, joints, np.concatenate([spins.ravel(), self.constants.prior_residuals(theta)])]

    def path_residuals(self, solved: list[np.ndarray]) -> np.ndarray:
        """What solutions leave of the paths, `[N, K, 3]`."""
        places = np.concatenate([one[:-1, :, :3] for one in solved])
        return np.asarray(np.einsum("nm,mkd->nkd", self.path_sampling.smoother, places) - self.paths)

    def solve(self, theta: np.ndarray, starts: np.ndarray) -> list[np.ndarray]:
        """All stretches."""
        world = self.constants.world(theta)
        return [self.segment(world, s, start) for s, start in enumerate(starts)]

    def at(self, theta: np.ndarray, starts: np.ndarray, time: float) -> np.ndarray:
        """The state `[K, WIDTH]` at a time."""
        index = int(np.searchsorted(self.edges[1:-1], time, side="right"))
        line = np.array([max(time - self.edges[index], 0.0)])
        return np.asarray(roll_out(starts[index], line, self.constants.world(theta))[0][0])

    def slopes(self, theta: np.ndarray, starts: np.ndarray, solved: list[np.ndarray]) -> np.ndarray:
        """How residuals change with constants and states, by differences: `[R, size + S K WIDTH]`."""
        here = np.concatenate([r.ravel() for r in self.residuals(theta, starts, solved)])
        columns, tiny = [], 1e-6
        for p in range(self.constants.size):
            moved = theta.copy()
            moved[p] += tiny
            there = self.residuals(moved, starts, self.solve(moved, starts))
            columns.append((np.concatenate([r.ravel() for r in there]) - here) / tiny)
        sizes = self.constants.sizes
        unit = np.repeat([sizes.radius, sizes.velocity, sizes.velocity / sizes.radius], 3)
        world, shapes = self.constants.world(theta), (self.paths.shape, (len(starts) - 1, *starts.shape[1:]))
        spin = sizes.radius / (FIRST_SPIN_SCALE * sizes.velocity)
        for s, k, i in np.ndindex(*starts.shape):
            moved = starts[s].copy()
            moved[k, i] += tiny * unit[i]
            change = (self.segment(world, s, moved) - solved[s]) / tiny
            path_residuals = (
                np.einsum("nm,mkd->nkd", self.path_sampling.smoother[:, self.rows[s]], change[:-1, :, :3]) * self.weight
            )
            joints, rest = np.zeros(shapes[1]), np.zeros(len(here) - path_residuals.size - int(np.prod(shapes[1])))
            if s < len(joints):
                joints[s] = -change[-1] / self.joint_scale[s]
            if s:
                joints[s - 1, k, i] += unit[i] / self.joint_scale[s - 1, k, i]
            elif i >= 6:
                rest[3 * k + i - 6] = spin * unit[i]
            columns.append(np.concatenate([path_residuals.ravel(), joints.ravel(), rest]))
        return np.stack(columns, axis=1)

    def fit(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Constants `[size]`, states `[S, K, WIDTH]` and their solutions, from first guesses of the states. Twice: with
        the constants of the first time, the second one ends elsewhere where the first got stuck."""
        once = self._fit(self.constants.first, starts)
        again = self._fit(once[1], starts)
        return min(once, again, key=lambda found: found[0])[1:]

    def _fit(self, theta: np.ndarray, starts: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, list[np.ndarray]]:
        damping = 1e-2
        sizes = self.constants.sizes
        unit = np.repeat([sizes.radius, sizes.velocity, sizes.velocity / sizes.radius], 3)
        solved = self.solve(theta, starts)
        cost, weights = _robust(self.residuals(theta, starts, solved))
        for _ in range(ITERATIONS):
            slopes = self.slopes(theta, starts, solved)
            here = np.concatenate([r.ravel() for r in self.residuals(theta, starts, solved)])
            gram, right = slopes.T @ (weights[:, None] * slopes), slopes.T @ (weights * here)
            before = cost
            while damping < 1e6:
                step = -np.linalg.solve(gram + damping * np.diag(gram.diagonal() + 1e-9), right)
                theta_, starts_ = theta + step[: len(theta)], starts + step[len(theta) :].reshape(starts.shape) * unit
                solved_ = self.solve(theta_, starts_)
                cost_, weights_ = _robust(self.residuals(theta_, starts_, solved_))
                if cost_ < cost:
                    theta, starts, solved, cost, weights = theta_, starts_, solved_, cost_, weights_
                    damping = max(damping / 5, 1e-8)
                    break
                damping *= 4
            if before - cost < CONVERGENCE * before:
                break
        return cost, theta, starts, solved


def _robust(residuals: list[np.ndarray]) -> tuple[float, np.ndarray]:
    """Huber's cost of places and joints, and the weights by which least squares would find it; constants count as they
    are."""
    cost, weights = 0.0, []
    for r in residuals[:2]:
        size = np.abs(r)
        inner = size <= HUBER_DEVIATIONS
        cost += float(np.where(inner, 0.5 * size**2, HUBER_DEVIATIONS * (size - 0.5 * HUBER_DEVIATIONS)).sum())
        weights.append((HUBER_DEVIATIONS / np.maximum(size, HUBER_DEVIATIONS)).ravel())
    cost += 0.5 * float(np.square(residuals[2]).sum())
    weights.append(np.ones(residuals[2].size))
    return cost, np.concatenate(weights)
