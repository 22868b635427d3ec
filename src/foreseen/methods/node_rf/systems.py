"""What was learned, as a dynamical system: every law in the data set's time and scene units, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from foreseen.methods.base import DynamicalSystem, Trajectory
from foreseen.methods.laws.system import Seen, on_surface

if TYPE_CHECKING:
    from foreseen.methods.node_rf.many_fast import ManyFastNodeRF

Function = Callable[[Tensor], Tensor]


def system_of_many_fast(method: ManyFastNodeRF, kind: int) -> DynamicalSystem | None:
    """The law on the surface of a kind's poses; None where none was fitted, or nothing moves."""

    def centres(numbers: Tensor) -> Tensor:
        return method.parts_of(kind, numbers).centres[:, method.parts(kind)]

    seen = Seen(*method.seen(kind), bool(method.exact), method.sequences(kind).tolist())
    return on_surface(method.dynamics[kind], method.window, seen, centres)


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
