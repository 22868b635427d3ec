"""An oracle for simulated data: the form of the true dynamics is given, its constants are fitted to the observed
window."""

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
"""The fit starts from the true constants times the first factor; where that fails, times the second. Factors near 1
make the fit easier."""
MAX_SEGMENTS, STEPS_PER_SEGMENT = 10, 6
"""The constants are fitted to at most this many segments of this many steps, spread over the sequences and the observed
window. Longer segments are more exact, but a trial with wrong constants may end in another valley of the hill, where
the gradient is of no use."""
SEARCH_FACTOR = 4.0
"""Constants may differ from the start of the fit by at most this factor."""
HUBER_SCALE = 0.03
"""Residuals beyond this [m] count less than quadratically (soft L1); smaller is more robust to outliers."""
MAX_EVALUATIONS = 40
"""Upper bound of the evaluations of one fit."""
FAILURE_DISTANCE = 1.0
"""Residual [m] of every coordinate where a trial's constants cannot be simulated."""
MAX_MISFIT_SHARE = 0.01
"""A fit is accepted when its root mean square residual is at most this share of the extent of the positions."""


@dataclass(frozen=True)
class ReferenceDynamics:
    """Dynamics whose form is known.

    Attributes:
        solve: constants, initial conditions and times from 0 -> the motion; `UserError` where they are not valid.
        initial: ground truth and index of a time -> the initial conditions that `solve` takes.
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


# Contacts ("rigid-contacts") are left out: least squares finds no gradient across their jumps.
REFERENCE_DYNAMICS = {
    "damped-pendulum": ReferenceDynamics(pendulum.solve, _swinging),
    "slide-in-bowl": ReferenceDynamics(oscillating_ball.solve, _in_bowl),
    "slide-on-double-well": ReferenceDynamics(bifurcating_hill.solve, _on_hill),
}


@dataclass(frozen=True)
class _Segment:
    """Some steps of a sequence: initial condition, times from 0 `[T]`, and true positions `[T, B, 3]`."""

    initial: Numbers
    times: np.ndarray
    positions: np.ndarray


def fit_constants(name: str, observed: Iterable[tuple[GroundTruth, float]]) -> Numbers | None:
    """The constants of the dynamics `name`, fitted to true positions; None where its form is not known or does not fit
    them. Constants that do not influence the motion keep their true values.

    Args:
        observed: ground truth of sequences with these dynamics, each with its last observed time.
    """
    ground_truths = list(observed)
    if name not in REFERENCE_DYNAMICS or not ground_truths:
        return None
    dynamics, true = REFERENCE_DYNAMICS[name], ground_truths[0][0].constants
    segments = _segments(dynamics, ground_truths)
    if not segments:
        return None
    free = [n for n in true if _influences_motion(dynamics, segments, true, n)]
    spread = float(np.ptp(np.concatenate([s.positions.reshape(-1, 3) for s in segments]), axis=0).max())

    def constants(x: np.ndarray) -> Numbers:
        return true | dict(zip(free, x.tolist()))

    def residuals(x: np.ndarray) -> np.ndarray:
        return _residuals(dynamics, segments, constants(x))

    for factor in START_FACTORS:
        fitted = _fitted(residuals, factor * np.array([true[n] for n in free]))
        if float(np.sqrt(np.mean(residuals(fitted) ** 2))) <= MAX_MISFIT_SHARE * spread:
            return constants(fitted)
    return None


def integrate_from_truth(truth: GroundTruth, constants: Numbers) -> np.ndarray | None:
    """Positions `[T, B, 3]` at all times of the ground truth, integrated with these constants from the true state at
    the first time; None where the constants are not valid."""
    dynamics = REFERENCE_DYNAMICS[truth.dynamics]
    return _positions(dynamics, constants, dynamics.initial(truth, 0), truth.times - truth.times[0])


def _fitted(residuals: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> np.ndarray:
    if not len(start):
        return start
    low, high = np.sort([start / SEARCH_FACTOR, start * SEARCH_FACTOR], axis=0)
    # Large residuals count less: a trial whose body crosses a hill that the true one does not has no useful gradient.
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
    """`[T, B, 3]`, or None where the constants are not valid."""
    try:
        return dynamics.solve(constants, initial, times).positions
    except (UserError, RuntimeError):
        return None


def _residuals(dynamics: ReferenceDynamics, segments: list[_Segment], constants: Numbers) -> np.ndarray:
    """Position errors of the dynamics with these constants, one number for each coordinate of all segments [m]."""
    simulated = [_positions(dynamics, constants, s.initial, s.times) for s in segments]
    pairs = zip(simulated, segments)
    return np.concatenate(
        [(np.full_like(s.positions, FAILURE_DISTANCE) if p is None else p - s.positions).ravel() for p, s in pairs]
    )


def _influences_motion(dynamics: ReferenceDynamics, segments: list[_Segment], constants: Numbers, name: str) -> bool:
    """Whether a constant changes the motion."""
    other = constants | {name: START_FACTORS[0] * constants[name]}
    return not np.array_equal(_residuals(dynamics, segments, other), _residuals(dynamics, segments, constants))
