"""Initial conditions that can be turned by hand."""

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
    from foreseen.training.run import Run

STATIC_AXIS_SHARE = 0.02
"""An axis along which the bodies move less than this share of their way is left out."""
DEPENDENT_SHARE = 0.1
"""An axis follows from others where places that agree in these differ along it by less than this share of its range."""
RANGE_MARGIN = 0.15
"""Knobs go on beyond what was seen by this share of its range."""
MAX_POSITIONS = 400
"""So many places are compared."""


@dataclass(frozen=True)
class StateControl:
    """One number of the initial conditions.

    Attributes:
        name: as `--initial` takes it: "x", "vx", "left.x".
        body, axis: which body, and 0 to 2.
        velocity: it is a velocity, not a position.
        low, high: range of the slider.
        value: where it stands at first.
    """

    name: str
    body: int
    axis: int
    velocity: bool
    low: float
    high: float
    value: float


def find_state_controls(run: Run, data: Dataset) -> tuple[StateControl, ...]:
    """Positions and velocities of each body along the axes in which it is free, over what was seen of them; none for a
    run that takes no initial conditions. The bodies are those of the first sequence that was learned."""
    learned = set(sequence_names(data, run.splits().frames["train"]))
    ground_truths = [
        s.truth for s in data.sequences if s.name in learned and s.truth is not None and len(s.truth.times)
    ]
    if "initial" not in observation_kinds(run.method) or not ground_truths or data.ndc:
        return ()
    bodies = ground_truths[0].bodies
    ground_truths = [truth for truth in ground_truths if truth.bodies == bodies]
    return tuple(
        knob
        for body in range(len(bodies))
        for knob in _of_body(ground_truths, body, "" if len(bodies) == 1 else f"{bodies[body]}.")
    )


def _of_body(ground_truths: Sequence[GroundTruth], body: int, prefix: str) -> list[StateControl]:
    positions = np.concatenate([t.positions[:, body] for t in ground_truths])
    rates = np.concatenate([t.velocities[:, body] for t in ground_truths])
    state_controls = []
    for axis in free_axes(positions):
        low, high = _wider(positions[:, axis])
        middle = float(ground_truths[0].positions[0, body, axis])
        state_controls.append(StateControl(f"{prefix}{AXES[axis]}", body, axis, False, low, high, middle))
    for axis in free_axes(positions):
        low, high = _wider(np.append(rates[:, axis], 0.0))
        rate = float(ground_truths[0].velocities[0, body, axis])
        state_controls.append(StateControl(f"{prefix}v{AXES[axis]}", body, axis, True, low, high, rate))
    return state_controls


def free_axes(positions: np.ndarray) -> tuple[int, ...]:
    """Of places `[N, 3]` on a curve or a surface: axes that tell a place, ascending, the widest taken first. What
    follows from these is left out: a bead on a hill is told by x alone."""
    spread = np.ptp(positions, axis=0)
    some = positions[np.linspace(0, len(positions) - 1, min(len(positions), MAX_POSITIONS)).round().astype(int)]
    free: list[int] = []
    for axis in np.argsort(-spread, kind="stable").tolist():
        if spread[axis] <= STATIC_AXIS_SHARE * max(float(spread.max()), 1e-12):
            continue
        if not free or not _follows(some, axis, free, spread):
            free.append(axis)
    return tuple(sorted(free))


def _follows(positions: np.ndarray, axis: int, others: list[int], spread: np.ndarray) -> bool:
    """Whether places that are near in `others` are near along `axis`."""
    known = positions[:, others] / spread[others]
    apart = np.abs(known[:, None] - known[None]).max(-1)
    np.fill_diagonal(apart, np.inf)
    near = np.argsort(apart, axis=1)[:, :3]
    differ = np.abs(positions[near, axis] - positions[:, axis][:, None]) / spread[axis]
    return bool(np.quantile(differ, 0.8) < DEPENDENT_SHARE)


def _wider(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    more = RANGE_MARGIN * max(high - low, 1e-6)
    return low - more, high + more


def format_initial_condition(state_controls: Sequence[StateControl], values: Sequence[float]) -> str:
    """As `foreseen render --initial` takes them."""
    return ",".join(f"{knob.name}={value:.6g}" for knob, value in zip(state_controls, values))
