"""What all panels of the plot share: colours, markers, the phase plane of dynamics with one coordinate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.lines import Line2D
from torch import Tensor

from foreseen.analysis.fixed_points import FixedPoint
from foreseen.analysis.system_analysis import SystemAnalysis
from foreseen.core.dynamical_system import DynamicalSystem

# Okabe and Ito's colours, told apart by colour-blind readers; marks differ in shape too.
BLACK, GREY, BLUE, ORANGE, PURPLE = "#000000", "0.5", "#0072b2", "#e69f00", "#cc79a7"
MARKERS: dict[str, dict[str, Any]] = {
    "stable": {"marker": "o", "markerfacecolor": "#009e73"},
    "unstable": {"marker": "X", "markerfacecolor": "#d55e00"},
    "neutral": {"marker": "D", "markerfacecolor": "#f0e442"},
}
"""Markers of fixed points, by stability."""
PLOT_MARGIN = 0.12
"""Margin of the plotted phase plane around the observed states, as a share of their extent."""


@dataclass(frozen=True)
class PhasePlane:
    """The plotted region of states with one coordinate.

    Attributes:
        q, v: lowest and highest coordinate and velocity.
    """

    q: tuple[float, float]
    v: tuple[float, float]

    @classmethod
    def of(cls, system: DynamicalSystem) -> PhasePlane:
        """The box of the observed states with a margin."""
        low, high = system.box
        margin = PLOT_MARGIN * (high - low)
        (q0, v0), (q1, v1) = (low - margin).tolist(), (high + margin).tolist()
        return cls((q0, q1), (v0, v1))

    def grid(self, count: int) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """q `[count]`, q' `[count]` and the states `[count, count, 2]`, rows of one q'."""
        q, v = (torch.linspace(*ends, count, dtype=torch.float64) for ends in (self.q, self.v))
        rows, columns = torch.meshgrid(v, q, indexing="ij")
        return q.numpy(), v.numpy(), torch.stack([columns, rows], dim=-1)

    @torch.no_grad()
    def rates(self, system: DynamicalSystem, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `grid`, with rates instead of states."""
        q, v, states = self.grid(count)
        return q, v, system.rate(states).numpy()

    def frame(self, axis: Any) -> None:
        """Sets the limits."""
        axis.set_xlim(*self.q)
        axis.set_ylim(*self.v)


def legend(analysis: SystemAnalysis) -> tuple[list[Line2D], list[str]]:
    """Legend of the markers that all panels share."""
    lines: dict[str, Line2D] = {"observed trajectories": Line2D([], [], color=BLUE, marker=".")}
    for stability in MARKERS:
        if any(p.stability == stability for p in analysis.fixed_points):
            style = {"linestyle": "", "markeredgecolor": BLACK, "markersize": 9, **MARKERS[stability]}
            lines[f"{stability} fixed point"] = Line2D([], [], **style)
    if analysis.true_dynamics.points:
        lines["true fixed point"] = Line2D(
            [], [], linestyle="", marker="+", color=BLACK, markersize=12, markeredgewidth=1.6
        )
    if len(analysis.system.names) == 2 and any(p.kind.startswith("saddle") for p in analysis.fixed_points):
        lines["separatrix"] = Line2D([], [], color=PURPLE, linewidth=2.2, linestyle="--")
    return list(lines.values()), list(lines)


def draw_fixed_points(axis: Any, marks: Sequence[tuple[FixedPoint, Sequence[float]]]) -> None:
    """Each at its position in the panel."""
    for point, position in marks:
        style = MARKERS[point.stability]
        axis.plot(*position, linestyle="", markeredgecolor=BLACK, markersize=10, zorder=5, **style)


def draw_separatrices(axis: Any, analysis: SystemAnalysis) -> None:
    """The separatrices."""
    for curve in analysis.flow.separatrices(analysis.fixed_points):
        axis.plot(*curve.T.numpy(), color=PURPLE, linewidth=2.2, linestyle="--", zorder=4)


def draw_true_points(axis: Any, analysis: SystemAnalysis) -> None:
    """The true fixed points, at the coordinate whose position in the scene is nearest to theirs."""
    path = _path(analysis.system)
    if path is None:
        return
    q, positions = path
    for true in analysis.true_dynamics.points:
        distances = np.linalg.norm(positions - true.position, axis=-1).min(-1)
        if q[0] < q[distances.argmin()] < q[-1]:
            axis.plot(q[distances.argmin()], 0, "+", color=BLACK, markersize=16, markeredgewidth=1.6, zorder=6)


@torch.no_grad()
def _path(system: DynamicalSystem) -> tuple[np.ndarray, np.ndarray] | None:
    """q `[N]` and positions of the bodies `[N, B, 3]`, for dynamics of one coordinate."""
    if system.positions is None:
        return None
    q = torch.linspace(*PhasePlane.of(system).q, 801, dtype=torch.float64)
    return q.numpy(), system.positions(torch.stack([q, torch.zeros_like(q)], dim=-1)).numpy()


