"""An oracle for simulated data: the form of the true law is known, its constants are fitted to what was observed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from foreseen.data.types import GroundTruth
from foreseen.errors import UserError
from foreseen.simulate import bifurcating_hill, oscillating_ball, pendulum
from foreseen.simulate.scenario import BodyMotion, Numbers

START_FACTORS = (1.3, 1 / 1.3)
"""The fit starts from the true constants, each times the first of these; where that leads nowhere, times the second."""
MAX_SEGMENTS, STEPS_PER_SEGMENT = 10, 6
"""The constants are fitted to at most so many stretches of so many steps each, spread over the sequences and the
observed window. Short ones: over a long one, wrong constants end in the wrong valley, and no slope leads back."""
SEARCH_FACTOR = 4.0
"""Constants are sought within this factor of where the fit starts."""
HUBER_SCALE = 0.03
"""Misses up to this count in full [m]."""
MAX_EVALUATIONS = 40
"""The fit ends after so many steps."""
FAILURE_DISTANCE = 1.0
"""Where a trial's constants make no sense, its bodies count as so far off [m]."""
MAX_MISFIT_SHARE = 0.01
"""A fitted law must follow the stretches to this share of how far their bodies spread."""


@dataclass(frozen=True)
class ReferenceDynamics:
    """A law whose form is known.

    Attributes:
        solve: constants, initial conditions and times from 0 -> the motion; `UserError` where they make no sense.
        initial: the initial conditions that `solve` takes, of a truth at the time of an index.
    """

    solve: Callable[[Numbers, Numbers, np.ndarray], BodyMotion]
    initial: Callable[[GroundTruth, int], Numbers]


def _swinging(truth: GroundTruth, index: int) -> Numbers:
    (x, _, z), (vx, _, vz) = (truth.positions[index, 0] - pendulum.PIVOT).tolist(), truth.velocities[index, 0].tolist()
    return {"angle": math.atan2(x, -z), "velocity": (x * vz - z * vx) / (x**2 + z**2)}


def _in_bowl(truth: GroundTruth, index: int) -> Numbers:
    (x, y, _), (vx, vy, _) = truth.positions[index, 0].tolist(), truth.velocities[index, 0].tolist()
    return {"x": x, "y": y, "vx": vx, "vy": vy}


def _on_hill(truth: GroundTruth, index: int) -> Numbers:
    return {"x": float(truth.positions[index, 0, 0]), "velocity": float(truth.velocities[index, 0, 0])}


# Contacts ("rigid-contacts") are left out: their jumps give least squares no slope to go down.
REFERENCE_DYNAMICS = {
    "damped-pendulum": ReferenceDynamics(pendulum.solve, _swinging),
    "slide-in-bowl": ReferenceDynamics(oscillating_ball.solve, _in_bowl),
    "slide-on-double-well": ReferenceDynamics(bifurcating_hill.solve, _on_hill),
}


@dataclass(frozen=True)
class _Segment:
    """Some steps of a sequence: how they begin, times from 0 `[T]`, and where the bodies were, `[T, B, 3]`."""

    initial: Numbers
    times: np.ndarray
    positions: np.ndarray


def fit_constants(name: str, observed: Iterable[tuple[GroundTruth, float]]) -> Numbers | None:
    """The constants of the law `name`, fitted to true positions; None where its form is not known or does not follow
    them. Those that only concern how things look stay as they are.

    Args:
        observed: truths of sequences that obey the law, each with the last time that was observed of it.
    """
    ground_truths = list(observed)
    if name not in REFERENCE_DYNAMICS or not ground_truths:
        return None
    dynamics, true = REFERENCE_DYNAMICS[name], ground_truths[0][0].constants
    segments = _segments(dynamics, ground_truths)
    if not segments:
        return None
    free = [n for n in true if _moves(dynamics, segments, true, n)]
    spread = float(np.ptp(np.concatenate([s.positions.reshape(-1, 3) for s in segments]), axis=0).max())

    def constants(x: np.ndarray) -> Numbers:
        return true | dict(zip(free, x.tolist()))

    def residuals(x: np.ndarray) -> np.ndarray:
        return _residuals(dynamics, segments, constants(x))

    for off in START_FACTORS:
        found = _fitted(residuals, off * np.array([true[n] for n in free]))
        if float(np.sqrt(np.mean(residuals(found) ** 2))) <= MAX_MISFIT_SHARE * spread:
            return constants(found)
    return None


def integrate_from_truth(truth: GroundTruth, constants: Numbers) -> np.ndarray | None:
    """`[T, B, 3]`: where the truth's law with these constants takes the bodies from their state at the first of the
    truth's times, at all of them; None where that makes no sense."""
    dynamics = REFERENCE_DYNAMICS[truth.dynamics]
    return _positions(dynamics, constants, dynamics.initial(truth, 0), truth.times - truth.times[0])


def _fitted(residuals: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> np.ndarray:
    if not len(start):
        return start
    low, high = np.sort([start / SEARCH_FACTOR, start * SEARCH_FACTOR], axis=0)
    # Far misses count less: where a trial's bead crosses a hill that the true one does not, there is nothing to learn.
    return least_squares(
        residuals,
        start,
        bounds=(low, high),
        x_scale=np.abs(start),
        loss="soft_l1",
        f_scale=HUBER_SCALE,
        max_nfev=MAX_EVALUATIONS,
    ).x


def _segments(dynamics: ReferenceDynamics, observed: list[tuple[GroundTruth, float]]) -> list[_Segment]:
    every = []
    for truth, end in observed:
        count = int((truth.times <= end).sum())
        every += [
            (truth, first, min(first + STEPS_PER_SEGMENT + 1, count))
            for first in range(0, count - 1, STEPS_PER_SEGMENT)
        ]
    chosen = np.unique(np.linspace(0, len(every) - 1, min(len(every), MAX_SEGMENTS)).round().astype(int))
    return [
        _Segment(dynamics.initial(truth, a), truth.times[a:b] - truth.times[a], truth.positions[a:b])
        for truth, a, b in (every[i] for i in chosen)
    ]


def _positions(
    dynamics: ReferenceDynamics, constants: Numbers, initial: Numbers, times: np.ndarray
) -> np.ndarray | None:
    """`[T, B, 3]`, or None where the constants make no sense."""
    try:
        return dynamics.solve(constants, initial, times).positions
    except (UserError, RuntimeError):
        return None


def _residuals(dynamics: ReferenceDynamics, segments: list[_Segment], constants: Numbers) -> np.ndarray:
    """How far the law with these constants is off, one number for each coordinate of all stretches [m]."""
    found = [_positions(dynamics, constants, s.initial, s.times) for s in segments]
    pairs = zip(found, segments)
    return np.concatenate(
        [(np.full_like(s.positions, FAILURE_DISTANCE) if p is None else p - s.positions).ravel() for p, s in pairs]
    )


def _moves(dynamics: ReferenceDynamics, segments: list[_Segment], constants: Numbers, name: str) -> bool:
    """Whether a constant has a say in the motion."""
    other = constants | {name: START_FACTORS[0] * constants[name]}
    return not np.array_equal(_residuals(dynamics, segments, other), _residuals(dynamics, segments, constants))
