"""Finding the law by shooting: its solutions are made to follow what was seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.stats import norm as normal
from scipy.stats import t as student
from torch import Tensor

from foreseen.dynamics.integral_matching import SampledPaths, fit_initial_states, solve_segments
from foreseen.dynamics.lagrangian import LagrangianODE

STEP_SHARES = (1.0, 0.5, 0.2, 0.05)
"""Of a step of shooting, that are tried until one is an improvement."""
SPREAD_QUANTILE = 0.95
"""Spreads are told apart at this quantile."""
MIN_GROUPS = 6
"""The stretches of so few sequences are cut into so many groups, to be left out in turn."""
COST_TOLERANCE, NOISE_TOLERANCE = 1e-3, 0.05
"""Shooting ends where a step lowers the cost by less than the one share, and changes the noise's variance by less than
the other."""


@dataclass(frozen=True)
class WeightPosterior:
    """What the paths say of the law's last layer.

    Attributes:
        weights: `[C]`, the most likely ones.
        factor: `[C, D]`; `weights + factor @ standard normal` is a draw.
    """

    weights: Tensor
    factor: Tensor


@dataclass(frozen=True)
class _ShootingTargets:
    """What solutions are to follow: B stretches of paths, as they were seen.

    Attributes:
        group: `[B]`, numbers from 0 up: what is seen together, and left out together.
        raw: `[B, N, d]`, of which `seen` `[B, N]` are valid.
        times: `[N]`, from the start of each.
        spacing: of the times.
        count: how many numbers were seen.
    """

    group: Tensor
    raw: Tensor
    observed_mask: Tensor
    times: Tensor
    spacing: float
    count: int

    def solved(self, ode: LagrangianODE, state: Tensor) -> Tensor:
        """`[B, N, 2 d]` from states `[B, 2 d]`."""
        return solve_segments(ode, state, self.times, len(self.times) - 1)

    def error(self, path: Tensor) -> Tensor:
        """Sum of squared misfits of q."""
        return ((path[..., : self.raw.shape[-1]] - self.raw) * self.observed_mask[..., None]).square().sum()


@dataclass(frozen=True)
class _Trial:
    """Weights `[C]` and first states `[B, 2 d]`, the solutions `[B, N, 2 d]`, and their squared misfit."""

    weights: Tensor
    state: Tensor
    path: Tensor
    error: Tensor


@dataclass(frozen=True)
class _Precisions:
    """Precisions of the prior of each weight, `alpha` `[C]`, and of the noise, `beta`. Weights without a penalty are
    free: their alpha is 0."""

    alpha: Tensor
    beta: Tensor

    @staticmethod
    def typical(penalties: Tensor, trial: _Trial, count: int) -> _Precisions:
        """As if the trial's weights were typical of a prior in proportion to `penalties`, and its misfit of the
        noise."""
        size = (penalties * trial.weights.square()).sum().clamp_min(1e-12)
        alpha = (penalties > 0).sum() / size * penalties
        return _Precisions(alpha, count / trial.error.clamp_min(1e-12))

    def renewed(self, gram: Tensor, trial: _Trial, count: int) -> _Precisions:
        """One round of MacKay's fixed point; `count`: of what was seen beyond what the states explain. Each weight has
        a prior of its own (automatic relevance determination, MacKay 1994; Tipping 2001): units that the paths do not
        ask for fall silent, instead of bending the law where nothing was seen."""
        told = self.alpha > 0
        spread = torch.linalg.inv(self.beta * gram + torch.diag(self.alpha + 1e-12)).diagonal()
        known = torch.where(told, (1 - self.alpha * spread).clamp(1e-6, 1.0), 0.0)
        alpha = (known / trial.weights.square().clamp_min(1e-14)).clamp(1e-12, 1e12)
        beta = max(count - float(known.sum()), 1.0) / trial.error.clamp_min(1e-12)
        return _Precisions(torch.where(told, alpha, 0.0), beta)

    def cost(self, trial: _Trial) -> Tensor:
        """Twice the negative logarithm of how likely a trial is."""
        return self.beta * trial.error + (self.alpha * trial.weights.square()).sum()


@dataclass(frozen=True)
class _Linearization:
    """Misfits close to a trial: what is left, less `weight_jacobian` times a step of the weights, less `basis triangle`
    times a step of each stretch's own state.

    Attributes:
        by_weight: `[B, K d, C]`, at the K times at which any of the stretches was seen.
        basis, triangle: orthonormal `[B, K d, 2 d]`, and `[B, 2 d, 2 d]`.
        inward: `[B, 2 d, 1]`, what is left along the basis.
        rest, left: `[B, K d, C]`, `[B, K d]`: `weight_jacobian`, and what is left, where the states always do their
        best. gram, right: `[C, C]`, `[C]`: their normal equations.
    """

    weight_jacobian: Tensor
    basis: Tensor
    triangle: Tensor
    inward: Tensor
    rest: Tensor
    residual: Tensor
    gram: Tensor
    rhs: Tensor

    @staticmethod
    def of(ode: LagrangianODE, targets: _ShootingTargets, path: Tensor) -> _Linearization:
        """Around solutions `path`."""
        size, kept = targets.raw.shape[-1], targets.observed_mask.any(0)
        seen = targets.observed_mask[:, kept, None]
        slopes = _sensitivities(ode, path, targets.spacing, kept) * seen[..., None]
        left = ((targets.raw - path[..., :size])[:, kept] * seen).flatten(1)
        by_state, weight_jacobian = slopes.flatten(1, 2).tensor_split([2 * size], dim=-1)
        basis, triangle = torch.linalg.qr(by_state)
        rest = weight_jacobian - basis @ (basis.transpose(1, 2) @ weight_jacobian)
        inward = basis.transpose(1, 2) @ left[..., None]
        left_rest = (left[..., None] - basis @ inward)[..., 0]
        gram = torch.einsum("bnc,bne->ce", rest, rest)
        right = torch.einsum("bnc,bn->c", rest, left_rest)
        return _Linearization(weight_jacobian, basis, triangle, inward, rest, left_rest, gram, right)

    def hessian(self, scales: _Precisions) -> Tensor:
        """`[C, C]`, the precision of the weights."""
        prior = torch.diag(scales.alpha)
        return scales.beta * self.gram + prior + 1e-9 * torch.diag(scales.beta * self.gram.diagonal())

    def jackknife_root(self, scales: _Precisions, group: Tensor) -> Tensor:
        """`[C, G]`: a square root of the weights' covariance by the jackknife: how much they change, to first order,
        when one of G groups of stretches is left out. Stretches of one sequence err together, and the law's own form is
        wrong by a little: a posterior in which every time counts as evidence of its own is too sure by far."""
        count, hessian, columns = int(group.max()) + 1, self.hessian(scales), []
        if count == 1:
            return hessian.new_zeros(len(hessian), 0)
        for g in range(count):
            rest, left = self.rest[group == g].flatten(0, 1), self.residual[group == g].flatten()
            columns.append(torch.linalg.solve(hessian - scales.beta * (rest.T @ rest), scales.beta * (rest.T @ left)))
        # Of a spread that is told by few groups, the tails are those of Student's distribution.
        wider = float(student.ppf(SPREAD_QUANTILE, count - 1) / normal.ppf(SPREAD_QUANTILE))
        return wider * ((count - 1) / count) ** 0.5 * torch.stack(columns, dim=-1)

    def step(self, scales: _Precisions, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Gauss and Newton's step of the weights `[C]`, and of the states `[B, 2 d]`."""
        downhill = scales.beta * self.rhs - scales.alpha * weights
        step = torch.linalg.solve(self.hessian(scales), downhill)
        still = self.inward - self.basis.transpose(1, 2) @ (self.weight_jacobian @ step)[..., None]
        upright = self.triangle + 1e-9 * torch.eye(self.triangle.shape[-1], dtype=step.dtype)
        return step, torch.linalg.solve_triangular(upright, still, upper=True)[..., 0]


