"""Values of the initial condition that a user can set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foreseen.core.capabilities import observation_kinds
from foreseen.core.scene_info import sequence_names
from foreseen.data.typed_values import AXES
from foreseen.data.types import Dataset, GroundTruth

if TYPE_CHECKING:
    from foreseen.runs.run import Run

STATIC_AXIS_SHARE = 0.02
"""An axis is left out if the bodies move along it by less than this share of their largest motion."""
DEPENDENT_SHARE = 0.1
"""An axis depends on others if positions that agree in these differ along it by less than this share of its range."""
RANGE_MARGIN = 0.15
"""Sliders extend beyond the observed values by this share of their range."""
MAX_POSITIONS = 400
"""Number of positions that are compared."""


@dataclass(frozen=True)
class StateControl:
    """One value of the initial condition.

    Attributes:
        name: as `--initial` takes it: "x", "vx", "left.x".
        body, axis: which body, and 0 to 2.
        velocity: it is a velocity, not a position.
        low, high: range of the slider.
        value: at first.
    """

    name: str
    body: int
    axis: int
    velocity: bool
    low: float
    high: float
    value: float


def find_state_controls(run: Run, data: Dataset) -> tuple[StateControl, ...]:
    """Controls for positions and velocities of each body along the axes in which it is free; none for a run that takes
    no initial conditions. The bodies are those of the first training sequence, the ranges those that were observed."""
    trained = set(sequence_names(data, run.splits().frames["train"]))
    ground_truths = [
        s.truth for s in data.sequences if s.name in trained and s.truth is not None and len(s.truth.times)
    ]
    if "initial" not in observation_kinds(run.method) or not ground_truths or data.ndc:
        return ()
    bodies = ground_truths[0].bodies
    ground_truths = [truth for truth in ground_truths if truth.bodies == bodies]
    return tuple(
        control
        for body in range(len(bodies))
        for control in _controls_of_body(ground_truths, body, "" if len(bodies) == 1 else f"{bodies[body]}.")
    )


def _controls_of_body(ground_truths: Sequence[GroundTruth], body: int, prefix: str) -> list[StateControl]:
    positions = np.concatenate([t.positions[:, body] for t in ground_truths])
    rates = np.concatenate([t.velocities[:, body] for t in ground_truths])
    state_controls = []
    for axis in free_axes(positions):
        low, high = _widened(positions[:, axis])
        middle = float(ground_truths[0].positions[0, body, axis])
        state_controls.append(StateControl(f"{prefix}{AXES[axis]}", body, axis, False, low, high, middle))
    for axis in free_axes(positions):
        low, high = _widened(np.append(rates[:, axis], 0.0))
        rate = float(ground_truths[0].velocities[0, body, axis])
        state_controls.append(StateControl(f"{prefix}v{AXES[axis]}", body, axis, True, low, high, rate))
    return state_controls


def free_axes(positions: np.ndarray) -> tuple[int, ...]:
    """The axes, ascending, that determine positions `[N, 3]` on a curve or a surface. Axes are taken by decreasing
    range, and those that depend on the ones before are left out: x alone determines a bead on a hill."""
    spread = np.ptp(positions, axis=0)
    sample = positions[np.linspace(0, len(positions) - 1, min(len(positions), MAX_POSITIONS)).round().astype(int)]
    free: list[int] = []
    for axis in np.argsort(-spread, kind="stable").tolist():
        if spread[axis] <= STATIC_AXIS_SHARE * max(float(spread.max()), 1e-12):
            continue
        if not free or not _depends(sample, axis, free, spread):
            free.append(axis)
    return tuple(sorted(free))


def _depends(positions: np.ndarray, axis: int, others: list[int], spread: np.ndarray) -> bool:
    """Whether positions that are near in `others` are near along `axis`."""
    scaled = positions[:, others] / spread[others]
    apart = np.abs(scaled[:, None] - scaled[None]).max(-1)
    np.fill_diagonal(apart, np.inf)
    near = np.argsort(apart, axis=1)[:, :3]
    differ = np.abs(positions[near, axis] - positions[:, axis][:, None]) / spread[axis]
    return bool(np.quantile(differ, 0.8) < DEPENDENT_SHARE)


def _widened(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    more = RANGE_MARGIN * max(high - low, 1e-6)
    return low - more, high + more


def format_initial_condition(state_controls: Sequence[StateControl], values: Sequence[float]) -> str:
    """The values as `foreseen render --initial` takes them."""
    return ",".join(f"{control.name}={value:.6g}" for control, value in zip(state_controls, values))
