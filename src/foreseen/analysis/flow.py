"""Trajectories of learned dynamics: forecasts, Lyapunov exponents, separatrices."""

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
"""Upper bound of the solver's step times the largest eigenvalue at observed states. Smaller is more exact and slower;
at 0.1 RK4 loses less than 1e-5 of an oscillation's energy in a window."""
MIN_STEPS, MAX_STEPS = 40, 4000
"""Bounds of the solver's steps in a window."""
MAX_STATES, MAX_SEQUENCES = 40, 24
"""Upper bounds of the observed states that set the step, and of the sequences that are integrated."""
OUT_OF_RANGE = 2.0
"""A trajectory ends where it is this many extents outside the box of the observed states: nothing was learned there."""
PERTURBATION = 1e-7
"""Initial distance of two neighbouring trajectories, in extents of the box."""
RENORMALIZATIONS, LYAPUNOV_WINDOWS = 20, 10
"""The distance is reset this many times in a window, for this many windows; the first half is not measured. More give a
more exact exponent."""
SIGNIFICANT_GROWTH = 1.0
"""An exponent counts as different from 0 when it changes the distance by more than a factor of e to this power while it
is measured."""
MAX_DIMS = 64
"""The growth within the window is computed for states of at most this many components."""


@dataclass(frozen=True)
class LyapunovExponents:
    """How fast neighbouring trajectories separate, for S trajectories.

    Attributes:
        largest: `[S]` largest Lyapunov exponent from each sequence's start, per unit of time; NaN where the trajectory
            leaves the learned region.
        growth: `[S]` largest factor by which the distance of two neighbours grows within the window; NaN for large
            states.
        measured: length of time over which `largest` was measured.
    """

    largest: Tensor
    growth: Tensor
    measured: float

    @property
    def mean(self) -> float | None:
        """Mean over the trajectories that stay in the learned region."""
        finite = self.largest[torch.isfinite(self.largest)]
        return float(finite.mean()) if len(finite) else None

    @property
    def describe(self) -> str:
        """The sign of the mean."""
        if self.mean is None:
            return "every trajectory leaves the learned region"
        if abs(self.mean) * self.measured <= SIGNIFICANT_GROWTH:
            return f"not different from 0 over {self.measured:.3g} time units"
        return "positive: neighbours separate" if self.mean > 0 else "negative: neighbours converge"


@dataclass(frozen=True)
class PhaseFlow:
    """A system with solver steps and initial states.

    Attributes:
        steps: of the solver in a window.
        starts: `[S, D]` initial states of the forecasts of the first sequences.
    """

    system: DynamicalSystem
    steps: int
    starts: Tensor

    @classmethod
    def of(cls, system: DynamicalSystem) -> PhaseFlow:
        """With steps that resolve the fastest motion."""
        states = torch.cat([one.states for one in system.trajectories])
        states = states[torch.linspace(0, len(states) - 1, min(len(states), MAX_STATES)).round().long()]
        jacobians = value_and_jacobian(system.rate, states)[1]
        fastest = float(torch.linalg.eigvals(jacobians).abs().max())
        steps = min(max(math.ceil(fastest * system.window / MAX_STEP_EIGENVALUE), MIN_STEPS), MAX_STEPS)
        return cls(system, steps, torch.stack([one.start for one in system.trajectories[:MAX_SEQUENCES]]))

    @torch.no_grad()
    def integrate(self, states: Tensor, windows: float, count: int, coarsening: int = 1) -> Tensor:
        """States `[count + 1, ..., D]` at evenly spaced times from `states` `[..., D]` on; with negative `windows`
        backward in time. NaN from where a trajectory leaves the learned region."""
        between = max(1, math.ceil(self.steps * abs(windows) / count / coarsening))
        times = torch.linspace(0, windows * self.system.window, count * between + 1, dtype=states.dtype)
        path = integrate(lambda _, y: self.system.rate(y), states, times)[::between]
        left = (~self.in_range(path)).cumsum(0) > 0
        return torch.where(left[..., None], torch.nan, path)

    def in_range(self, path: Tensor) -> Tensor:
        """Which states `[..., D]` lie in the learned region: the box of the observed states and `OUT_OF_RANGE`
        around."""
        low, extent = scaled_box(self.system)
        scaled = (path - low) / extent
        return ((scaled >= -OUT_OF_RANGE) & (scaled <= 1 + OUT_OF_RANGE)).all(-1)

    @torch.no_grad()
    def lyapunov(self, seed: int = 0) -> LyapunovExponents:
        """From two trajectories (Benettin et al. 1980): the distance of a neighbour is reset to a small value again and
        again; the exponent is the mean logarithm of its growth. Distances are in extents of the box."""
        _, extent = scaled_box(self.system)
        states = self.starts
        generator = torch.Generator().manual_seed(seed)
        offset = torch.randn(states.shape, generator=generator, dtype=states.dtype)
        offset = offset / offset.norm(dim=-1, keepdim=True)
        total = LYAPUNOV_WINDOWS * RENORMALIZATIONS
        log_growth = torch.zeros(len(states), dtype=states.dtype)
        for index in range(total):
            both = torch.stack([states, states + PERTURBATION * extent * offset])
            states, other = self.integrate(both, 1 / RENORMALIZATIONS, 1, coarsening=2)[-1]
            offset = (other - states) / (PERTURBATION * extent)
            size = offset.norm(dim=-1, keepdim=True)
            offset = offset / size
            if index >= total // 2:
                log_growth += size[:, 0].log()
        measured = self.system.window * (LYAPUNOV_WINDOWS - (total // 2) / RENORMALIZATIONS)
        return LyapunovExponents(log_growth / measured, self._growth(), measured)

    def _growth(self) -> Tensor:
        """`[S]` largest singular value, over the window's times, of the derivative of the state with respect to the
        initial state."""
        if self.starts.shape[-1] > MAX_DIMS:
            return torch.full((len(self.starts),), torch.nan, dtype=self.starts.dtype)
        _, extent = scaled_box(self.system)
        around = self.starts[:, None] + PERTURBATION * torch.cat([torch.diag(extent), -torch.diag(extent)])
        plus, minus = (self.integrate(around, 1.0, RENORMALIZATIONS, coarsening=2) / extent).chunk(2, dim=-2)
        slopes = (plus - minus) / (2 * PERTURBATION)
        finite = torch.isfinite(slopes).all(-1).all(-1).all(0)
        largest = torch.linalg.matrix_norm(torch.nan_to_num(slopes), ord=2).amax(0)
        return torch.where(finite, largest, torch.nan)

    def separatrices(self, points: list[FixedPoint], windows: float = 4.0) -> list[Tensor]:
        """Separatrices of dynamics with one coordinate: `[N, 2]` curves that run into its saddles, integrated backward
        in time from beside each saddle, along its stable direction."""
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
