"""Multiple shooting with a Gaussian posterior of the weights: fits the last layer of the ODE, and the initial states
of short segments, so that solutions follow the observed paths."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.stats import norm as normal
from scipy.stats import t as student
from torch import Tensor

from foreseen.dynamics.config import LearnedDynamicsConfig
from foreseen.dynamics.initial_states import fit_initial_states, solve_segments
from foreseen.dynamics.lagrangian import LagrangianODE
from foreseen.dynamics.sampled_paths import SampledPaths


@dataclass(frozen=True)
class WeightPosterior:
    """Posterior of the weights of the last layer, given the paths.

    Attributes:
        weights: `[C]`, the most likely ones.
        factor: `[C, D]`, a square root of the covariance: `weights + factor @ standard normal` is a sample.
    """

    weights: Tensor
    factor: Tensor


@dataclass(frozen=True)
class _ShootingTargets:
    """B observed segments of paths: the targets of the fit.

    Attributes:
        group: `[B]`, jackknife group of each segment; the jackknife leaves out one group at a time.
        raw: `[B, N, d]`, observed q, valid where `observed_mask` `[B, N]`.
        times: `[N]`, from the start of each segment.
        spacing: of the times.
        count: number of observed values.
    """

    group: Tensor
    raw: Tensor
    observed_mask: Tensor
    times: Tensor
    spacing: float
    count: int

    def solve(self, ode: LagrangianODE, state: Tensor) -> Tensor:
        """Solutions `[B, N, 2 d]` from states `[B, 2 d]`."""
        return solve_segments(ode, state, self.times, len(self.times) - 1)

    def error(self, path: Tensor) -> Tensor:
        """Sum of squared residuals of q."""
        return ((path[..., : self.raw.shape[-1]] - self.raw) * self.observed_mask[..., None]).square().sum()


@dataclass(frozen=True)
class _Trial:
    """One iterate: weights `[C]`, initial states `[B, 2 d]`, their solutions `[B, N, 2 d]`, and the sum of squared
    residuals."""

    weights: Tensor
    state: Tensor
    path: Tensor
    error: Tensor


@dataclass(frozen=True)
class _Precisions:
    """Precisions (inverse variances) of the prior of each weight, `alpha` `[C]`, and of the noise, `beta`. Weights
    without a penalty have no prior: their alpha is 0."""

    alpha: Tensor
    beta: Tensor

    @staticmethod
    def typical(penalties: Tensor, trial: _Trial, count: int) -> _Precisions:
        """The first estimate, from the variances of the trial's weights and residuals. `alpha` is proportional to
        `penalties` `[C]`."""
        weighted_norm = (penalties * trial.weights.square()).sum().clamp_min(1e-12)
        alpha = (penalties > 0).sum() / weighted_norm * penalties
        return _Precisions(alpha, count / trial.error.clamp_min(1e-12))

    def updated(self, gram: Tensor, trial: _Trial, count: int) -> _Precisions:
        """One fixed-point iteration of MacKay's evidence maximisation, with a separate prior for each weight (automatic
        relevance determination, MacKay 1994; Tipping 2001). Weights of hidden units that the paths do not need go to 0;
        otherwise they would distort the force where nothing was observed.

        Args:
            count: number of observed values minus the number of free components of the initial states.
        """
        has_prior = self.alpha > 0
        variance = torch.linalg.inv(self.beta * gram + torch.diag(self.alpha + 1e-12)).diagonal()
        well_determined = torch.where(has_prior, (1 - self.alpha * variance).clamp(1e-6, 1.0), 0.0)
        alpha = (well_determined / trial.weights.square().clamp_min(1e-14)).clamp(1e-12, 1e12)
        beta = max(count - float(well_determined.sum()), 1.0) / trial.error.clamp_min(1e-12)
        return _Precisions(torch.where(has_prior, alpha, 0.0), beta)

    def cost(self, trial: _Trial) -> Tensor:
        """Twice the negative logarithm of a trial's posterior density, up to a constant."""
        return self.beta * trial.error + (self.alpha * trial.weights.square()).sum()


