"""A law that was learned from poses, as a dynamical system: in the data set's time and scene units, in float64."""

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
    """What a law was fitted to, as `LearnedDynamics.fit` takes it (times in windows), and indices of the sequences."""

    poses: Tensor
    times: Tensor
    counts: Tensor
    exact_poses: bool
    sequences: list[int]


def on_surface(
    dynamics: LearnedDynamics, window: float, fitted_poses: FittedPoses, centres: Function | None
) -> DynamicalSystem | None:
    """`centres`: where K parts are `[N, K, 3]` in poses `[N, P]`."""
    size, ode = dynamics.manifold.size, dynamics.ode
    if not dynamics.fitted or size == 0:
        return None
    unit = (
        float(ode.velocity_scale) ** 2 / window**2
    )  # energies: that of a unit of mass on the surface, in the data set's time

    def energy(y: Tensor) -> Tensor:
        return unit * ode.energy(y[..., :size], y[..., size:] * window)

    def positions(y: Tensor) -> Tensor:
        assert centres is not None
        numbers = dynamics.manifold.decode(y[..., :size])
        return centres(numbers.reshape(-1, numbers.shape[-1])).unflatten(0, y.shape[:-1]).double()

    def timeless(rate: Rate) -> Function:
        return _second_order(lambda state: rate(state.new_zeros(()), state), size, window)

    stored = ode.structure == "potential"
    return DynamicalSystem(
        names=_names(size),
        rate=timeless(ode),
        trajectories=_trajectories(dynamics, window, fitted_poses),
        window=window,
        second_order=True,
        positions=_any_axes(positions) if centres else None,
        energy=energy if stored else None,
        potential=(lambda q: unit * ode.potential(q)) if stored else None,
        sampled_rates=tuple(timeless(rate) for rate in dynamics.sampled_rates()),
    )


@torch.no_grad()
def _trajectories(dynamics: LearnedDynamics, window: float, fitted_poses: FittedPoses) -> tuple[Trajectory, ...]:
    paths = dynamics.paths(fitted_poses.poses, fitted_poses.times, fitted_poses.counts, fitted_poses.exact_poses)
    _, starts = dynamics.initial_states(paths)
    size, found = dynamics.manifold.size, []
    for row, (sequence, count) in enumerate(zip(fitted_poses.sequences, paths.counts.tolist())):
        states = torch.cat([paths.q[row, :count], paths.v[row, :count] / window], dim=-1)
        start = torch.cat([starts[row, :size], starts[row, size:] / window])
        times = (fitted_poses.times[row, 0] + torch.arange(count) * paths.spacing) * window
        found.append(Trajectory(sequence, times, states, start))
    return tuple(found)


def _names(size: int) -> tuple[str, ...]:
    places = ["q"] if size == 1 else [f"q{k + 1}" for k in range(size)]
    return (*places, *(f"{name}'" for name in places))


def _second_order(ode: Function, size: int, window: float) -> Function:
    """From a law of (q, q') with time in windows to one with time in the data set's unit."""

    def rate(y: Tensor) -> Tensor:
        v = y[..., size:]
        found = ode(torch.cat([y[..., :size], v * window], dim=-1))
        return torch.cat([v, found[..., size:] / window**2], dim=-1)

    return rate


def _any_axes(function: Function) -> Function:
    """For functions that want at least one leading axis."""
    return lambda y: function(y) if y.dim() > 1 else function(y[None])[0]
