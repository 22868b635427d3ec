"""Systems of which everything is known in closed form."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from foreseen.core.dynamical_system import DynamicalSystem, Trajectory
from foreseen.ode import integrate


def seen_by(
    rate: Callable[[Tensor], Tensor], starts: list[list[float]], window: float, count: int = 120
) -> tuple[Trajectory, ...]:
    """What was seen of a law from some states."""
    times = torch.linspace(0, window, count, dtype=torch.float64)
    paths = integrate(lambda _, y: rate(y), torch.tensor(starts, dtype=torch.float64), times, steps=4 * count)
    return tuple(Trajectory(s, times, paths[:, s], paths[0, s]) for s in range(len(starts)))


def double_well(drag: float = 0.4, starts: list[list[float]] | None = None, window: float = 6.0) -> DynamicalSystem:
    """x'' = x - x^3 - drag x' of a body at (x, 0, V): rests at -1, 0 and 1."""

    def potential(q: Tensor) -> Tensor:
        return (q[..., 0] ** 4 / 4 - q[..., 0] ** 2 / 2) + 0.25

    def rate(y: Tensor) -> Tensor:
        x, v = y.unbind(-1)
        return torch.stack([v, x - x**3 - drag * v], dim=-1)

    def positions(y: Tensor) -> Tensor:
        x = y[..., 0]
        return torch.stack([x, torch.zeros_like(x), potential(y)], dim=-1)[..., None, :]

    return DynamicalSystem(
        names=("q", "q'"),
        rate=rate,
        trajectories=seen_by(rate, starts or [[1.5, 0.0], [-1.6, 0.3], [0.1, 0.0]], window),
        window=window,
        second_order=True,
        positions=positions,
        energy=lambda y: potential(y[..., :1]) + 0.5 * y[..., 1] ** 2,
        potential=potential,
    )


def oscillator(drag: float = 0.0, velocity_scale: float = 2.0, window: float = 5.0, axes: int = 1) -> DynamicalSystem:
    """q'' = -pace^2 q - drag q' along each axis; no energy is told."""

    def rate(y: Tensor) -> Tensor:
        q, v = y.chunk(2, dim=-1)
        return torch.cat([v, -(velocity_scale**2) * q - drag * v], dim=-1)

    starts = [[1.0, -0.5][:axes] + [0.0, 1.0][:axes], [-0.7, 0.2][:axes] + [0.5, 0.1][:axes]]
    return DynamicalSystem(
        names=tuple(f"y{k}" for k in range(2 * axes)),
        rate=rate,
        trajectories=seen_by(rate, starts, window),
        window=window,
        second_order=True,
    )


def lorenz() -> DynamicalSystem:
    """Lorenz's attractor: exponent 0.906, three unstable fixed points."""

    def rate(y: Tensor) -> Tensor:
        a, b, c = y.unbind(-1)
        return torch.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], dim=-1)

    seen = seen_by(rate, [[-5.0, -6.0, 22.0], [8.0, 3.0, 29.0], [1.0, 1.0, 0.5]], 6.0, 800)
    return DynamicalSystem(
        ("a", "b", "c"), rate, seen, 6.0, code=lambda y: torch.stack([y[..., 0] ** 2, y[..., 1]], -1)
    )
