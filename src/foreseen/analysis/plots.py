"""An analysis as a plot: phase portrait, potential, and the Node-RF paper's indicator."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from foreseen.analysis import plot_elements
from foreseen.analysis.energy import potential_of
from foreseen.analysis.indicator import code_indicator
from foreseen.analysis.plot_elements import BLACK, BLUE, GREY, ORANGE, PURPLE, PhasePlane
from foreseen.analysis.system_analysis import SystemAnalysis
from foreseen.data.plot_text import in_unit

GRID_POINTS = 161
"""Grid points along each axis of a map."""


def draw(analysis: SystemAnalysis, content: dict[str, Any]) -> bytes:
    """A PNG of all panels that the system has."""
    if analysis.system.second_order and len(analysis.system.names) == 2:
        panels = [_phase_portrait, _potential, _indicator_map]
    else:
        panels = [_positions if analysis.system.positions is not None else _states, _indicator_curves]
    figure = Figure(figsize=(6.0 * len(panels), 5.6), layout=ConstrainedLayoutEngine(wspace=0.06))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for panel, axis in zip(panels, axes):
        panel(axis, analysis, content)
    figure.legend(*plot_elements.legend(analysis), loc="outside lower center", ncols=6, frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()


# Dynamics with one coordinate.


def _phase_portrait(axis: Any, analysis: SystemAnalysis, content: dict[str, Any]) -> None:
    plane = PhasePlane.of(analysis.system)
    q, v, rates = plane.rates(analysis.system, 41)
    axis.streamplot(q, v, rates[..., 0], rates[..., 1], color="0.72", linewidth=0.7, arrowsize=0.9, density=1.3)
    for one in analysis.system.trajectories:
        axis.plot(*one.states.T.numpy(), color=BLUE, linewidth=1.1, alpha=0.65)
        axis.plot(*one.start.numpy(), ".", color=BLUE, markersize=6)
    plot_elements.draw_separatrices(axis, analysis)
    plot_elements.draw_fixed_points(axis, [(p, tuple(p.state.tolist())) for p in analysis.fixed_points])
    plot_elements.draw_true_points(axis, analysis)
    plane.frame(axis)
    axis.set_title("phase portrait")
    _label_coordinate(axis, analysis, content)
    axis.set_ylabel(f"q', its rate{in_unit(content['time_unit'], '1/')}")


def _potential(axis: Any, analysis: SystemAnalysis, content: dict[str, Any]) -> None:
    plane, potential = PhasePlane.of(analysis.system), potential_of(analysis.system)
    q = torch.linspace(*plane.q, 2 * GRID_POINTS, dtype=torch.float64)[:, None]
    with torch.no_grad():
        height = potential(q) if potential is not None else torch.zeros(len(q), dtype=torch.float64)
    low, high = analysis.system.box
    observed = (q[:, 0] >= low[0]) & (q[:, 0] <= high[0])
    shift = height[observed].min()
    if (true := plot_elements.true_potential(analysis, q)) is not None:
        fit = np.polyfit(true[observed.numpy()], height[observed].numpy(), 1)
        scaled = np.polyval(fit, true) - float(shift)
        axis.plot(q[:, 0], scaled, color=ORANGE, linewidth=4, alpha=0.6, label="true g z, scaled to fit")
    axis.plot(q[:, 0], height - shift, color=BLACK, linewidth=1.6, label="learned")
    axis.axvspan(float(low[0]), float(high[0]), color=GREY, alpha=0.12, linewidth=0, label="observed")
    places = [float(p.state[0]) for p in analysis.fixed_points]
    marks = [(x, float(np.interp(x, q[:, 0], height - shift))) for x in places]
    plot_elements.draw_fixed_points(axis, list(zip(analysis.fixed_points, marks)))
    top = float((height - shift)[observed].max())
    axis.set_ylim(-0.08 * top, 1.25 * top)
    axis.set_xlim(*plane.q)
    axis.set_title("potential of the learned dynamics")
    axis.set_ylabel("energy of a unit of mass")
    axis.legend(frameon=False, loc="upper center", ncols=3, fontsize=9)
    axis.spines[["right"]].set_visible(False)
    _label_coordinate(axis, analysis, content)


def _indicator_map(axis: Any, analysis: SystemAnalysis, content: dict[str, Any]) -> None:
    plane = PhasePlane.of(analysis.system)
    q, v, states = plane.grid(GRID_POINTS)
    values = code_indicator(analysis.system, states).numpy()
    maximum = float(np.quantile(np.abs(values), 0.98)) or 1.0
    drawn = axis.pcolormesh(q, v, values, cmap="PuOr", vmin=-maximum, vmax=maximum, shading="gouraud", rasterized=True)
    axis.contour(q, v, values, levels=[0.0], colors=BLACK, linewidths=1.2)
    bar = axis.figure.colorbar(drawn, ax=axis, pad=0.02, extend="both")
    bar.set_label(f"sum of dc/dt{in_unit(content['time_unit'], '1/')}; line: 0")
    plot_elements.draw_fixed_points(axis, [(p, tuple(p.state.tolist())) for p in analysis.fixed_points])
    plane.frame(axis)
    mean = content["indicator"]["divergence"]["mean"]
    name = content["indicator"]["code"]
    axis.set_title(f"paper's indicator, c being {name}\n(true divergence: {mean:.2g} on average)", fontsize=11)
    _label_coordinate(axis, analysis, content, above=False)
    axis.set_ylabel(f"q'{in_unit(content['time_unit'], '1/')}")


def _label_coordinate(axis: Any, analysis: SystemAnalysis, content: dict[str, Any], above: bool = True) -> None:
    axis.set_xlabel("q, position along the path [1 = usual spread]")
    position_axis = plot_elements.position_axis(analysis.system)
    if above and position_axis is not None:
        name, forward, backward = position_axis
        upper = axis.secondary_xaxis("top", functions=(forward, backward))
        upper.set_xlabel(f"{name} of the body{in_unit(content['length_unit'])}", color="0.35")
        upper.tick_params(colors="0.35", labelsize=9)
        first, last = axis.get_xlim()
        ends = sorted(float(x) for x in forward(np.array([first, last])))
        ticks = [t for t in MaxNLocator(10).tick_values(*ends) if ends[0] <= t <= ends[1]]
        upper.set_xticks(plot_elements.thin_out_ticks(ticks, backward(np.array(ticks)), 0.09 * (last - first)))


# Dynamics with several coordinates.


def _positions(axis: Any, analysis: SystemAnalysis, content: dict[str, Any]) -> None:
    """The plane in which the bodies move most, with contours of the potential for two coordinates."""
    system, across = analysis.system, plot_elements.most_extended_axes(analysis.system)
    lines = plot_elements.draw_potential_contours(axis, analysis, across)
    for one in system.trajectories:
        with torch.no_grad():
            positions = system.positions(one.states).numpy()  # type: ignore[misc]
        for body in range(positions.shape[1]):
            axis.plot(*positions[:, body][:, across].T, color=BLUE, linewidth=0.9, alpha=0.6)
            axis.plot(*positions[0, body][across], ".", color=BLUE, markersize=5)
    plot_elements.draw_fixed_points(axis, plot_elements.positions_at_fixed_points(analysis, across))
    for true in analysis.true_dynamics.points:
        axis.plot(*true.position[across], "+", color=BLACK, markersize=15, markeredgewidth=1.6, zorder=6)
    unit = in_unit(content["length_unit"])
    axis.set_xlabel(f"{'xyz'[across[0]]}{unit}")
    axis.set_ylabel(f"{'xyz'[across[1]]}{unit}")
    axis.set_aspect("equal", adjustable="datalim")
    axis.set_title("observed positions and fixed points" + ("; contours: learned potential" if lines else ""))


def _states(axis: Any, analysis: SystemAnalysis, content: dict[str, Any]) -> None:
    """Two principal components of the states."""
    del content
    states = torch.cat([one.states for one in analysis.system.trajectories])
    mean = states.mean(0)
    directions = torch.linalg.svd(states - mean, full_matrices=False)[2][:2].T
    for one in analysis.system.trajectories:
        axis.plot(*((one.states - mean) @ directions).T.numpy(), color=BLUE, linewidth=1.1, alpha=0.7)
        axis.plot(*((one.start - mean) @ directions).numpy(), ".", color=BLUE, markersize=6)
    marks = [(p, tuple(((p.state - mean) @ directions).tolist())) for p in analysis.fixed_points]
    plot_elements.draw_fixed_points(axis, marks)
    axis.set_xlabel("first principal component of the state")
    axis.set_ylabel("second")
    axis.set_title("observed trajectories of the state")


def _indicator_curves(axis: Any, analysis: SystemAnalysis, content: dict[str, Any]) -> None:
    del analysis
    unit = in_unit(content["time_unit"], "1/")
    for course in content["indicator"]["courses"]:
        times = np.array(course["times"]) - course["times"][0]
        axis.plot(times, course["indicator"], color=PURPLE, linewidth=0.9, alpha=0.6)
        axis.plot(times, course["divergence"], color=BLACK, linewidth=1.4, linestyle="--")
    axis.plot([], [], color=PURPLE, label=f"sum of dc/dt, c being {content['indicator']['code']}")
    axis.plot([], [], color=BLACK, linestyle="--", label="true divergence tr(df/dy)")
    axis.axhline(0, color=GREY, linewidth=0.8)
    axis.set_xlabel(f"time since the first frame{in_unit(content['time_unit'])}")
    axis.set_ylabel(f"rate{unit}")
    axis.set_title("paper's indicator along observed trajectories")
    axis.legend(frameon=False, fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