def position_axis(system: DynamicalSystem) -> tuple[str, Callable[[Any], Any], Callable[[Any], Any]] | None:
    """Name of the scene's axis along which the only body moves farthest, with the maps from q to it and back; None
    where there are several bodies, or the map cannot be inverted."""
    path = _path(system)
    if path is None or path[1].shape[1] != 1:
        return None
    q, positions = path[0], path[1][:, 0]
    axis = int(np.ptp(positions, axis=0).argmax())
    x = positions[:, axis]
    increments = np.diff(x) * np.sign(x[-1] - x[0])
    if not (increments > 0).all():
        return None
    back_x, back_q = (x, q) if x[-1] > x[0] else (x[::-1], q[::-1])
    return "xyz"[axis], lambda u: _extrapolated(u, q, x), lambda u: _extrapolated(u, back_x, back_q)


def thin_out_ticks(ticks: Sequence[float], positions: np.ndarray, minimum: float) -> list[float]:
    """Those of `ticks` whose `positions` are at least `minimum` apart, chosen from the middle outward."""
    middle = len(ticks) // 2
    kept = [middle]
    for index in [*range(middle + 1, len(ticks)), *range(middle - 1, -1, -1)]:
        if min(abs(positions[index] - positions[k]) for k in kept) >= minimum:
            kept.append(index)
    return [ticks[k] for k in sorted(kept)]


def _extrapolated(u: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Linear interpolation, and linear extrapolation beyond both ends, which Matplotlib asks for too."""
    u = np.asarray(u, dtype=float)
    inside = np.interp(u, x, y)
    slope = (y[-1] - y[0]) / (x[-1] - x[0])
    return inside + slope * (np.minimum(u - x[0], 0) + np.maximum(u - x[-1], 0))


def true_potential(analysis: SystemAnalysis, q: Tensor) -> np.ndarray | None:
    """g z of the only body at coordinates `[N, 1]`; None where g is unknown or there are several bodies."""
    gravities = {truth.constants["gravity"] for truth in analysis.true_dynamics.ground_truths.values()}
    if analysis.system.positions is None or len(gravities) != 1:
        return None
    with torch.no_grad():
        positions = analysis.system.positions(torch.cat([q, torch.zeros_like(q)], dim=-1)).numpy()
    return gravities.pop() * positions[:, 0, 2] if positions.shape[1] == 1 else None


@torch.no_grad()
def most_extended_axes(system: DynamicalSystem) -> list[int]:
    """The two axes of the scene with the largest extents of the observed positions, in order."""
    states = torch.cat([one.states for one in system.trajectories])
    positions = system.positions(states).flatten(0, -2)  # type: ignore[misc]
    extent = (positions.amax(0) - positions.amin(0)).tolist()
    return sorted(sorted(range(3), key=lambda k: -extent[k])[:2])


def positions_at_fixed_points(analysis: SystemAnalysis, across: list[int]) -> list[tuple[FixedPoint, Sequence[float]]]:
    """The fixed points with the positions of the bodies there."""
    marks: list[tuple[FixedPoint, Sequence[float]]] = []
    for point in analysis.fixed_points:
        with torch.no_grad():
            positions = analysis.system.positions(point.state).numpy()  # type: ignore[misc]
        marks += [(point, position[across].tolist()) for position in positions]
    return marks


@torch.no_grad()
def draw_potential_contours(axis: Any, analysis: SystemAnalysis, across: list[int]) -> bool:
    """Contours of the potential of dynamics with two coordinates and one body, at the body's positions. Returns whether
    there are any."""
    system = analysis.system
    if not system.second_order or len(system.names) != 4 or system.potential is None or system.positions is None:
        return False
    low, high = (end[:2] for end in system.box)
    margin = PLOT_MARGIN * (high - low)
    lines = [torch.linspace(float(a), float(b), 81, dtype=torch.float64) for a, b in zip(low - margin, high + margin)]
    q = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1)
    positions = system.positions(torch.cat([q, torch.zeros_like(q)], dim=-1).flatten(0, 1)).unflatten(0, (81, 81))
    if positions.shape[-2] != 1:
        return False
    x, y = (positions[..., 0, k].numpy() for k in across)
    height = system.potential(q)
    lowest = height.min()
    top = float(system.potential(torch.cat([one.states[:, :2] for one in system.trajectories])).max() - lowest)
    # Even steps of the square root: in a bowl the contours are evenly spaced.
    levels = top * np.linspace(0.15, 1.0, 7) ** 2
    drawn = axis.contour(x, y, (height - lowest).numpy(), levels=levels, colors="0.6", linewidths=0.9)
    axis.clabel(drawn, fontsize=7, fmt="%.2g")
    return True
