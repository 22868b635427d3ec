"""What was learned, as a dynamical system: every law in the data set's time and scene units, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from foreseen.methods.base import DynamicalSystem, Trajectory
from foreseen.methods.laws.dynamics import Dynamics, Rate

if TYPE_CHECKING:
    from foreseen.methods.node_rf.fast import FastNodeRF
    from foreseen.methods.node_rf.many_fast import ManyFastNodeRF

Function = Callable[[Tensor], Tensor]


def system_of_many_fast(method: ManyFastNodeRF, kind: int) -> DynamicalSystem | None:
    """The law on the surface of a kind's poses; None where none was fitted, or nothing moves."""

    def centres(numbers: Tensor) -> Tensor:
        return method.parts_of(kind, numbers).centres[:, method.parts(kind)]

    seen = _Seen(*method.seen(kind), bool(method.exact), method.sequences(kind).tolist())
    return _on_surface(method.dynamics[kind], method.window, seen, centres)


def system_of_fast(method: FastNodeRF) -> DynamicalSystem | None:
    """The law of one sequence's motion; None where none follows it, or nothing moves."""

    def centres(numbers: Tensor) -> Tensor:
        return method.parts.from_numbers(numbers).centres

    poses, times = method.poses()
    when = times + method.start / method.window
    seen = _Seen(poses[None], when[None], torch.tensor([len(times)]), False, [0])
    return _on_surface(method.motion.dynamics, method.window, seen, centres if method.parts.count else None)


@dataclass(frozen=True)
class _Seen:
    """What a law was fitted to, as `Dynamics.fit` takes it (times in windows), and indices of the sequences."""

    poses: Tensor
    times: Tensor
    counts: Tensor
    exact: bool
    sequences: list[int]


def _on_surface(dynamics: Dynamics, window: float, seen: _Seen, centres: Function | None) -> DynamicalSystem | None:
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
def _trajectories(dynamics: Dynamics, window: float, seen: _Seen) -> tuple[Trajectory, ...]:
    paths = dynamics.paths(seen.poses, seen.times, seen.counts, seen.exact)
    _, starts = dynamics.starts(paths)
    size, found = dynamics.manifold.size, []
    for row, (sequence, count) in enumerate(zip(seen.sequences, paths.counts.tolist())):
        states = torch.cat([paths.q[row, :count], paths.v[row, :count] / window], dim=-1)
        start = torch.cat([starts[row, :size], starts[row, size:] / window])
        times = (seen.times[row, 0] + torch.arange(count) * paths.spacing) * window
        found.append(Trajectory(sequence, times, states, start))
    return tuple(found)


def latent_system(
    law: nn.Module,
    seen: Sequence[tuple[Sequence[float], Tensor]],
    window: float,
    code: Function,
    positions: Function | None = None,
) -> DynamicalSystem:
    """An autonomous ODE of first order whose time runs in windows.

    Args:
        seen: for each sequence its times and the latent states `[T, D]` at them.
    """
    exact = copy.deepcopy(law).double()
    found = [
        Trajectory(i, torch.tensor(times, dtype=torch.float64), path.double(), path[0].double())
        for i, (times, path) in enumerate(seen)
    ]
    return DynamicalSystem(
        names=tuple(f"z{k + 1}" for k in range(found[0].states.shape[-1])),
        rate=lambda y: exact(y.new_zeros(()), y) / window,
        seen=tuple(found),
        window=window,
        positions=positions,
        code=code,
    )


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