@dataclass(frozen=True)
class _Linearization:
    """Residuals linearised around a trial. After a step they are: residual - `weight_jacobian` @ (step of the weights)
    - `state_basis @ state_triangle` @ (step of the initial state). The last product is a QR decomposition of the
    Jacobian with respect to the initial state of each segment.

    Attributes:
        weight_jacobian: `[B, K d, C]`, at the K times at which at least one segment was observed.
        state_basis, state_triangle: orthonormal `[B, K d, 2 d]`, and upper triangular `[B, 2 d, 2 d]`.
        state_residual: `[B, 2 d, 1]`, components of the residual along the basis.
        projected_jacobian, residual: `[B, K d, C]`, `[B, K d]`: Jacobian of the weights and residual, minus their
            components along the basis. This eliminates the initial states: they are optimal for any step of the
            weights.
        gram, rhs: `[C, C]`, `[C]`: normal equations of the projected Jacobian and residual.
    """

    weight_jacobian: Tensor
    state_basis: Tensor
    state_triangle: Tensor
    state_residual: Tensor
    projected_jacobian: Tensor
    residual: Tensor
    gram: Tensor
    rhs: Tensor

    @staticmethod
    def of(ode: LagrangianODE, targets: _ShootingTargets, path: Tensor) -> _Linearization:
        """Linearises around the solutions `path` `[B, N, 2 d]`."""
        size, is_needed = targets.raw.shape[-1], targets.observed_mask.any(0)
        mask = targets.observed_mask[:, is_needed, None]
        jacobian = _sensitivities(ode, path, targets.spacing, is_needed) * mask[..., None]
        residual = ((targets.raw - path[..., :size])[:, is_needed] * mask).flatten(1)
        state_jacobian, weight_jacobian = jacobian.flatten(1, 2).tensor_split([2 * size], dim=-1)
        basis, triangle = torch.linalg.qr(state_jacobian)
        projected = weight_jacobian - basis @ (basis.transpose(1, 2) @ weight_jacobian)
        state_residual = basis.transpose(1, 2) @ residual[..., None]
        projected_residual = (residual[..., None] - basis @ state_residual)[..., 0]
        gram = torch.einsum("bnc,bne->ce", projected, projected)
        rhs = torch.einsum("bnc,bn->c", projected, projected_residual)
        return _Linearization(
            weight_jacobian, basis, triangle, state_residual, projected, projected_residual, gram, rhs
        )

    def hessian(self, precisions: _Precisions) -> Tensor:
        """`[C, C]`, the precision matrix (inverse covariance) of the weights."""
        prior = torch.diag(precisions.alpha)
        return precisions.beta * self.gram + prior + 1e-9 * torch.diag(precisions.beta * self.gram.diagonal())

    def jackknife_root(self, precisions: _Precisions, group: Tensor, quantile: float) -> Tensor:
        """`[C, G]`: a square root of the weights' covariance by the jackknife: their change, to first order, when each
        of G groups of segments is left out. Errors within a sequence are correlated, and the form of the dynamics is
        never exact; a posterior that takes every time as independent evidence would be far too narrow."""
        count, hessian, columns = int(group.max()) + 1, self.hessian(precisions), []
        if count == 1:
            return hessian.new_zeros(len(hessian), 0)
        for g in range(count):
            jacobian, residual = self.projected_jacobian[group == g].flatten(0, 1), self.residual[group == g].flatten()
            without_group = hessian - precisions.beta * (jacobian.T @ jacobian)
            columns.append(torch.linalg.solve(without_group, precisions.beta * (jacobian.T @ residual)))
        # A standard deviation that is estimated from few groups is uncertain: Student's distribution has wider tails.
        student_factor = float(student.ppf(quantile, count - 1) / normal.ppf(quantile))
        return student_factor * ((count - 1) / count) ** 0.5 * torch.stack(columns, dim=-1)

    def step(self, precisions: _Precisions, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The Gauss-Newton step of the weights `[C]`, and of the initial states `[B, 2 d]`."""
        gradient = precisions.beta * self.rhs - precisions.alpha * weights
        step = torch.linalg.solve(self.hessian(precisions), gradient)
        remaining = self.state_residual - self.state_basis.transpose(1, 2) @ (self.weight_jacobian @ step)[..., None]
        regularized = self.state_triangle + 1e-9 * torch.eye(self.state_triangle.shape[-1], dtype=step.dtype)
        return step, torch.linalg.solve_triangular(regularized, remaining, upper=True)[..., 0]


@torch.no_grad()
def multiple_shooting(
    ode: LagrangianODE, paths: SampledPaths, weights: Tensor, length: float, config: LearnedDynamicsConfig
) -> tuple[WeightPosterior, float]:
    """Fits the last layer, and the initial states of segments of a `length` (in windows), so that solutions follow the
    paths: Gauss-Newton on multiple shooting (Bock and Plitt 1984). The variances of priors and noise maximise the
    evidence. Returns the posterior (Laplace's approximation, widened by the jackknife), and the root mean square misfit
    of q.

    Args:
        weights: `[C]`, initial values.
    """
    size, settings = paths.q.shape[-1], config.shooting
    ode.set_weights(weights, size)
    targets, state = _targets(ode, paths, length, config)
    path = targets.solve(ode, state)
    trial = _Trial(weights, state, path, targets.error(path))
    precisions = _Precisions.typical(ode.penalties(size), trial, targets.count)
    for _ in range(config.iterations):
        linearization, previous = _Linearization.of(ode, targets, trial.path), precisions
        precisions = precisions.updated(linearization.gram, trial, targets.count - state.numel())
        cost = precisions.cost(trial)
        steps = linearization.step(precisions, trial.weights)
        better = _line_search(ode, targets, trial, precisions, steps, settings.step_sizes)
        if better is None:
            break
        trial = better
        noise_converged = bool((precisions.beta / previous.beta).log().abs() < settings.noise_tolerance)
        if noise_converged and bool(cost - precisions.cost(trial) < settings.cost_tolerance * cost):
            break
    laplace_root = torch.linalg.inv(torch.linalg.cholesky(linearization.hessian(precisions))).T
    jackknife_root = linearization.jackknife_root(precisions, targets.group, settings.jackknife_quantile)
    posterior = WeightPosterior(trial.weights, torch.cat([laplace_root, jackknife_root], dim=-1))
    return posterior, float((trial.error / targets.count).sqrt())


def _targets(
    ode: LagrangianODE, paths: SampledPaths, length: float, config: LearnedDynamicsConfig
) -> tuple[_ShootingTargets, Tensor]:
    """The segments of the paths, and the initial states `[B, 2 d]` from which the current dynamics fit them best."""
    row, start, span = paths.segments(length, config.max_shooting_segments, config.segment_spacing)
    raw, mask = paths.observed(row, start, span)
    q, v = paths.cut(row, start, span)
    times = torch.linspace(0, span * paths.spacing, span + 1, dtype=q.dtype)
    group = _groups(row, config.shooting.min_groups)
    targets = _ShootingTargets(group, raw, mask, times, paths.spacing, int(mask.sum()) * q.shape[-1])
    return targets, fit_initial_states(ode, q, v, paths.spacing, span, config.initial_states)[0]


def _groups(row: Tensor, minimum: int) -> Tensor:
    """`[B]`: the jackknife group of each segment. Each path is one group; with fewer than `minimum` paths, each path is
    divided into several groups of consecutive segments.

    Args:
        row: `[B]`, index of each segment's path.
    """
    _, sequence = row.unique(return_inverse=True)
    count = int(sequence.max()) + 1
    parts = -(-minimum // count)
    position = torch.stack([(sequence[:b] == sequence[b]).sum() for b in range(len(row))])
    segments = torch.bincount(sequence)[sequence]
    _, group = (sequence * parts + position * parts // segments).unique(return_inverse=True)
    return group


def _line_search(
    ode: LagrangianODE,
    targets: _ShootingTargets,
    trial: _Trial,
    precisions: _Precisions,
    steps: tuple[Tensor, Tensor],
    step_sizes: tuple[float, ...],
) -> _Trial | None:
    """The first of the `step_sizes` along the `steps` of weights and states that lowers the cost; None if none does.
    Leaves the ODE with the weights of the returned trial, or of the old one."""
    cost, size, (weight_step, state_step) = precisions.cost(trial), targets.raw.shape[-1], steps
    for step_size in step_sizes:
        weights, state = trial.weights + step_size * weight_step, trial.state + step_size * state_step
        ode.set_weights(weights, size)
        path = targets.solve(ode, state)
        candidate = _Trial(weights, state, path, targets.error(path))
        if bool(precisions.cost(candidate) < cost):
            return candidate
    ode.set_weights(trial.weights, size)
    return None


def _sensitivities(ode: LagrangianODE, path: Tensor, spacing: float, is_needed: Tensor) -> Tensor:
    """`[B, K, d, 2 d + C]`: derivatives of q along solutions `path` `[B, N, 2 d]` with respect to the initial state and
    the weights of the last layer. The variational equation is solved by the trapezoid rule.

    Args:
        is_needed: `[N]` bool, true at the K times at which derivatives are returned.
    """
    size = path.shape[-1] // 2
    eye = torch.eye(2 * size, dtype=path.dtype)
    rate = ode(path.new_zeros(()), path)
    epsilon = 1e-6 * torch.cat([torch.ones(size, dtype=path.dtype), ode.velocity_scale.expand(size)])
    rate_jacobian = torch.stack(
        [(ode(path.new_zeros(()), path + epsilon[k] * eye[k]) - rate) / epsilon[k] for k in range(2 * size)], dim=-1
    )
    half = 0.5 * spacing
    inverse = torch.linalg.inv(eye - half * rate_jacobian[:, 1:])
    transition, response = inverse @ (eye + half * rate_jacobian[:, :-1]), half * inverse[..., size:]
    columns = ode.columns(path[:, 0, :size], path[:, 0, size:])
    initial = torch.cat([eye, eye.new_zeros(2 * size, columns.shape[-1])], dim=-1)
    sensitivity, sensitivities = initial.repeat(len(path), 1, 1), []
    for n in range(path.shape[1]):
        if n:
            previous, columns = columns, ode.columns(path[:, n, :size], path[:, n, size:])
            sensitivity = transition[:, n - 1] @ sensitivity
            sensitivity[..., 2 * size :] += response[:, n - 1] @ (columns + previous)
        if bool(is_needed[n]):
            sensitivities.append(sensitivity[:, :size].clone())
    return torch.stack(sensitivities, dim=1)
