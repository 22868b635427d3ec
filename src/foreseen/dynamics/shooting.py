"""Multiple shooting: fits dynamics so that their solutions follow the observed paths."""

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
        factor: `[C, D]`; `weights + factor @ standard normal` is a sample.
    """

    weights: Tensor
    factor: Tensor


@dataclass(frozen=True)
class _ShootingTargets:
    """B observed segments of paths, which solutions are to follow.

    Attributes:
        group: `[B]`, indices from 0: segments of one group are left out together by the jackknife.
        raw: `[B, N, d]`, observed q, valid where `observed_mask` `[B, N]`.
        times: `[N]`, from the start of each segment.
        spacing: of the times.
        count: of observed numbers.
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
    """Weights `[C]` and initial states `[B, 2 d]`, their solutions `[B, N, 2 d]`, and the sum of squared residuals."""

    weights: Tensor
    state: Tensor
    path: Tensor
    error: Tensor


@dataclass(frozen=True)
class _Precisions:
    """Precisions of the prior of each weight, `alpha` `[C]`, and of the noise, `beta`. Weights without a penalty have
    no
    prior: their alpha is 0."""

    alpha: Tensor
    beta: Tensor

    @staticmethod
    def typical(penalties: Tensor, trial: _Trial, count: int) -> _Precisions:
        """The first estimate: the trial's weights are typical of a prior in proportion to `penalties` `[C]`, and its
        residuals are typical of the noise."""
        size = (penalties * trial.weights.square()).sum().clamp_min(1e-12)
        alpha = (penalties > 0).sum() / size * penalties
        return _Precisions(alpha, count / trial.error.clamp_min(1e-12))

    def updated(self, gram: Tensor, trial: _Trial, count: int) -> _Precisions:
        """One iteration of MacKay's fixed point. Each weight has a prior of its own (automatic relevance determination,
        MacKay 1994; Tipping 2001): hidden units that the paths do not need vanish, instead of distorting the force
        where nothing was observed.

        Args:
            count: observed numbers less those that the initial states explain.
        """
        has_prior = self.alpha > 0
        variance = torch.linalg.inv(self.beta * gram + torch.diag(self.alpha + 1e-12)).diagonal()
        determined = torch.where(has_prior, (1 - self.alpha * variance).clamp(1e-6, 1.0), 0.0)
        alpha = (determined / trial.weights.square().clamp_min(1e-14)).clamp(1e-12, 1e12)
        beta = max(count - float(determined.sum()), 1.0) / trial.error.clamp_min(1e-12)
        return _Precisions(torch.where(has_prior, alpha, 0.0), beta)

    def cost(self, trial: _Trial) -> Tensor:
        """Twice the negative logarithm of a trial's posterior density, up to a constant."""
        return self.beta * trial.error + (self.alpha * trial.weights.square()).sum()


@dataclass(frozen=True)
class _Linearization:
    """Residuals linearised around a trial: the residual, less `weight_jacobian` times a step of the weights, less
    `state_basis @ state_triangle` (a QR decomposition) times a step of each segment's initial state.

    Attributes:
        weight_jacobian: `[B, K d, C]`, at the K times at which any of the segments was observed.
        state_basis, state_triangle: orthonormal `[B, K d, 2 d]`, and upper triangular `[B, 2 d, 2 d]`.
        state_residual: `[B, 2 d, 1]`, components of the residual along the basis.
        projected_jacobian, residual: `[B, K d, C]`, `[B, K d]`: without their components along the basis; so the
        initial
            states are always the best ones.
        gram, rhs: `[C, C]`, `[C]`: normal equations of these two.
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
        """Around the solutions `path`."""
        size, kept = targets.raw.shape[-1], targets.observed_mask.any(0)
        mask = targets.observed_mask[:, kept, None]
        jacobian = _sensitivities(ode, path, targets.spacing, kept) * mask[..., None]
        residual = ((targets.raw - path[..., :size])[:, kept] * mask).flatten(1)
        state_jacobian, weight_jacobian = jacobian.flatten(1, 2).tensor_split([2 * size], dim=-1)
        basis, triangle = torch.linalg.qr(state_jacobian)
        projected = weight_jacobian - basis @ (basis.transpose(1, 2) @ weight_jacobian)
        along = basis.transpose(1, 2) @ residual[..., None]
        across = (residual[..., None] - basis @ along)[..., 0]
        gram = torch.einsum("bnc,bne->ce", projected, projected)
        rhs = torch.einsum("bnc,bn->c", projected, across)
        return _Linearization(weight_jacobian, basis, triangle, along, projected, across, gram, rhs)

    def hessian(self, precisions: _Precisions) -> Tensor:
        """`[C, C]`, the precision of the weights."""
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
        # A spread estimated from few groups has the tails of Student's distribution.
        wider = float(student.ppf(quantile, count - 1) / normal.ppf(quantile))
        return wider * ((count - 1) / count) ** 0.5 * torch.stack(columns, dim=-1)

    def step(self, precisions: _Precisions, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The Gauss-Newton step of the weights `[C]`, and of the initial states `[B, 2 d]`."""
        gradient = precisions.beta * self.rhs - precisions.alpha * weights
        step = torch.linalg.solve(self.hessian(precisions), gradient)
        remaining = self.state_residual - self.state_basis.transpose(1, 2) @ (self.weight_jacobian @ step)[..., None]
        regular = self.state_triangle + 1e-9 * torch.eye(self.state_triangle.shape[-1], dtype=step.dtype)
        return step, torch.linalg.solve_triangular(regular, remaining, upper=True)[..., 0]


