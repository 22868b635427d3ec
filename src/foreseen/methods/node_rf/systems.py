"""What was learned, as a dynamical system: every law in the data set's time and scene units, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from foreseen.methods.base import DynamicalSystem, Trajectory
from foreseen.methods.node_rf.dynamics import FINER, LEAST_TIMES, Rate
from foreseen.methods.node_rf.matching import Paths, settle

if TYPE_CHECKING:
    from foreseen.methods.node_rf.fast import FastNodeRF
    from foreseen.methods.node_rf.many_fast import ManyFastNodeRF

Function = Callable[[Tensor], Tensor]


def system_of_many_fast(method: ManyFastNodeRF) -> DynamicalSystem | None:
    """The law on the surface of the poses; None where none was fitted, or nothing moves."""
    dynamics, window = method.dynamics, method.window
    size, law = dynamics.manifold.size, dynamics.law
    if not dynamics.fitted or size == 0:
        return None
    unit = float(law.pace) ** 2 / window**2  # energies: that of a unit of mass on the surface, in the data set's time

    def energy(y: Tensor) -> Tensor:
        return unit * law.energy(y[..., :size], y[..., size:] * window)

    def positions(y: Tensor) -> Tensor:
        numbers = dynamics.manifold.decode(y[..., :size])
        return method.parts_of(numbers.reshape(-1, numbers.shape[-1])).centres.unflatten(0, y.shape[:-1]).double()

    def timeless(rate: Rate) -> Function:
        return _second_order(lambda state: rate(state.new_zeros(()), state), size, window)

    stored = law.structure == "potential"
    return DynamicalSystem(
        names=_names(size),
        rate=timeless(law),
        seen=_seen_by_many(method, size),
        window=window,
        second_order=True,
        positions=_any_axes(positions),
        energy=energy if stored else None,
        potential=(lambda q: unit * law.potential(q)) if stored else None,
        drawn=tuple(timeless(rate) for rate in dynamics.drawn()),
    )


@torch.no_grad()
def _seen_by_many(method: ManyFastNodeRF, size: int) -> tuple[Trajectory, ...]:
    dynamics, window, exact = method.dynamics, method.window, bool(method.exact)
    paths = dynamics.paths(method.numbers(method.centres, method.turns), method.times, method.counts, exact)
    starts = _settled(method, paths)
    found = []
    for sequence, count in enumerate(paths.counts.tolist()):
        states = torch.cat([paths.q[sequence, :count], paths.v[sequence, :count] / window], dim=-1)
        start = torch.cat([starts[sequence, :size], starts[sequence, size:] / window])
        times = (method.times[sequence, 0] + torch.arange(count) * paths.spacing) * window
        found.append(Trajectory(sequence, times, states, start))
    return tuple(found)


def _settled(method: ManyFastNodeRF, paths: Paths) -> Tensor:
    """`[S, 2 d]`: as `Dynamics.ends`, the beginnings of the solutions that follow the paths' first stretches best, all
    at once. A path's own first rate, at its end, is its least certain one."""
    span = max(LEAST_TIMES * FINER, round(method.dynamics.config.settle / paths.spacing))
    starts = torch.zeros(len(paths.q), 2 * paths.q.shape[-1], dtype=torch.float64)
    spans = (paths.counts - 1).clamp_max(span)
    for own in spans.unique().tolist():
        rows = (spans == own).nonzero()[:, 0]
        q, v = paths.cut(rows, torch.zeros_like(rows), own)
        starts[rows] = settle(method.dynamics.law, q, v, paths.spacing, own)[0]
    return starts


def system_of_fast(method: FastNodeRF) -> DynamicalSystem | None:
    """The law of one sequence's motion; None where none follows it, or nothing moves."""
    motion, window = method.motion, method.window
    size, most = int(motion.coordinates.used), motion.law.size
    if bool(motion.misfit.isnan()) or size == 0:
        return None

    def filled(x: Tensor) -> Tensor:
        """With zeros for the coordinates that are not alive."""
        return torch.cat([x, x.new_zeros(*x.shape[:-1], most - size)], dim=-1)

    def rate(state: Tensor) -> Tensor:
        q, v = state[..., :size], state[..., size:]
        full = motion.law(state.new_zeros(()), torch.cat([filled(q), filled(v)], dim=-1))
        return torch.cat([v, full[..., most : most + size]], dim=-1)

    def positions(y: Tensor) -> Tensor:
        poses = motion.coordinates.decode(filled(y[..., :size]))
        return method.parts.from_numbers(poses.reshape(-1, poses.shape[-1])).centres.unflatten(0, y.shape[:-1]).double()

    nodes = torch.cat([motion.nodes[:, :size], motion.nodes[:, most : most + size] / window], dim=-1)
    times = method.start + window * torch.linspace(0, 1, len(nodes), dtype=torch.float64)
    return DynamicalSystem(
        names=_names(size),
        rate=_second_order(rate, size, window),
        seen=(Trajectory(0, times, nodes, nodes[0]),),
        window=window,
        second_order=True,
        positions=_any_axes(positions) if method.parts.count else None,
    )


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
