"""Learned dynamics as a `DynamicalSystem` for the analysis: in the data set's time and scene units, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from foreseen.core.dynamical_system import DynamicalSystem, Trajectory
from foreseen.dynamics.learned import LearnedDynamics, Rate

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class FittedPoses:
    """The poses that dynamics were fitted to, as `LearnedDynamics.fit` takes them (times in windows), and the indices
    of their sequences."""

    poses: Tensor
    times: Tensor
    counts: Tensor
    exact_poses: bool
    sequences: list[int]


def lagrangian_system(
    dynamics: LearnedDynamics, window: float, fitted_poses: FittedPoses, centres: Function | None
) -> DynamicalSystem | None:
    """The system of fitted dynamics; None if they are not fitted, or nothing moves.

    Args:
        window: length of the observed window, in the data set's unit of time.
        centres: from poses `[N, P]` to the centres of K parts `[N, K, 3]`, if poses have such.
    """
    size, ode = dynamics.manifold.size, dynamics.ode
    if not dynamics.fitted or size == 0:
        return None
    # Energies are those of a unit of mass on the surface, in the data set's unit of time.
    unit = float(ode.velocity_scale) ** 2 / window**2

    def energy(y: Tensor) -> Tensor:
        return unit * ode.energy(y[..., :size], y[..., size:] * window)

    def positions(y: Tensor) -> Tensor:
        assert centres is not None
        poses = dynamics.manifold.decode(y[..., :size])
        return centres(poses.reshape(-1, poses.shape[-1])).unflatten(0, y.shape[:-1]).double()

    def autonomous(rate: Rate) -> Function:
        return _second_order(lambda state: rate(state.new_zeros(()), state), size, window)

    is_conservative = ode.structure == "potential"  # but for the drag
    return DynamicalSystem(
        names=_names(size),
        rate=autonomous(ode),
        trajectories=_trajectories(dynamics, window, fitted_poses),
        window=window,
        second_order=True,
        positions=_any_axes(positions) if centres else None,
        energy=energy if is_conservative else None,
        potential=(lambda q: unit * ode.potential(q)) if is_conservative else None,
        sampled_rates=tuple(autonomous(rate) for rate in dynamics.sampled_rates()),
    )


@torch.no_grad()
def _trajectories(dynamics: LearnedDynamics, window: float, fitted_poses: FittedPoses) -> tuple[Trajectory, ...]:
    paths = dynamics.paths(fitted_poses.poses, fitted_poses.times, fitted_poses.counts, fitted_poses.exact_poses)
    _, starts = dynamics.initial_states(paths)
    size, trajectories = dynamics.manifold.size, []
    for row, (sequence, count) in enumerate(zip(fitted_poses.sequences, paths.counts.tolist())):
        states = torch.cat([paths.q[row, :count], paths.v[row, :count] / window], dim=-1)
        start = torch.cat([starts[row, :size], starts[row, size:] / window])
        times = (fitted_poses.times[row, 0] + torch.arange(count) * paths.spacing) * window
        trajectories.append(Trajectory(sequence, times, states, start))
    return tuple(trajectories)


def _names(size: int) -> tuple[str, ...]:
    coordinates = ["q"] if size == 1 else [f"q{k + 1}" for k in range(size)]
    return (*coordinates, *(f"{name}'" for name in coordinates))


def _second_order(ode: Function, size: int, window: float) -> Function:
    """From a rate of (q, q') with time in windows to one with time in the data set's unit."""

    def rate(y: Tensor) -> Tensor:
        v = y[..., size:]
        per_window = ode(torch.cat([y[..., :size], v * window], dim=-1))
        return torch.cat([v, per_window[..., size:] / window**2], dim=-1)

    return rate


def _any_axes(function: Function) -> Function:
    """The same for a single state, of a function that needs at least one leading axis."""
    return lambda y: function(y) if y.dim() > 1 else function(y[None])[0]
