"""What was learned, as a dynamical system: every law in the data set's time and scene units, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from foreseen.core.dynamical_system import DynamicalSystem, Trajectory

Function = Callable[[Tensor], Tensor]


def latent_system(
    ode: nn.Module,
    seen: Sequence[tuple[Sequence[float], Tensor]],
    window: float,
    code: Function,
    positions: Function | None = None,
) -> DynamicalSystem:
    """An autonomous ODE of first order whose time runs in windows.

    Args:
        seen: for each sequence its times and the latent states `[T, D]` at them.
    """
    exact = copy.deepcopy(ode).double()
    found = [
        Trajectory(i, torch.tensor(times, dtype=torch.float64), path.double(), path[0].double())
        for i, (times, path) in enumerate(seen)
    ]
    return DynamicalSystem(
        names=tuple(f"z{k + 1}" for k in range(found[0].states.shape[-1])),
        rate=lambda y: exact(y.new_zeros(()), y) / window,
        trajectories=tuple(found),
        window=window,
        positions=positions,
        code=code,
    )
