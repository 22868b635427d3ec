"""Explicit Runge-Kutta steps over a given grid, and dense output between."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from foreseen.ode.tableau import Tableau

Dynamics = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class DenseSolution:
    """A solution on a grid of K + 1 times, which cubic Hermite interpolation continues between them.

    The interpolation error is of order 4 in the step, so that no solver here loses its order between grid
    points.

    Attributes:
        grid: `[K + 1]`, strictly monotone.
        states: `[K + 1, ...]`.
        slopes: `[K + 1, ...]`, f at the grid.
    """

    grid: Tensor
    states: Tensor
    slopes: Tensor

    def at(self, times: Tensor) -> Tensor:
        """States `[T, ...]` at `times` `[T]` in any order, differentiable in the times."""
        k = self._interval(times.detach())
        h = self._spread(self.grid[k + 1] - self.grid[k])
        s = self._spread(times - self.grid[k]) / h
        left, right = self.states[k], self.states[k + 1]
        return (
            (1 + 2 * s) * (1 - s) ** 2 * left
            + s**2 * (3 - 2 * s) * right
            + s * (1 - s) ** 2 * h * self.slopes[k]
            + s**2 * (s - 1) * h * self.slopes[k + 1]
        )

    def _interval(self, times: Tensor) -> Tensor:
        """Index `[T]` of the grid interval that holds each time; times that rounding puts outside get the end
        ones."""
        grid = self.grid.detach()
        sign = (grid[-1] - grid[0]).sign()
        return (torch.searchsorted(sign * grid, sign * times, right=True) - 1).clamp(0, len(grid) - 2)

    def _spread(self, x: Tensor) -> Tensor:
        """`[T]` -> `[T, 1, ...]`, to multiply states."""
        return x.reshape(-1, *[1] * (self.states.dim() - 1))


def solve_fixed(f: Dynamics, y0: Tensor, grid: Tensor, tableau: Tableau) -> Tensor:
    """States `[K + 1, ...]` on the grid `[K + 1]`, one step an interval, `states[0]` being `y0` itself."""
    states, _ = _march(f, y0, grid, tableau)
    return torch.stack(states)


def solve_dense(f: Dynamics, y0: Tensor, grid: Tensor, tableau: Tableau) -> DenseSolution:
    """The solution over the grid `[K + 1]`, K > 0, for use at times between its points; one evaluation of f
    more than `solve_fixed`."""
    states, slopes = _march(f, y0, grid, tableau)
    slopes.append(f(grid[-1], states[-1]))
    return DenseSolution(grid, torch.stack(states), torch.stack(slopes))


def _march(f: Dynamics, y0: Tensor, grid: Tensor, tableau: Tableau) -> tuple[list[Tensor], list[Tensor]]:
    """K + 1 states and the K slopes at which the steps begin."""
    states, slopes = [y0], []
    for start, end in pairwise(grid):
        slopes.append(f(start, states[-1]))
        states.append(_step(f, start, end - start, states[-1], slopes[-1], tableau))
    return states, slopes


def _step(f: Dynamics, t: Tensor, h: Tensor, y: Tensor, slope: Tensor, tableau: Tableau) -> Tensor:
    stages = [slope]
    for node, row in zip(tableau.nodes[1:], tableau.coupling[1:], strict=True):
        stages.append(f(t + node * h, y + h * _weighted(row, stages)))
    return y + h * _weighted(tableau.weights, stages)


def _weighted(weights: Iterable[float], stages: list[Tensor]) -> Tensor:
    terms = [weight * stage for weight, stage in zip(weights, stages, strict=True) if weight != 0]
    return torch.stack(terms).sum(0) if len(terms) > 1 else terms[0]