@torch.no_grad()
def multiple_shooting(
    ode: LagrangianODE, paths: SampledPaths, weights: Tensor, length: float, maximum: int, iterations: int = 30
) -> tuple[WeightPosterior, float]:
    """Improves the last layer, and the states that stretches start from, until solutions follow the paths: Gauss and
    Newton's method on multiple shooting (Bock and Plitt 1984). Each weight's prior and the noise are those that make
    the paths most likely. Returns the posterior (Laplace's approximation, and what the jackknife adds), and the root
    mean square misfit of q."""
    ode.set_weights(weights, paths.q.shape[-1])
    targets, state = _targets(ode, paths, length, maximum)
    path = targets.solved(ode, state)
    trial = _Trial(weights, state, path, targets.error(path))
    scales = _Precisions.typical(ode.penalties(paths.q.shape[-1]), trial, targets.count)
    for _ in range(iterations):
        nearby, before = _Linearization.of(ode, targets, trial.path), scales
        scales = scales.renewed(nearby.gram, trial, targets.count - state.numel())
        cost = scales.cost(trial)
        better = _line_search(ode, targets, trial, scales, *nearby.step(scales, trial.weights))
        if better is None:
            break
        trial = better
        settled = bool((scales.beta / before.beta).log().abs() < NOISE_TOLERANCE)
        if settled and bool(cost - scales.cost(trial) < COST_TOLERANCE * cost):
            break
    within = torch.linalg.inv(torch.linalg.cholesky(nearby.hessian(scales))).T
    factor = torch.cat([within, nearby.jackknife_root(scales, targets.group)], dim=-1)
    return WeightPosterior(trial.weights, factor), float((trial.error / targets.count).sqrt())


