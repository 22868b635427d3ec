"""What a law keeps: its energy along forecasts, its drag, and the energy of the bodies that it moves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreseen.analysis.flow import PhaseFlow
from foreseen.analysis.jacobians import value_and_jacobian
from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.data.types import GroundTruth
from foreseen.simulate.energy import specific_energy

DRIFT_WINDOWS = (1, 4)
"""Windows over which the drift is told."""
HALF_LIFE_WINDOWS, TIMES_PER_WINDOW = 10, 50
"""Windows after which an energy that is not half gone has no half-life; times in a window at which it is looked at."""
VELOCITY_TIMES = 300
"""Times in a window from which the velocity of a body is told."""
QUADRATURE_NODES = 4001
"""Of the integral of a force."""

Function = Callable[[Tensor], Tensor]


def potential_of(system: DynamicalSystem) -> Function | None:
    """q `[..., d]` -> `[...]`: the law's own, or for a law of second order and one coordinate minus the integral of
    its force at rest; None where there is neither."""
    if system.potential is not None or not system.second_order or len(system.names) != 2:
        return system.potential
    low, high = (float(end[0]) for end in system.box)
    q = torch.linspace(low - 2 * (high - low), high + 2 * (high - low), QUADRATURE_NODES, dtype=torch.float64)
    with torch.no_grad():
        force = system.rate(torch.stack([q, torch.zeros_like(q)], dim=-1))[:, 1]
    rise = torch.cat([q.new_zeros(1), -torch.cumulative_trapezoid(force, q)])
    rise = rise - rise[len(q) // 2]

    def potential(place: Tensor) -> Tensor:
        x = place[..., 0].contiguous()
        index = (torch.searchsorted(q, x.detach()) - 1).clamp(0, QUADRATURE_NODES - 2)
        # Between two nodes the force is a straight line, and the potential a parabola.
        step, slope = x - q[index], (force[index + 1] - force[index]) / (q[1] - q[0])
        return rise[index] - force[index] * step - 0.5 * slope * step.square()

    return potential


def energy_of(system: DynamicalSystem) -> Function | None:
    """y -> `[...]`: the law's own, or that which goes with `potential_of` one coordinate."""
    potential = potential_of(system)
    if system.energy is not None or potential is None or len(system.names) != 2:
        return system.energy
    return lambda y: potential(y[..., :1]) + 0.5 * y[..., 1].square()


@torch.no_grad()
def energy_drift(flow: PhaseFlow, lowest: float | None) -> dict[str, Any] | None:
    """Of the learned energy along forecasts from each seen beginning; None where the law has none.

    Args:
        lowest: energy that counts as 0, such as that of the lowest fixed point; None takes the lowest of a body at
            rest where bodies were seen.
    """
    system, energy = flow.system, energy_of(flow.system)
    if energy is None:
        return None
    seen = energy(_at_rest(system))
    floor = float(seen.min()) if lowest is None else min(lowest, float(seen.min()))
    times = torch.linspace(
        0, HALF_LIFE_WINDOWS * system.window, HALF_LIFE_WINDOWS * TIMES_PER_WINDOW + 1, dtype=torch.float64
    )
    course = energy(flow.integrate(flow.starts, HALF_LIFE_WINDOWS, HALF_LIFE_WINDOWS * TIMES_PER_WINDOW)) - floor
    share = course / course[0].clamp_min(1e-300)
    spans = {f"{n}_windows": _change(share[: TIMES_PER_WINDOW * n + 1] - 1) for n in DRIFT_WINDOWS}
    return {
        "start": _numbers(course[0]),
        "relative_drift": spans,
        "half_life": _half_life(times, share),
        "learned": system.energy is not None,
    }


