"""An oracle for simulated data: the form of the true law is known, its constants are fitted to what was observed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from foreseen.data.types import Truth
from foreseen.errors import UserError
from foreseen.simulate import bifurcating_hill, oscillating_ball, pendulum
from foreseen.simulate.scenario import Motion, Numbers

OFF = (1.3, 1 / 1.3)
"""The fit starts from the true constants, each times the first of these; where that leads nowhere, times the second."""
STRETCHES, STEPS = 10, 6
"""The constants are fitted to at most so many stretches of so many steps each, spread over the sequences and the
observed window. Short ones: over a long one, wrong constants end in the wrong valley, and no slope leads back."""
WITHIN = 4.0
"""Constants are sought within this factor of where the fit starts."""
NEAR = 0.03
"""Misses up to this count in full [m]."""
TRIALS = 40
"""The fit ends after so many steps."""
AWAY = 1.0
"""Where a trial's constants make no sense, its bodies count as so far off [m]."""
FOLLOWS = 0.01
"""A fitted law must follow the stretches to this share of how far their bodies spread."""


@dataclass(frozen=True)
class Law:
    """A law whose form is known.

    Attributes:
        solve: constants, initial conditions and times from 0 -> the motion; `UserError` where they make no sense.
        initial: the initial conditions that `solve` takes, of a truth at the time of an index.
    """

    solve: Callable[[Numbers, Numbers, np.ndarray], Motion]
    initial: Callable[[Truth, int], Numbers]


def _swinging(truth: Truth, index: int) -> Numbers:
    (x, _, z), (vx, _, vz) = (truth.positions[index, 0] - pendulum.PIVOT).tolist(), truth.velocities[index, 0].tolist()
    return {"angle": math.atan2(x, -z), "velocity": (x * vz - z * vx) / (x**2 + z**2)}


def _in_bowl(truth: Truth, index: int) -> Numbers:
    (x, y, _), (vx, vy, _) = truth.positions[index, 0].tolist(), truth.velocities[index, 0].tolist()
    return {"x": x, "y": y, "vx": vx, "vy": vy}


def _on_hill(truth: Truth, index: int) -> Numbers:
    return {"x": float(truth.positions[index, 0, 0]), "velocity": float(truth.velocities[index, 0, 0])}


# Contacts ("rigid-contacts") are left out: their jumps give least squares no slope to go down.
LAWS = {
    "damped-pendulum": Law(pendulum.solve, _swinging),
    "slide-in-bowl": Law(oscillating_ball.solve, _in_bowl),
    "slide-on-double-well": Law(bifurcating_hill.solve, _on_hill),
}


@dataclass(frozen=True)
class _Stretch:
    """Some steps of a sequence: how they begin, times from 0 `[T]`, and where the bodies were, `[T, B, 3]`."""

    initial: Numbers
    times: np.ndarray
    positions: np.ndarray


def fit_constants(name: str, observed: Iterable[tuple[Truth, float]]) -> Numbers | None:
    """The constants of the law `name`, fitted to true positions; None where its form is not known or does not follow
    them. Those that only concern how things look stay as they are.

    Args:
        observed: truths of sequences that obey the law, each with the last time that was observed of it.
    """
    truths = list(observed)
    if name not in LAWS or not truths:
        return None
    law, true = LAWS[name], truths[0][0].constants
    stretches = _stretches(law, truths)
    if not stretches:
        return None
    free = [n for n in true if _moves(law, stretches, true, n)]
    spread = float(np.ptp(np.concatenate([s.positions.reshape(-1, 3) for s in stretches]), axis=0).max())

    def constants(x: np.ndarray) -> Numbers:
        return true | dict(zip(free, x.tolist()))

    def misses(x: np.ndarray) -> np.ndarray:
        return _misses(law, stretches, constants(x))

    for off in OFF:
        found = _fitted(misses, off * np.array([true[n] for n in free]))
        if float(np.sqrt(np.mean(misses(found) ** 2))) <= FOLLOWS * spread:
            return constants(found)
    return None


def follow(truth: Truth, constants: Numbers) -> np.ndarray | None:
    """`[T, B, 3]`: where the truth's law with these constants takes the bodies from their state at the first of the
    truth's times, at all of them; None where that makes no sense."""
    law = LAWS[truth.law]
    return _positions(law, constants, law.initial(truth, 0), truth.times - truth.times[0])


def _fitted(misses: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> np.ndarray:
    if not len(start):
        return start
    low, high = np.sort([start / WITHIN, start * WITHIN], axis=0)
    # Far misses count less: where a trial's bead crosses a hill that the true one does not, there is nothing to learn.
    return least_squares(
        misses, start, bounds=(low, high), x_scale=np.abs(start), loss="soft_l1", f_scale=NEAR, max_nfev=TRIALS
    ).x


def _stretches(law: Law, observed: list[tuple[Truth, float]]) -> list[_Stretch]:
    every = []
    for truth, end in observed:
        count = int((truth.times <= end).sum())
        every += [(truth, first, min(first + STEPS + 1, count)) for first in range(0, count - 1, STEPS)]
    chosen = np.unique(np.linspace(0, len(every) - 1, min(len(every), STRETCHES)).round().astype(int))
    return [
        _Stretch(law.initial(truth, a), truth.times[a:b] - truth.times[a], truth.positions[a:b])
        for truth, a, b in (every[i] for i in chosen)
    ]


def _positions(law: Law, constants: Numbers, initial: Numbers, times: np.ndarray) -> np.ndarray | None:
    """`[T, B, 3]`, or None where the constants make no sense."""
    try:
        return law.solve(constants, initial, times).positions
    except (UserError, RuntimeError):
        return None


def _misses(law: Law, stretches: list[_Stretch], constants: Numbers) -> np.ndarray:
    """How far the law with these constants is off, one number for each coordinate of all stretches [m]."""
    found = [_positions(law, constants, s.initial, s.times) for s in stretches]
    pairs = zip(found, stretches)
    return np.concatenate(
        [(np.full_like(s.positions, AWAY) if p is None else p - s.positions).ravel() for p, s in pairs]
    )


def _moves(law: Law, stretches: list[_Stretch], constants: Numbers, name: str) -> bool:
    """Whether a constant has a say in the motion."""
    other = constants | {name: OFF[0] * constants[name]}
    return not np.array_equal(_misses(law, stretches, other), _misses(law, stretches, constants))
