"""The Node-RF paper's indicator of critical points, beside the true divergence of the dynamics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from foreseen.analysis.jacobians import value_and_jacobian
from foreseen.core.dynamical_system import DynamicalSystem

STATES_HIGH_DIM, STATES_LOW_DIM, HIGH_DIM = 40, 200, 64
"""Upper bounds of the evaluated states of a sequence, for states of more than and of at most `HIGH_DIM` components."""


def code_indicator(system: DynamicalSystem, y: Tensor) -> Tensor:
    """`[...]`: sum over the code's components of their derivatives with respect to time, sum_k dc_k/dt, at states
    `[..., D]`. The code depends on time through the state alone, so this is the gradient of sum_k c_k(y), times y'."""
    rate = system.rate(y.detach()).detach()
    if system.code is None:
        return rate.sum(-1)
    with torch.enable_grad():
        state = y.detach().requires_grad_()
        (slope,) = torch.autograd.grad(system.code(state).sum(), state)
    return (slope * rate).sum(-1)


def divergence(system: DynamicalSystem, y: Tensor) -> Tensor:
    """tr(dy'/dy) `[N]` at states `[N, D]`, per unit of time: the rate at which a volume of states grows."""
    return value_and_jacobian(system.rate, y)[1].diagonal(dim1=-2, dim2=-1).sum(-1)


def compare(system: DynamicalSystem) -> dict[str, Any]:
    """Indicator and divergence along the observed trajectories: by sequence, and as statistics."""
    courses: list[dict[str, Any]] = []
    for one in system.trajectories:
        count = min(STATES_HIGH_DIM if len(system.names) > HIGH_DIM else STATES_LOW_DIM, len(one.states))
        kept = torch.linspace(0, len(one.states) - 1, count).round().long()
        states = one.states[kept]
        courses.append(
            {
                "sequence": one.sequence,
                "times": one.times[kept].tolist(),
                "indicator": code_indicator(system, states).tolist(),
                "divergence": divergence(system, states).tolist(),
            }
        )
    return {
        "code": "the state itself" if system.code is None else "the decoded code",
        "indicator": _statistics([x for c in courses for x in c["indicator"]]),
        "divergence": _statistics([x for c in courses for x in c["divergence"]]),
        "courses": courses,
    }


def _statistics(values: list[float]) -> dict[str, float]:
    x = torch.tensor(values, dtype=torch.float64)
    return {
        "mean": float(x.mean()),
        "smallest": float(x.min()),
        "largest": float(x.max()),
        "mean_size": float(x.abs().mean()),
    }
