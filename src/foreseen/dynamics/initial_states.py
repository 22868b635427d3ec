"""Initial states of segments: those from which solutions follow observed paths best."""

from __future__ import annotations

import torch
from torch import Tensor

from foreseen.dynamics.config import InitialStateConfig
from foreseen.dynamics.lagrangian import LagrangianODE
from foreseen.ode import integrate


@torch.no_grad()
def fit_initial_states(
    ode: LagrangianODE, q: Tensor, v: Tensor, spacing: float, steps: int, config: InitialStateConfig
) -> tuple[Tensor, Tensor]:
    """The initial states `[B, 2 d]` whose solutions fit paths `q` `[B, N, d]` best, and the root mean square misfit of
    each `[B]`. Damped Gauss-Newton iterations, from the first state of each path.

    Args:
        v: rates; only the first of each path is used.
        steps: of the solver, over the whole path.
    """
    count, length, size = q.shape
    times = torch.linspace(0, spacing * (length - 1), length, dtype=q.dtype)
    state = torch.cat([q[:, 0], v[:, 0]], dim=-1)
    scale = torch.cat([torch.ones(size, dtype=q.dtype), ode.velocity_scale.expand(size)])
    epsilon = 1e-5
    offsets = epsilon * torch.diag(scale)
    damping = torch.full((count, 1, 1), 1e-6, dtype=q.dtype)
    path = solve_segments(ode, state, times, steps)
    error = (path[..., :size] - q).square().mean((1, 2))
    for _ in range(config.iterations):
        shifted = solve_segments(ode, (state[:, None] + offsets).flatten(0, 1), times, steps)
        shifted = shifted.unflatten(0, (count, 2 * size))
        jacobian = ((shifted[..., :size] - path[:, None, :, :size]) / epsilon).flatten(2).transpose(1, 2)
        residual = (q - path[..., :size]).flatten(1)
        gram = jacobian.transpose(1, 2) @ jacobian
        damped = gram + damping * torch.diag_embed(1e-9 + gram.diagonal(dim1=1, dim2=2))
        step = torch.linalg.solve(damped, jacobian.transpose(1, 2) @ residual[..., None])[..., 0]
        if bool((step.abs() < config.step_tolerance).all()):
            break
        new_state = state + step.nan_to_num() * scale
        new_path = solve_segments(ode, new_state, times, steps)
        new_error = (new_path[..., :size] - q).square().mean((1, 2))
        better = new_error < error
        state, error = torch.where(better[:, None], new_state, state), torch.where(better, new_error, error)
        path = torch.where(better[:, None, None], new_path, path)
        damping = torch.where(better[:, None, None], damping * 0.1, damping * 10)
    return state, error.sqrt()


def solve_segments(ode: LagrangianODE, state: Tensor, times: Tensor, steps: int) -> Tensor:
    """Solutions `[B, N, 2 d]` from `state` `[B, 2 d]`. After a solution diverged, all its components are set to
    `LagrangianConfig.max_coordinate`."""
    path = integrate(ode, state, times, steps=steps).transpose(0, 1)
    size, largest = path.shape[-1] // 2, ode.config.max_coordinate
    return torch.where((path[..., :size].abs() <= largest).all(-1, keepdim=True), path, largest)
