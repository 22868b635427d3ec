"""A law that was learned from poses, as a dynamical system: in the data set's time and scene units, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from foreseen.core.dynamical_system import DynamicalSystem, Trajectory
from foreseen.dynamics.dynamics import Dynamics, Rate

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Seen:
    """What a law was fitted to, as `Dynamics.fit` takes it (times in windows), and indices of the sequences."""

    poses: Tensor
    times: Tensor
    counts: Tensor
    exact: bool
    sequences: list[int]


def on_surface(dynamics: Dynamics, window: float, seen: Seen, centres: Function | None) -> DynamicalSystem | None:
    """`centres`: where K parts are `[N, K, 3]` in poses `[N, P]`."""
    size, law = dynamics.manifold.size, dynamics.law
    if not dynamics.fitted or size == 0:
        return None
    unit = float(law.pace) ** 2 / window**2  # energies: that of a unit of mass on the surface, in the data set's time

    def energy(y: Tensor) -> Tensor:
        return unit * law.energy(y[..., :size], y[..., size:] * window)

    def positions(y: Tensor) -> Tensor:
        assert centres is not None
        numbers = dynamics.manifold.decode(y[..., :size])
        return centres(numbers.reshape(-1, numbers.shape[-1])).unflatten(0, y.shape[:-1]).double()

    def timeless(rate: Rate) -> Function:
        return _second_order(lambda state: rate(state.new_zeros(()), state), size, window)

    stored = law.structure == "potential"
    return DynamicalSystem(
        names=_names(size),
        rate=timeless(law),
        seen=_trajectories(dynamics, window, seen),
        window=window,
        second_order=True,
        positions=_any_axes(positions) if centres else None,
        energy=energy if stored else None,
        potential=(lambda q: unit * law.potential(q)) if stored else None,
        drawn=tuple(timeless(rate) for rate in dynamics.drawn()),
    )


@torch.no_grad()
def _trajectories(dynamics: Dynamics, window: float, seen: Seen) -> tuple[Trajectory, ...]:
    paths = dynamics.paths(seen.poses, seen.times, seen.counts, seen.exact)
    _, starts = dynamics.starts(paths)
    size, found = dynamics.manifold.size, []
    for row, (sequence, count) in enumerate(zip(seen.sequences, paths.counts.tolist())):
        states = torch.cat([paths.q[row, :count], paths.v[row, :count] / window], dim=-1)
        start = torch.cat([starts[row, :size], starts[row, size:] / window])
        times = (seen.times[row, 0] + torch.arange(count) * paths.spacing) * window
        found.append(Trajectory(sequence, times, states, start))
    return tuple(found)


def _names(size: int) -> tuple[str, ...]:
    places = ["q"] if size == 1 else [f"q{k + 1}" for k in range(size)]
    return (*places, *(f"{name}'" for name in places))


def _second_order(law: Function, size: int, window: float) -> Function:
    """From a law of (q, q') with time in windows to one with time in the data set's unit."""

    def rate(y: Tensor) -> Tensor:
        v = y[..., size:]
        found = law(torch.cat([y[..., :size], v * window], dim=-1))
        return torch.cat([v, found[..., size:] / window**2], dim=-1)

    return rate


def _any_axes(function: Function) -> Function:
    """For functions that want at least one leading axis."""
    return lambda y: function(y) if y.dim() > 1 else function(y[None])[0]
