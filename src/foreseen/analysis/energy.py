"""Energy along forecasts of learned dynamics, their drag, and the mechanical energy of the bodies."""

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
"""Lengths over which energy drift is reported, in observed windows."""
HALF_LIFE_WINDOWS, TIMES_PER_WINDOW = 10, 50
"""Length over which a half-life is searched for, in observed windows, and the evaluated times in a window."""
VELOCITY_TIMES = 300
"""Times in a window, from which a body's velocity is computed by central differences."""
QUADRATURE_NODES = 4001
"""Nodes of the integral of a force."""

Function = Callable[[Tensor], Tensor]


def potential_of(system: DynamicalSystem) -> Function | None:
    """q `[..., d]` -> `[...]`: the learned potential; for second-order dynamics of one coordinate without one, minus
    the integral of the force at zero velocity; None where there is neither."""
    if system.potential is not None or not system.second_order or len(system.names) != 2:
        return system.potential
    low, high = (float(end[0]) for end in system.box)
    q = torch.linspace(low - 2 * (high - low), high + 2 * (high - low), QUADRATURE_NODES, dtype=torch.float64)
    with torch.no_grad():
        force = system.rate(torch.stack([q, torch.zeros_like(q)], dim=-1))[:, 1]
    rise = torch.cat([q.new_zeros(1), -torch.cumulative_trapezoid(force, q)])
    rise = rise - rise[len(q) // 2]

    def potential(position: Tensor) -> Tensor:
        x = position[..., 0].contiguous()
        index = (torch.searchsorted(q, x.detach()) - 1).clamp(0, QUADRATURE_NODES - 2)
        # Between two nodes the force is linear and the potential quadratic.
        step, slope = x - q[index], (force[index + 1] - force[index]) / (q[1] - q[0])
        return rise[index] - force[index] * step - 0.5 * slope * step.square()

    return potential


def energy_of(system: DynamicalSystem) -> Function | None:
    """y -> `[...]`: the learned energy; for one coordinate without one, `potential_of` plus kinetic energy."""
    potential = potential_of(system)
    if system.energy is not None or potential is None or len(system.names) != 2:
        return system.energy
    return lambda y: potential(y[..., :1]) + 0.5 * y[..., 1].square()


@torch.no_grad()
def energy_drift(flow: PhaseFlow, lowest: float | None) -> dict[str, Any] | None:
    """Drift of the learned energy along forecasts from each sequence's start; None where the dynamics have no energy.

    Args:
        lowest: energy that counts as 0, such as that of the lowest fixed point; None takes the lowest energy at zero
            velocity over the observed states.
    """
    system, energy = flow.system, energy_of(flow.system)
    if energy is None:
        return None
    static = energy(_with_zero_velocity(system))
    floor = float(static.min()) if lowest is None else min(lowest, float(static.min()))
    times = torch.linspace(
        0, HALF_LIFE_WINDOWS * system.window, HALF_LIFE_WINDOWS * TIMES_PER_WINDOW + 1, dtype=torch.float64
    )
    energies = energy(flow.integrate(flow.starts, HALF_LIFE_WINDOWS, HALF_LIFE_WINDOWS * TIMES_PER_WINDOW)) - floor
    share = energies / energies[0].clamp_min(1e-300)
    spans = {f"{n}_windows": _change(share[: TIMES_PER_WINDOW * n + 1] - 1) for n in DRIFT_WINDOWS}
    return {
        "start": _numbers(energies[0]),
        "relative_drift": spans,
        "half_life": _half_life(times, share),
        "learned": system.energy is not None,
    }


def _with_zero_velocity(system: DynamicalSystem) -> Tensor:
    """The observed states; for second-order dynamics with zero velocity."""
    states = torch.cat([one.states for one in system.trajectories])
    if not system.second_order:
        return states
    q = states[:, : states.shape[-1] // 2]
    return torch.cat([q, torch.zeros_like(q)], dim=-1)


def _change(change: Tensor) -> dict[str, float | None]:
    """Mean at the end, and largest, over the trajectories that stay in the learned region."""
    complete = change[:, torch.isfinite(change).all(0)]
    if complete.shape[1] == 0:
        return {"at_end_mean": None, "largest": None}
    return {"at_end_mean": float(complete[-1].mean()), "largest": float(complete.abs().max())}


def _half_life(times: Tensor, share: Tensor) -> float | None:
    """Median time after which the energy stays below one half; None where most trajectories keep more."""
    half_lives = []
    for energies in share.T:
        above = (energies > 0.5).nonzero()
        last = int(above[-1, 0]) if len(above) else 0
        keeps = last + 1 >= len(energies) or not bool(torch.isfinite(energies).all())
        half_lives.append(math.inf if keeps else float(times[last + 1]))
    median = float(np.median(half_lives))
    return median if math.isfinite(median) else None


def drag(system: DynamicalSystem) -> dict[str, float | None] | None:
    """Drag: share of a velocity q' that is lost per unit of time, the mean of -d(q'')/d(q') over coordinates and
    observed positions, at zero velocity; and log 2 / drag, the half-life of a small oscillation's energy. None for
    first-order dynamics."""
    if not system.second_order:
        return None
    size = len(system.names) // 2
    states = _with_zero_velocity(system)
    states = states[torch.linspace(0, len(states) - 1, min(len(states), 200)).round().long()]
    slopes = value_and_jacobian(system.rate, states)[1]
    value = -float(slopes[:, size:, size:].diagonal(dim1=-2, dim2=-1).mean())
    return {"drag": value, "half_life_of_small_oscillations": math.log(2) / value if value > 1e-9 else None}


@torch.no_grad()
def body_energy(flow: PhaseFlow, ground_truths: dict[int, GroundTruth]) -> dict[str, Any] | None:
    """g z + v^2 / 2 of the forecast body, v by central differences: its change over a few windows, and its distance
    from the true energy at the truth's times, as shares of the truth's largest kinetic energy of a sequence. None
    where no sequence has the ground truth of one body under gravity.

    Args:
        ground_truths: by index of the sequence, of those with known dynamics.
    """
    if flow.system.positions is None or not ground_truths:
        return None
    change: dict[str, list[float]] = {f"{n}_windows": [] for n in DRIFT_WINDOWS}
    deviations: list[float] = []
    count = max(DRIFT_WINDOWS) * VELOCITY_TIMES
    positions = flow.system.positions(flow.integrate(flow.starts, max(DRIFT_WINDOWS), count)).numpy()
    times = np.linspace(0, max(DRIFT_WINDOWS) * flow.system.window, count + 1)
    for index, one in enumerate(flow.system.trajectories[: len(flow.starts)]):
        if one.sequence not in ground_truths or positions.shape[-2] != 1:
            continue
        truth = ground_truths[one.sequence]
        energies = specific_energy(times, positions[:, index, 0], truth.constants["gravity"]) / _scale(truth)
        for n in DRIFT_WINDOWS:
            change[f"{n}_windows"].append(float(energies[n * VELOCITY_TIMES - 1] - energies[1]))
        deviations += _deviations(float(one.times[0]) + times, energies, truth)
    finite = {name: [x for x in values if math.isfinite(x)] for name, values in change.items()}
    return {
        "change": {name: float(np.mean(values)) if values else None for name, values in finite.items()},
        "from_truth_mean": float(np.mean(deviations)) if deviations else None,
        "from_truth_largest": float(np.max(deviations)) if deviations else None,
    }


def _deviations(times: np.ndarray, energies: np.ndarray, truth: GroundTruth) -> list[float]:
    """Distances from the true energy, at those of the truth's times that the forecast reaches."""
    true = 0.5 * (truth.velocities[:, 0] ** 2).sum(-1) + truth.constants["gravity"] * truth.positions[:, 0, 2]
    reached = (truth.times > times[1]) & (truth.times < times[-2])
    distances = np.abs(np.interp(truth.times[reached], times, energies) - true[reached] / _scale(truth))
    return distances[np.isfinite(distances)].tolist()


def _scale(truth: GroundTruth) -> float:
    return max(0.5 * float((truth.velocities[:, 0] ** 2).sum(-1).max()), 1e-300)


def _numbers(values: Tensor) -> list[float | None]:
    return [float(v) if math.isfinite(v) else None for v in values.tolist()]