def _targets(ode: LagrangianODE, paths: SampledPaths, length: float, maximum: int) -> tuple[_ShootingTargets, Tensor]:
    """Stretches to follow, and the states `[B, 2 d]` from which the law as it is follows them best."""
    row, start, span = paths.segments(length, maximum)
    raw, seen = paths.observed(row, start, span)
    q, v = paths.cut(row, start, span)
    times = torch.linspace(0, span * paths.spacing, span + 1, dtype=q.dtype)
    targets = _ShootingTargets(_groups(row), raw, seen, times, paths.spacing, int(seen.sum()) * q.shape[-1])
    return targets, fit_initial_states(ode, q, v, paths.spacing, span)[0]


def _groups(row: Tensor) -> Tensor:
    """`[B]`: a group for each stretch, from the sequences that they are of: these, or pieces where they are few."""
    _, sequence = row.unique(return_inverse=True)
    count = int(sequence.max()) + 1
    pieces = -(-MIN_GROUPS // count)
    place = torch.stack([(sequence[:b] == sequence[b]).sum() for b in range(len(row))])
    own = torch.bincount(sequence)[sequence]
    _, group = (sequence * pieces + place * pieces // own).unique(return_inverse=True)
    return group


def _line_search(
    ode: LagrangianODE, targets: _ShootingTargets, trial: _Trial, scales: _Precisions, step: Tensor, shift: Tensor
) -> _Trial | None:
    """A trial that costs less, some way along a step of the weights and a shift of the states; None if there is none.
    The law is left with the weights of the trial that counts."""
    cost, size = scales.cost(trial), targets.raw.shape[-1]
    for share in STEP_SHARES:
        weights, state = trial.weights + share * step, trial.state + share * shift
        ode.set_weights(weights, size)
        path = targets.solved(ode, state)
        tried = _Trial(weights, state, path, targets.error(path))
        if bool(scales.cost(tried) < cost):
            return tried
    ode.set_weights(trial.weights, size)
    return None


def _sensitivities(ode: LagrangianODE, path: Tensor, spacing: float, kept: Tensor) -> Tensor:
    """`[B, K, d, 2 d + C]`: how q of solutions `path` `[B, N, 2 d]` changes with their first state, and with the
    weights of the last layer, at the times `kept` (`[N]` bool, K of them): the variational equation along the path, by
    the trapezoid rule."""
    size = path.shape[-1] // 2
    eye = torch.eye(2 * size, dtype=path.dtype)
    now = ode(path.new_zeros(()), path)
    tiny = 1e-6 * torch.cat([torch.ones(size, dtype=path.dtype), ode.velocity_scale.expand(size)])
    slopes = torch.stack(
        [(ode(path.new_zeros(()), path + tiny[k] * eye[k]) - now) / tiny[k] for k in range(2 * size)], dim=-1
    )
    half = 0.5 * spacing
    inverse = torch.linalg.inv(eye - half * slopes[:, 1:])
    ahead, pushed = inverse @ (eye + half * slopes[:, :-1]), half * inverse[..., size:]
    push = ode.columns(path[:, 0, :size], path[:, 0, size:])
    first = torch.cat([eye, eye.new_zeros(2 * size, push.shape[-1])], dim=-1)
    state, found = first.repeat(len(path), 1, 1), []
    for n in range(path.shape[1]):
        if n:
            before, push = push, ode.columns(path[:, n, :size], path[:, n, size:])
            state = ahead[:, n - 1] @ state
            state[..., 2 * size :] += pushed[:, n - 1] @ (push + before)
        if bool(kept[n]):
            found.append(state[:, :size].clone())
    return torch.stack(found, dim=1)
