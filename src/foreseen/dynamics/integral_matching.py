"""Fits dynamics to paths in closed form, by integral matching.

Within a short segment, dynamics imply q(t) = q0 + v0 t + the double integral of the accelerations along the path. With
the observed path inserted, this is linear in the last layer of the network, and positions are never differentiated
twice. (Weak forms of the same idea: Schaeffer and McCalla 2017; Messenger and Bortz 2021.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foreseen.dynamics.config import LearnedDynamicsConfig, MatchingConfig
from foreseen.dynamics.lagrangian import LagrangianODE
from foreseen.dynamics.sampled_paths import SampledPaths


@dataclass(frozen=True)
class NormalEquations:
    """Normal equations of a group of segments.

    Attributes:
        gram: `[C, C]`; rhs: `[C]`; square: sum of the squared targets.
    """

    gram: Tensor
    rhs: Tensor
    square: Tensor

    def __add__(self, other: NormalEquations) -> NormalEquations:
        return NormalEquations(self.gram + other.gram, self.rhs + other.rhs, self.square + other.square)

    def solve(self, ridge: float, penalties: Tensor) -> Tensor:
        """Weights `[C]` under the penalty `ridge` times `penalties` `[C]`."""
        scale = self.gram.diagonal().mean().clamp_min(1e-300)
        penalised = self.gram + torch.diag((ridge * penalties + 1e-14) * scale)
        return torch.linalg.lstsq(penalised, self.rhs[:, None], driver="gelsd").solution[:, 0]

    def error(self, weights: Tensor) -> float:
        """Sum of squared residuals of the weights."""
        return float(self.square - 2 * weights @ self.rhs + weights @ self.gram @ weights)


def build_normal_equations(
    ode: LagrangianODE, paths: SampledPaths, row: Tensor, start: Tensor, span: int, config: MatchingConfig
) -> list[NormalEquations]:
    """One for each fold of segments (`MatchingConfig.folds` at most); neighbours are in the same fold, in pairs."""
    fold_of, size = torch.arange(len(row)) // 2 % config.folds, paths.q.shape[-1]
    time = torch.linspace(-1, 1, span + 1, dtype=paths.q.dtype)
    linear, _ = torch.linalg.qr(torch.stack([torch.ones_like(time), time], dim=-1))
    equations = []
    for fold in range(config.folds):
        members = (fold_of == fold).nonzero()[:, 0]
        if len(members) == 0:
            continue
        parts = []
        batch = config.max_elements // ((span + 1) * size * len(ode.penalties(size)))
        for piece in members.split(max(1, batch)):
            q, v = paths.cut(row[piece], start[piece], span)
            christoffel_term, _ = ode.manifold[0].christoffel(q, v)
            features = _twice_integrated(ode.columns(q, v), paths.spacing)
            target = (q + _twice_integrated(christoffel_term, paths.spacing))[..., None]
            columns = torch.cat([features, target], dim=-1)
            # Removes linear functions of time: the unknown initial position and velocity explain them.
            columns = columns - torch.einsum("tk,sk,bsdc->btdc", linear, linear, columns)
            columns = columns.flatten(0, 2)
            products = columns.T @ columns
            parts.append(NormalEquations(products[:-1, :-1], products[:-1, -1], products[-1, -1]))
        equations.append(_sum(parts))
    return equations


def _twice_integrated(x: Tensor, spacing: float) -> Tensor:
    """The double integral along axis 1, by the trapezoid rule."""
    for _ in range(2):
        x = torch.cat([torch.zeros_like(x[:, :1]), (0.5 * spacing * (x[:, 1:] + x[:, :-1])).cumsum(1)], dim=1)
    return x


@torch.no_grad()
def fit_closed_form(
    ode: LagrangianODE, paths: SampledPaths, config: LearnedDynamicsConfig, generator: torch.Generator | None
) -> tuple[Tensor, float]:
    """Draws the hidden layers and solves for the weights behind them, with the penalty of the smallest cross-validation
    error over the segments. Returns the weights, and the share of the motion within segments that cross-validation does
    not explain (root mean square).

    Args:
        generator: of the hidden layers; None turns them off: the dynamics are linear.
    """
    row, start, span = paths.segments(config.segment, config.max_segments, config.segment_spacing)
    size, ridges = paths.q.shape[-1], config.matching.ridges
    observed = torch.cat([paths.q[s, :count] for s, count in enumerate(paths.counts.tolist())])
    if generator is None:
        ode.zero_hidden_layers()
    else:
        ode.draw_hidden_layers(observed.amin(0), observed.amax(0), generator)
    penalties = ode.penalties(size)
    folds = build_normal_equations(ode, paths, row, start, span, config.matching)
    if len(folds) == 1:  # too few segments to leave some out: validated on themselves
        folds = folds * 2
    errors = []
    for ridge in ridges:
        training_sums = [_sum([p for j, p in enumerate(folds) if j != i]) for i in range(len(folds))]
        errors.append(sum(fold.error(train.solve(ridge, penalties)) for fold, train in zip(folds, training_sums)))
    whole, best = _sum(folds), min(range(len(ridges)), key=errors.__getitem__)
    weights = whole.solve(ridges[best], penalties)
    ode.set_weights(weights, size)
    return weights, (max(errors[best], 0.0) / max(float(whole.square), 1e-300)) ** 0.5


def _sum(parts: list[NormalEquations]) -> NormalEquations:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