@torch.no_grad()
def multiple_shooting(
    ode: LagrangianODE, paths: SampledPaths, weights: Tensor, length: float, config: LearnedDynamicsConfig
) -> tuple[WeightPosterior, float]:
    """Fits the last layer, and the initial states of segments of a `length` (in windows), so that solutions follow the
    paths: Gauss-Newton on multiple shooting (Bock and Plitt 1984). The prior of each weight and the noise are those
    that make the paths most likely. Returns the posterior (Laplace's approximation, widened by the jackknife), and the
    root mean square misfit of q.

    Args:
        weights: `[C]` to start from.
    """
    size, c = paths.q.shape[-1], config.shooting
    ode.set_weights(weights, size)
    targets, state = _targets(ode, paths, length, config)
    path = targets.solve(ode, state)
    trial = _Trial(weights, state, path, targets.error(path))
    precisions = _Precisions.typical(ode.penalties(size), trial, targets.count)
    for _ in range(config.iterations):
        nearby, before = _Linearization.of(ode, targets, trial.path), precisions
        precisions = precisions.updated(nearby.gram, trial, targets.count - state.numel())
        cost = precisions.cost(trial)
        better = _line_search(ode, targets, trial, precisions, nearby.step(precisions, trial.weights), c.step_sizes)
        if better is None:
            break
        trial = better
        noise_converged = bool((precisions.beta / before.beta).log().abs() < c.noise_tolerance)
        if noise_converged and bool(cost - precisions.cost(trial) < c.cost_tolerance * cost):
            break
    within = torch.linalg.inv(torch.linalg.cholesky(nearby.hessian(precisions))).T
    between = nearby.jackknife_root(precisions, targets.group, c.jackknife_quantile)
    posterior = WeightPosterior(trial.weights, torch.cat([within, between], dim=-1))
    return posterior, float((trial.error / targets.count).sqrt())


def _targets(
    ode: LagrangianODE, paths: SampledPaths, length: float, config: LearnedDynamicsConfig
) -> tuple[_ShootingTargets, Tensor]:
    """Segments to follow, and the initial states `[B, 2 d]` from which the current dynamics follow them best."""
    row, start, span = paths.segments(length, config.max_shooting_segments, config.segment_spacing)
    raw, mask = paths.observed(row, start, span)
    q, v = paths.cut(row, start, span)
    times = torch.linspace(0, span * paths.spacing, span + 1, dtype=q.dtype)
    group = _groups(row, config.shooting.min_groups)
    targets = _ShootingTargets(group, raw, mask, times, paths.spacing, int(mask.sum()) * q.shape[-1])
    return targets, fit_initial_states(ode, q, v, paths.spacing, span, config.initial_states)[0]


def _groups(row: Tensor, minimum: int) -> Tensor:
    """`[B]`: the jackknife group of each segment, from the path `row` `[B]` that it is of: one group per path, or parts
    of paths where there are fewer than `minimum`."""
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
    """A trial of lower cost along `steps` of weights and states; None if there is none. The ODE is left with the
    weights of the better trial."""
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


def _sensitivities(ode: LagrangianODE, path: Tensor, spacing: float, kept: Tensor) -> Tensor:
    """`[B, K, d, 2 d + C]`: derivatives of q, of solutions `path` `[B, N, 2 d]`, with respect to the initial state and
    the weights of the last layer, at the times `kept` (`[N]` bool, K of them): the variational equation along the path,
    by the trapezoid rule."""
    size = path.shape[-1] // 2
    eye = torch.eye(2 * size, dtype=path.dtype)
    now = ode(path.new_zeros(()), path)
    tiny = 1e-6 * torch.cat([torch.ones(size, dtype=path.dtype), ode.velocity_scale.expand(size)])
    rate_jacobian = torch.stack(
        [(ode(path.new_zeros(()), path + tiny[k] * eye[k]) - now) / tiny[k] for k in range(2 * size)], dim=-1
    )
    half = 0.5 * spacing
    inverse = torch.linalg.inv(eye - half * rate_jacobian[:, 1:])
    transition, response = inverse @ (eye + half * rate_jacobian[:, :-1]), half * inverse[..., size:]
    columns = ode.columns(path[:, 0, :size], path[:, 0, size:])
    first = torch.cat([eye, eye.new_zeros(2 * size, columns.shape[-1])], dim=-1)
    state, sensitivities = first.repeat(len(path), 1, 1), []
    for n in range(path.shape[1]):
        if n:
            before, columns = columns, ode.columns(path[:, n, :size], path[:, n, size:])
            state = transition[:, n - 1] @ state
            state[..., 2 * size :] += response[:, n - 1] @ (columns + before)
        if bool(kept[n]):
            sensitivities.append(state[:, :size].clone())
    return torch.stack(sensitivities, dim=1)
