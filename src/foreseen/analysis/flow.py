"""Following a law: forecasts, how fast neighbours part, and the borders between where they end."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from foreseen.analysis.fixed_points import FixedPoint, scaled_box
from foreseen.analysis.jacobians import value_and_jacobian
from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.ode import integrate

MAX_STEP_EIGENVALUE = 0.1
"""A step of the solver times the largest eigenvalue that was seen is at most this: then RK4 loses less than a hundred
thousandth of a swing's energy in a window."""
MIN_STEPS, MAX_STEPS = 40, 4000
"""Steps in a window."""
MAX_STATES, MAX_SEQUENCES = 40, 24
"""At most so many seen states tell the step; so many sequences are followed."""
OUT_OF_RANGE = 2.0
"""A solution that is so many extents outside the box of what was seen has left all that was learned."""
PERTURBATION = 1e-7
"""Distance of two neighbours, in extents of the box."""
RENORMALIZATIONS, LYAPUNOV_WINDOWS = 20, 10
"""A neighbour is called back so many times in a window, for so many windows, of which the first half passes
unmeasured."""
SIGNIFICANT_GROWTH = 1.0
"""An exponent is told from 0 where it makes the distance grow or shrink by more than e to this while it is measured."""
MAX_DIMS = 64
"""The growth within the window is found for states of at most so many components."""


@dataclass(frozen=True)
class LyapunovExponents:
    """How fast neighbours part along S trajectories.

    Attributes:
        largest: `[S]` largest Lyapunov exponent from each sequence's start, per unit of time; not a number where the
            solution leaves what was learned.
        growth: `[S]` by which factor the distance of two neighbours grows within the window, at most; not a number for
            large states.
        measured: length of time over which `largest` was measured.
    """

    largest: Tensor
    growth: Tensor
    measured: float

    @property
    def mean(self) -> float | None:
        """Over the trajectories that stay."""
        known = self.largest[torch.isfinite(self.largest)]
        return float(known.mean()) if len(known) else None

    @property
    def describe(self) -> str:
        """The sign of the mean."""
        if self.mean is None:
            return "every solution leaves what was learned"
        if abs(self.mean) * self.measured <= SIGNIFICANT_GROWTH:
            return f"not told from 0 over {self.measured:.3g} time units"
        return "positive: neighbours part" if self.mean > 0 else "negative: neighbours meet"


@dataclass(frozen=True)
class PhaseFlow:
    """A system, and what is needed to follow it.

    Attributes:
        steps: of the solver in a window.
        starts: `[S, D]` what the forecasts of the first sequences begin with.
    """

    system: DynamicalSystem
    steps: int
    starts: Tensor

    @classmethod
    def of(cls, system: DynamicalSystem) -> PhaseFlow:
        """With steps that suit the fastest motion."""
        states = torch.cat([one.states for one in system.trajectories])
        states = states[torch.linspace(0, len(states) - 1, min(len(states), MAX_STATES)).round().long()]
        jacobians = value_and_jacobian(system.rate, states)[1]
        fastest = float(torch.linalg.eigvals(jacobians).abs().max())
        steps = min(max(math.ceil(fastest * system.window / MAX_STEP_EIGENVALUE), MIN_STEPS), MAX_STEPS)
        return cls(system, steps, torch.stack([one.start for one in system.trajectories[:MAX_SEQUENCES]]))

    @torch.no_grad()
    def integrate(self, states: Tensor, windows: float, count: int, coarsening: int = 1) -> Tensor:
        """`[count + 1, ..., D]` at even times from `states` `[..., D]` on; with negative `windows` back in time. Not a
        number from where a solution leaves all that was learned."""
        between = max(1, math.ceil(self.steps * abs(windows) / count / coarsening))
        times = torch.linspace(0, windows * self.system.window, count * between + 1, dtype=states.dtype)
        path = integrate(lambda _, y: self.system.rate(y), states, times)[::between]
        gone = (~self.in_range(path)).cumsum(0) > 0
        return torch.where(gone[..., None], torch.nan, path)

    def in_range(self, path: Tensor) -> Tensor:
        """Which states `[..., D]` lie within reach of what was seen."""
        low, extent = scaled_box(self.system)
        place = (path - low) / extent
        return ((place >= -OUT_OF_RANGE) & (place <= 1 + OUT_OF_RANGE)).all(-1)

    @torch.no_grad()
    def lyapunov(self, seed: int = 0) -> LyapunovExponents:
        """By two trajectories (Benettin et al. 1980): the neighbour is called back to a small distance again and again,
        and the exponent is the mean logarithm of its growth. Distances are in extents of the box."""
        _, extent = scaled_box(self.system)
        states = self.starts
        generator = torch.Generator().manual_seed(seed)
        away = torch.randn(states.shape, generator=generator, dtype=states.dtype)
        away = away / away.norm(dim=-1, keepdim=True)
        total = LYAPUNOV_WINDOWS * RENORMALIZATIONS
        grown = torch.zeros(len(states), dtype=states.dtype)
        for index in range(total):
            both = torch.stack([states, states + PERTURBATION * extent * away])
            states, other = self.integrate(both, 1 / RENORMALIZATIONS, 1, coarsening=2)[-1]
            away = (other - states) / (PERTURBATION * extent)
            size = away.norm(dim=-1, keepdim=True)
            away = away / size
            if index >= total // 2:
                grown += size[:, 0].log()
        measured = self.system.window * (LYAPUNOV_WINDOWS - (total // 2) / RENORMALIZATIONS)
        return LyapunovExponents(grown / measured, self._growth(), measured)

    def _growth(self) -> Tensor:
        """`[S]` largest singular value, over the window's times, of how the state then depends on that at the
        beginning."""
        if self.starts.shape[-1] > MAX_DIMS:
            return torch.full((len(self.starts),), torch.nan, dtype=self.starts.dtype)
        _, extent = scaled_box(self.system)
        around = self.starts[:, None] + PERTURBATION * torch.cat([torch.diag(extent), -torch.diag(extent)])
        plus, minus = (self.integrate(around, 1.0, RENORMALIZATIONS, coarsening=2) / extent).chunk(2, dim=-2)
        slopes = (plus - minus) / (2 * PERTURBATION)
        whole = torch.isfinite(slopes).all(-1).all(-1).all(0)
        found = torch.linalg.matrix_norm(torch.nan_to_num(slopes), ord=2).amax(0)
        return torch.where(whole, found, torch.nan)

    def separatrices(self, points: list[FixedPoint], windows: float = 4.0) -> list[Tensor]:
        """The border between where solutions end, of a law of one coordinate: `[N, 2]` curves that run into its
        saddles, found backward in time from beside each, along the direction that leads in."""
        _, extent = scaled_box(self.system)
        curves = []
        for point in points:
            if len(point.state) != 2 or not point.kind.startswith("saddle"):
                continue
            values, vectors = torch.linalg.eig(point.jacobian)
            inward = vectors[:, int(values.real.argmin())].real
            inward = PERTURBATION**0.5 * inward / (inward / extent).norm()
            for side in (1, -1):
                path = self.integrate(point.state + side * inward, -windows, math.ceil(self.steps * windows))
                curves.append(path[torch.isfinite(path).all(-1)])
        return curves
