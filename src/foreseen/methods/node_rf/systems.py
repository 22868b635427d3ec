"""A learned latent ODE as a dynamical system, in the data set's units of time and length, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from foreseen.core.dynamical_system import DynamicalSystem, Trajectory

Function = Callable[[Tensor], Tensor]


def latent_system(
    ode: nn.Module,
    observed: Sequence[tuple[Sequence[float], Tensor]],
    window: float,
    code: Function,
    positions: Function | None = None,
) -> DynamicalSystem:
    """An autonomous first-order ODE whose time is in windows.

    Args:
        observed: for each sequence its times and the latent states `[T, D]` at them.
        window: length of a window, in the data set's unit.
        code: states -> codes that condition the field.
        positions: states -> positions of the bodies `[..., B, 3]`.
    """
    exact = copy.deepcopy(ode).double()
    trajectories = [
        Trajectory(i, torch.tensor(times, dtype=torch.float64), path.double(), path[0].double())
        for i, (times, path) in enumerate(observed)
    ]
    return DynamicalSystem(
        names=tuple(f"z{k + 1}" for k in range(trajectories[0].states.shape[-1])),
        rate=lambda y: exact(y.new_zeros(()), y) / window,
        trajectories=tuple(trajectories),
        window=window,
        positions=positions,
        code=code,
    )