def _at_rest(system: DynamicalSystem) -> Tensor:
    """The seen states, of a law of second order without their rates."""
    states = torch.cat([one.states for one in system.trajectories])
    if not system.second_order:
        return states
    places = states[:, : states.shape[-1] // 2]
    return torch.cat([places, torch.zeros_like(places)], dim=-1)


def _change(change: Tensor) -> dict[str, float | None]:
    """At the end, as a mean, and at its largest, over the trajectories that stay where the law was learned."""
    stay = change[:, torch.isfinite(change).all(0)]
    if stay.shape[1] == 0:
        return {"at_end_mean": None, "largest": None}
    return {"at_end_mean": float(stay[-1].mean()), "largest": float(stay.abs().max())}


def _half_life(times: Tensor, share: Tensor) -> float | None:
    """Median time after which half of the energy is gone for good; None where most keep it."""
    found = []
    for own in share.T:
        late = (own > 0.5).nonzero()
        last = int(late[-1, 0]) if len(late) else 0
        stays = last + 1 >= len(own) or not bool(torch.isfinite(own).all())
        found.append(math.inf if stays else float(times[last + 1]))
    middle = float(np.median(found))
    return middle if math.isfinite(middle) else None


def drag(system: DynamicalSystem) -> dict[str, float | None] | None:
    """How much of a rate q' is lost per unit of time: the mean of -d(q'')/d(q') over coordinates and seen places, at
    rest; and the half-life log 2 / drag that a small swing's energy has by it. None for laws of first order."""
    if not system.second_order:
        return None
    size = len(system.names) // 2
    states = _at_rest(system)
    states = states[torch.linspace(0, len(states) - 1, min(len(states), 200)).round().long()]
    slopes = value_and_jacobian(system.rate, states)[1]
    found = -float(slopes[:, size:, size:].diagonal(dim1=-2, dim2=-1).mean())
    return {"drag": found, "half_life_of_small_swings": math.log(2) / found if found > 1e-9 else None}


@torch.no_grad()
def body_energy(flow: PhaseFlow, ground_truths: dict[int, GroundTruth]) -> dict[str, Any] | None:
    """g z + v^2 / 2 of the forecast body, v by central differences: how much it changes over a few windows, and how
    far it is from the truth's own at the truth's times. As shares of the truth's largest kinetic energy of a sequence.
    None where no sequence's truth tells of one body under gravity.

    Args:
        truths: by sequence, of those that have one of a known law.
    """
    if flow.system.positions is None or not ground_truths:
        return None
    change: dict[str, list[float]] = {f"{n}_windows": [] for n in DRIFT_WINDOWS}
    apart: list[float] = []
    count = max(DRIFT_WINDOWS) * VELOCITY_TIMES
    places = flow.system.positions(flow.integrate(flow.starts, max(DRIFT_WINDOWS), count)).numpy()
    times = np.linspace(0, max(DRIFT_WINDOWS) * flow.system.window, count + 1)
    for index, one in enumerate(flow.system.trajectories[: len(flow.starts)]):
        if one.sequence not in ground_truths or places.shape[-2] != 1:
            continue
        truth = ground_truths[one.sequence]
        found = specific_energy(times, places[:, index, 0], truth.constants["gravity"]) / _scale(truth)
        for n in DRIFT_WINDOWS:
            change[f"{n}_windows"].append(float(found[n * VELOCITY_TIMES - 1] - found[1]))
        apart += _gaps(float(one.times[0]) + times, found, truth)
    known = {name: [x for x in values if math.isfinite(x)] for name, values in change.items()}
    return {
        "change": {name: float(np.mean(values)) if values else None for name, values in known.items()},
        "from_truth_mean": float(np.mean(apart)) if apart else None,
        "from_truth_largest": float(np.max(apart)) if apart else None,
    }


def _gaps(times: np.ndarray, found: np.ndarray, truth: GroundTruth) -> list[float]:
    """How far it is off the truth's, at the truth's times that it reaches."""
    own = 0.5 * (truth.velocities[:, 0] ** 2).sum(-1) + truth.constants["gravity"] * truth.positions[:, 0, 2]
    reached = (truth.times > times[1]) & (truth.times < times[-2])
    gaps = np.abs(np.interp(truth.times[reached], times, found) - own[reached] / _scale(truth))
    return gaps[np.isfinite(gaps)].tolist()


def _scale(truth: GroundTruth) -> float:
    return max(0.5 * float((truth.velocities[:, 0] ** 2).sum(-1).max()), 1e-300)


def _numbers(values: Tensor) -> list[float | None]:
    return [float(v) if math.isfinite(v) else None for v in values.tolist()]
