"""Multiple shooting with colliding balls (Bock and Plitt 1984), with loose joints.

The window is cut into short segments. The constants of the world, and the state at the start of each segment, are found
by robust least squares (Levenberg-Marquardt with Huber's weights). The state may jump a little between segments: no
real impact loses exactly the same share of its speed, a chain of impacts multiplies each error, and a single path
through all of them would distort the constants instead.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from foreseen.dynamics.collisions import CollisionWorld, roll_out
from foreseen.dynamics.impact_parameters import WorldParameters
from foreseen.dynamics.impacts_config import ImpactShootingConfig
from foreseen.dynamics.piecewise_paths import PathSampling


class ImpactShooting:
    """Segments of paths `[N, K, 3]`, and how well worlds and states follow them.

    Args:
        path_sampling: how the paths were sampled.
        cuts: `[S - 1]` times between segments.
        impulses: `[S - 1, K]`, approximate sums of the velocity changes by impacts in each segment but the last.
        constants: the unknown constants of the world.
        body_weights: `[K]` weights of the bodies' residuals.
    """

    def __init__(
        self,
        path_sampling: PathSampling,
        paths: np.ndarray,
        cuts: np.ndarray,
        impulses: np.ndarray,
        constants: WorldParameters,
        body_weights: np.ndarray,
        config: ImpactShootingConfig,
    ) -> None:
        self.path_sampling, self.paths, self.constants, self.config = path_sampling, paths, constants, config
        fine_times = path_sampling.fine_times
        self.edges = np.concatenate([[fine_times[0]], cuts, [fine_times[-1]]])
        first_rows = np.searchsorted(fine_times, self.edges)
        first_rows[-1] = len(fine_times)
        self.rows = [slice(int(a), int(b)) for a, b in pairwise(first_rows)]
        scales = constants.scales
        independent = (path_sampling.degrees_of_freedom / len(paths)) ** 0.5
        self.weight = body_weights[None, :, None] * independent / scales.noise
        jump = config.joint_scale * impulses + config.joint_floor * scales.velocity
        position = np.full_like(jump, config.joint_noise * scales.noise)
        joint_scales = [position, jump, config.joint_spin * jump / scales.radius]
        self.joint_scale = np.repeat(np.stack(joint_scales, axis=-1), 3, axis=-1)

    def segment(self, world: CollisionWorld, index: int, start: np.ndarray) -> np.ndarray:
        """States at the fine times of a segment, and at its end: `[m + 1, K, WIDTH]`."""
        times = np.append(self.path_sampling.fine_times[self.rows[index]], self.edges[index + 1]) - self.edges[index]
        return np.asarray(roll_out(start, np.maximum(times, 0.0), world)[0])

    def residuals(self, theta: np.ndarray, starts: np.ndarray, solved: list[np.ndarray]) -> list[np.ndarray]:
        """Residuals over their standard deviations: of positions `[N, K, 3]`, of joints `[S - 1, K, WIDTH]`, and of the
        first spins and the constants together `[D]`."""
        path_residuals = self.path_residuals(solved) * self.weight
        ends = np.array([states[-1] for states in solved[:-1]]).reshape(-1, *starts.shape[1:])
        joints = (starts[1:] - ends) / self.joint_scale
        scales = self.constants.scales
        spins = starts[0, :, 6:] * scales.radius / (self.config.first_spin_scale * scales.velocity)
        return [path_residuals, joints, np.concatenate([spins.ravel(), self.constants.prior_residuals(theta)])]

    def path_residuals(self, solved: list[np.ndarray]) -> np.ndarray:
        """Solutions less paths, `[N, K, 3]`."""
        positions = np.concatenate([states[:-1, :, :3] for states in solved])
        return np.asarray(np.einsum("nm,mkd->nkd", self.path_sampling.smoother, positions) - self.paths)

    def solve(self, theta: np.ndarray, starts: np.ndarray) -> list[np.ndarray]:
        """The solutions of all segments."""
        world = self.constants.world(theta)
        return [self.segment(world, s, start) for s, start in enumerate(starts)]

    def at(self, theta: np.ndarray, starts: np.ndarray, time: float) -> np.ndarray:
        """The state `[K, WIDTH]` at a time."""
        index = int(np.searchsorted(self.edges[1:-1], time, side="right"))
        times = np.array([max(time - self.edges[index], 0.0)])
        return np.asarray(roll_out(starts[index], times, self.constants.world(theta))[0][0])

    def jacobian(self, theta: np.ndarray, starts: np.ndarray, solved: list[np.ndarray]) -> np.ndarray:
        """`[R, size + S K WIDTH]`: derivatives of the residuals with respect to constants and states, by finite
        differences."""
        residuals = np.concatenate([r.ravel() for r in self.residuals(theta, starts, solved)])
        columns, epsilon = [], 1e-6
        for p in range(self.constants.size):
            shifted = theta.copy()
            shifted[p] += epsilon
            shifted_residuals = self.residuals(shifted, starts, self.solve(shifted, starts))
            columns.append((np.concatenate([r.ravel() for r in shifted_residuals]) - residuals) / epsilon)
        columns.extend(self._state_columns(theta, starts, solved, epsilon, len(residuals)))
        return np.stack(columns, axis=1)

    def _state_columns(
        self, theta: np.ndarray, starts: np.ndarray, solved: list[np.ndarray], epsilon: float, count: int
    ) -> list[np.ndarray]:
        """Derivatives `[R]` (R = `count`) with respect to each component of the states. A state changes only its
        segment and the joints at the segment's two ends."""
        scales, unit, columns = self.constants.scales, self._state_units(), []
        world, joints_shape = self.constants.world(theta), (len(starts) - 1, *starts.shape[1:])
        spin = scales.radius / (self.config.first_spin_scale * scales.velocity)
        for s, k, i in np.ndindex(*starts.shape):
            shifted = starts[s].copy()
            shifted[k, i] += epsilon * unit[i]
            change = (self.segment(world, s, shifted) - solved[s]) / epsilon
            smoother = self.path_sampling.smoother[:, self.rows[s]]
            path_residuals = np.einsum("nm,mkd->nkd", smoother, change[:-1, :, :3]) * self.weight
            joints = np.zeros(joints_shape)
            priors = np.zeros(count - path_residuals.size - joints.size)
            if s < len(joints):
                joints[s] = -change[-1] / self.joint_scale[s]
            if s:
                joints[s - 1, k, i] += unit[i] / self.joint_scale[s - 1, k, i]
            elif i >= 6:
                priors[3 * k + i - 6] = spin * unit[i]
            columns.append(np.concatenate([path_residuals.ravel(), joints.ravel(), priors]))
        return columns

    def _state_units(self) -> np.ndarray:
        """`[WIDTH]`: typical sizes of the components of a state: position, velocity, spin."""
        scales = self.constants.scales
        return np.repeat([scales.radius, scales.velocity, scales.velocity / scales.radius], 3)

    def fit(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Constants `[size]`, states `[S, K, WIDTH]` and their solutions, from initial guesses of the states. The
        second fit, from the constants of the first, often leaves a local minimum; the better one is returned."""
        first_fit = self._fit(self.constants.first, starts)
        second_fit = self._fit(first_fit[1], starts)
        return min(first_fit, second_fit, key=lambda fit: fit[0])[1:]

    def _fit(self, theta: np.ndarray, starts: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, list[np.ndarray]]:
        """Levenberg-Marquardt iterations: the final cost, constants, states and solutions."""
        damping, unit, huber = 1e-2, self._state_units(), self.config.huber_deviations
        solved = self.solve(theta, starts)
        cost, weights = _robust_cost(self.residuals(theta, starts, solved), huber)
        for _ in range(self.config.iterations):
            jacobian = self.jacobian(theta, starts, solved)
            residuals = np.concatenate([r.ravel() for r in self.residuals(theta, starts, solved)])
            gram, gradient = jacobian.T @ (weights[:, None] * jacobian), jacobian.T @ (weights * residuals)
            before = cost
            while damping < 1e6:
                step = -np.linalg.solve(gram + damping * np.diag(gram.diagonal() + 1e-9), gradient)
                theta_, starts_ = theta + step[: len(theta)], starts + step[len(theta) :].reshape(starts.shape) * unit
                solved_ = self.solve(theta_, starts_)
                cost_, weights_ = _robust_cost(self.residuals(theta_, starts_, solved_), huber)
                if cost_ < cost:
                    theta, starts, solved, cost, weights = theta_, starts_, solved_, cost_, weights_
                    damping = max(damping / 5, 1e-8)
                    break
                damping *= 4
            if before - cost < self.config.tolerance * before:
                break
        return cost, theta, starts, solved


def _robust_cost(residuals: list[np.ndarray], huber: float) -> tuple[float, np.ndarray]:
    """Huber's cost of positions and joints, plus half the squares of the prior residuals; and the weights for which
    weighted least squares has the same gradient."""
    cost, weights = 0.0, []
    for r in residuals[:2]:
        size = np.abs(r)
        inner = size <= huber
        cost += float(np.where(inner, 0.5 * size**2, huber * (size - 0.5 * huber)).sum())
        weights.append((huber / np.maximum(size, huber)).ravel())
    cost += 0.5 * float(np.square(residuals[2]).sum())
    weights.append(np.ones(residuals[2].size))
    return cost, np.concatenate(weights)
