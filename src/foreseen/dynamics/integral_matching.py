"""Finding the law in closed form from what was seen.

Integral matching: over a short stretch the law says q(t) = q0 + v0 t + the double integral of its accelerations along
the path. With the path as it was seen, that is linear in the law's last layer, and positions are never differentiated
twice. (Weak forms of the same idea: Schaeffer and McCalla 2017; Messenger and Bortz 2021.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foreseen.dynamics.lagrangian import LagrangianODE
from foreseen.ode import integrate

RIDGES = tuple(10.0**k for k in range(-12, -1))
"""Shares of the mean square of all columns that are tried as the penalty of weights."""
FOLDS = 4
MAX_NUMBERS = 10_000_000
"""Held at once for the normal equations: 80 MB, several times over."""
STEP_TOLERANCE = 1e-9
"""Steps of a state that are smaller, in units of q and of the pace, are not worth a solution."""
MAX_COORDINATE = 30.0
"""A solution stops where q, of unit variance over what was seen, is beyond this."""


@dataclass(frozen=True)
class SampledPaths:
    """S trajectories on even times.

    Attributes:
        q, v: `[S, N, d]`, smooth, and their rates per window; what is beyond a path's own count is never read.
        raw: `[S, N, d]`, q as it was seen, at the times `seen` `[S, N]`.
        counts: `[S]` times of each.
        spacing: of the times, in windows.
    """

    q: Tensor
    v: Tensor
    raw: Tensor
    observed_mask: Tensor
    counts: Tensor
    spacing: float

    def segments(self, length: float, maximum: int, apart: float = 0.5) -> tuple[Tensor, Tensor, int]:
        """Stretches that cover the paths, but for a frame or two: path and first time `[B]` of each, and how many steps
        they have.

        Args:
            length: in windows; where a path is shorter, none is taken of it.
            most: at most so many, evenly chosen.
            apart: distance of their starts, in lengths.
        """
        span = min(max(4, round(length / self.spacing)), int(self.counts.max()) - 1)
        rows, starts = [], []
        for s, count in enumerate(self.counts.tolist()):
            free = count - 1 - span
            if free < 0:
                continue
            pieces = 1 + (0 if free == 0 else max(1, round(free / (apart * span))))
            # From times that were seen: all stretches are then seen at about the same of their times.
            possible = self.observed_mask[s, : free + 1].nonzero()[:, 0]
            starts.append(possible[torch.linspace(0, len(possible) - 1, pieces).round().long()].unique())
            rows.append(torch.full_like(starts[-1], s))
        row, start = torch.cat(rows), torch.cat(starts)
        if len(row) > maximum:
            kept = torch.linspace(0, len(row) - 1, maximum).round().long()
            row, start = row[kept], start[kept]
        return row, start, span

    def cut(self, row: Tensor, start: Tensor, span: int) -> tuple[Tensor, Tensor]:
        """q and v of stretches, `[B, span + 1, d]`."""
        index = start[:, None] + torch.arange(span + 1)
        return self.q[row[:, None], index], self.v[row[:, None], index]

    def observed(self, row: Tensor, start: Tensor, span: int) -> tuple[Tensor, Tensor]:
        """What was seen of stretches, `[B, span + 1, d]`, and when, `[B, span + 1]` bool."""
        index = start[:, None] + torch.arange(span + 1)
        return self.raw[row[:, None], index], self.observed_mask[row[:, None], index]


@dataclass(frozen=True)
class NormalEquations:
    """Normal equations of some stretches: what they say of the weights."""

    gram: Tensor
    rhs: Tensor
    square: Tensor

    def __add__(self, other: NormalEquations) -> NormalEquations:
        return NormalEquations(self.gram + other.gram, self.rhs + other.rhs, self.square + other.square)

    def solve(self, ridge: float, penalties: Tensor) -> Tensor:
        """Weights `[C]`."""
        scale = self.gram.diagonal().mean().clamp_min(1e-300)
        penalised = self.gram + torch.diag((ridge * penalties + 1e-14) * scale)
        return torch.linalg.lstsq(penalised, self.rhs[:, None], driver="gelsd").solution[:, 0]

    def error(self, weights: Tensor) -> float:
        """Mean squared misfit of the weights."""
        return float(self.square - 2 * weights @ self.rhs + weights @ self.gram @ weights)


def build_normal_equations(
    ode: LagrangianODE, paths: SampledPaths, row: Tensor, start: Tensor, span: int
) -> list[NormalEquations]:
    """One for each of at most `FOLDS` groups of stretches, neighbours in pairs together."""
    group, size = torch.arange(len(row)) // 2 % FOLDS, paths.q.shape[-1]
    time = torch.linspace(-1, 1, span + 1, dtype=paths.q.dtype)
    constant, _ = torch.linalg.qr(torch.stack([torch.ones_like(time), time], dim=-1))
    found = []
    for fold in range(FOLDS):
        mine = (group == fold).nonzero()[:, 0]
        if len(mine) == 0:
            continue
        own = []
        chunk = MAX_NUMBERS // ((span + 1) * size * len(ode.penalties(size)))
        for piece in mine.split(max(1, chunk)):
            q, v = paths.cut(row[piece], start[piece], span)
            christoffel_term, _ = ode.manifold[0].christoffel(q, v)
            left = _twice_integrated(ode.columns(q, v), paths.spacing)
            right = (q + _twice_integrated(christoffel_term, paths.spacing))[..., None]
            both = torch.cat([left, right], dim=-1)
            # What any start and any first rate would explain says nothing of the law.
            both = both - torch.einsum("tk,sk,bsdc->btdc", constant, constant, both)
            both = both.flatten(0, 2)
            products = both.T @ both
            own.append(NormalEquations(products[:-1, :-1], products[:-1, -1], products[-1, -1]))
        found.append(_sum(own))
    return found


def _twice_integrated(x: Tensor, spacing: float) -> Tensor:
    """The double integral along axis 1, by the trapezoid rule."""
    for _ in range(2):
        x = torch.cat([torch.zeros_like(x[:, :1]), (0.5 * spacing * (x[:, 1:] + x[:, :-1])).cumsum(1)], dim=1)
    return x


@torch.no_grad()
def fit_closed_form(
    ode: LagrangianODE, paths: SampledPaths, length: float, maximum: int, generator: torch.Generator | None
) -> tuple[Tensor, float]:
    """Draws the hidden layers (without a generator they are silent) and solves for the rest. The penalty is that under
    which the law of some stretches foretells the others best. Returns the weights, and the share of the motion within
    stretches that was not foretold."""
    row, start, span = paths.segments(length, maximum)
    size = paths.q.shape[-1]
    seen = torch.cat([paths.q[s, :count] for s, count in enumerate(paths.counts.tolist())])
    if generator is None:
        ode.zero_hidden_layers()
    else:
        ode.draw_hidden_layers(seen.amin(0), seen.amax(0), generator)
    penalties = ode.penalties(size)
    parts = build_normal_equations(ode, paths, row, start, span)
    if len(parts) == 1:  # so few stretches that there are no others
        parts = parts * 2
    errors = []
    for ridge in RIDGES:
        rests = [_sum([p for j, p in enumerate(parts) if j != i]) for i in range(len(parts))]
        errors.append(sum(part.error(rest.solve(ridge, penalties)) for part, rest in zip(parts, rests)))
    whole, best = _sum(parts), min(range(len(RIDGES)), key=errors.__getitem__)
    weights = whole.solve(RIDGES[best], penalties)
    ode.set_weights(weights, size)
    return weights, (max(errors[best], 0.0) / max(float(whole.square), 1e-300)) ** 0.5


def _sum(parts: list[NormalEquations]) -> NormalEquations:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


@torch.no_grad()
def fit_initial_states(
    ode: LagrangianODE, q: Tensor, v: Tensor, spacing: float, steps: int, iterations: int = 6
) -> tuple[Tensor, Tensor]:
    """The states from which the law follows paths `q` `[B, N, d]` best, and the root mean square misfit of each `[B]`:
    Gauss and Newton's method on the 2 d numbers of each, started from the path's own first state.

    Args:
        v: rates; only the first is read.
        steps: of the solver, over the whole path.
    """
    count, length, size = q.shape
    times = torch.linspace(0, spacing * (length - 1), length, dtype=q.dtype)
    state = torch.cat([q[:, 0], v[:, 0]], dim=-1)
    unit = torch.cat([torch.ones(size, dtype=q.dtype), ode.velocity_scale.expand(size)])
    shifts = 1e-5 * torch.diag(unit)
    damping = torch.full((count, 1, 1), 1e-6, dtype=q.dtype)
    path = solve_segments(ode, state, times, steps)
    error = (path[..., :size] - q).square().mean((1, 2))
    for _ in range(iterations):
        moved = solve_segments(ode, (state[:, None] + shifts).flatten(0, 1), times, steps).unflatten(
            0, (count, 2 * size)
        )
        slopes = ((moved[..., :size] - path[:, None, :, :size]) / 1e-5).flatten(2).transpose(1, 2)
        left = (q - path[..., :size]).flatten(1)
        gram = slopes.transpose(1, 2) @ slopes
        damped = gram + damping * torch.diag_embed(1e-9 + gram.diagonal(dim1=1, dim2=2))
        step = torch.linalg.solve(damped, slopes.transpose(1, 2) @ left[..., None])[..., 0]
        if bool((step.abs() < STEP_TOLERANCE).all()):
            break
        tried = state + step.nan_to_num() * unit
        new = solve_segments(ode, tried, times, steps)
        now = (new[..., :size] - q).square().mean((1, 2))
        better = now < error
        state, error = torch.where(better[:, None], tried, state), torch.where(better, now, error)
        path = torch.where(better[:, None, None], new, path)
        damping = torch.where(better[:, None, None], damping * 0.1, damping * 10)
    return state, error.sqrt()


def solve_segments(ode: LagrangianODE, state: Tensor, times: Tensor, steps: int) -> Tensor:
    """Solutions `[B, N, 2 d]` from `state` `[B, 2 d]`; what has left all sense is `MAX_COORDINATE` away."""
    path = integrate(ode, state, times, steps=steps).transpose(0, 1)
    size = path.shape[-1] // 2
    return torch.where((path[..., :size].abs() <= MAX_COORDINATE).all(-1, keepdim=True), path, MAX_COORDINATE)
