"""One call for every solver."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from foreseen.errors import UserError, suggest
from foreseen.ode.dopri5 import solve_dopri5
from foreseen.ode.euler import EULER
from foreseen.ode.fixed import solve_dense, solve_fixed
from foreseen.ode.midpoint import MIDPOINT
from foreseen.ode.rk4 import RK4
from foreseen.ode.tableau import Tableau

Dynamics = Callable[[Tensor, Tensor], Tensor]
"""(time [], state [..., D]) -> rate of change [..., D]."""

FIXED_STEP: dict[str, Tableau] = {"euler": EULER, "midpoint": MIDPOINT, "rk4": RK4}
SOLVERS = (*FIXED_STEP, "dopri5")


def integrate(
    f: Dynamics,
    y0: Tensor,
    times: Tensor,
    *,
    solver: str = "rk4",
    steps: int | None = None,
    rtol: float = 1e-3,
    atol: float = 1e-4,
    adjoint: bool = False,
) -> Tensor:
    """Solves `dy/dt = f(t, y)` with `y(times[0]) = y0`.

    Args:
        f: called with a time `[]` and a state shaped like `y0`.
        y0: `[..., D]`; leading axes are a batch that shares the times.
        times: `[T]`, strictly ascending or strictly descending.
        solver: one of `SOLVERS`; docs/ode.md says which when.
        steps: for fixed-step solvers: so many equal steps from first to last time, with cubic Hermite
            interpolation at the times between; None takes one step from each time to the next.
        rtol, atol: for dopri5: bounds of the local error.
        adjoint: for dopri5: gradients by the adjoint equation instead of through the solver.

    Returns:
        `[T, ..., D]`, the first being `y0` exactly. Differentiable in `y0`, in what f depends on, and in
        `times`.

    Raises:
        UserError: unsorted or repeated times, an unknown solver, `steps` below 1, `adjoint` where it does not
            apply, or no step small enough (see `solve_dopri5`).
    """
    _check_solver(solver, adjoint)
    y0 = _at_least_float32(y0)
    times = times.to(y0)
    _check_times(times)
    if len(times) == 1:
        return y0[None]
    if solver == "dopri5":
        return solve_dopri5(f, y0, times, rtol=rtol, atol=atol, adjoint=adjoint)
    if steps is None:
        return solve_fixed(f, y0, times, FIXED_STEP[solver])
    if steps < 1:
        raise UserError(f"steps must be at least 1; got {steps}.")
    fractions = torch.arange(steps + 1, dtype=times.dtype, device=times.device) / steps
    grid = times[0] + (times[-1] - times[0]) * fractions
    return solve_dense(f, y0, grid, FIXED_STEP[solver]).at(times)


def integrate_from(
    f: Dynamics,
    y0: Tensor,
    start: Tensor | float,
    times: Tensor,
    *,
    solver: str = "rk4",
    step: float,
    rtol: float = 1e-3,
    atol: float = 1e-4,
    adjoint: bool = False,
) -> Tensor:
    """Solves `dy/dt = f(t, y)` with `y(start) = y0` at times in any order, repeated or not, before or after
    `start`.

    Fixed-step solvers walk a grid of `step` anchored at `start`, so that the state at one time does not
    depend on which other times are asked for: a model sees in training what it will see in a forecast.

    Args:
        y0: `[..., D]`.
        times: `[T]`.
        step: length of a step of the fixed-step solvers, in the unit of `times`, above 0.

    Returns:
        `[T, ..., D]` in the order of `times`. Differentiable as `integrate`, save that dopri5 gives no
        gradient in `times`.
    """
    _check_solver(solver, adjoint)
    if not step > 0:
        raise UserError(f"step must be above 0; got {step:g}.")
    y0 = _at_least_float32(y0)
    times, anchor = times.to(y0), torch.as_tensor(start).to(y0)
    if not torch.isfinite(times.detach()).all():
        raise UserError("times must be finite numbers.")

    def one_side(side: Tensor, sign: int) -> Tensor:
        if len(side) == 0:
            return y0.new_zeros(0, *y0.shape)
        if solver == "dopri5":
            return _adaptive(f, y0, anchor, side, sign, rtol=rtol, atol=atol, adjoint=adjoint)
        span = float((side.detach() - anchor.detach()).abs().max())
        # Rounding of span / step must not add a step.
        count = max(1, math.ceil(span / step - 1e-3))
        grid = anchor + sign * step * torch.arange(count + 1, dtype=y0.dtype, device=y0.device)
        return solve_dense(f, y0, grid, FIXED_STEP[solver]).at(side)

    after = times.detach() >= anchor.detach()
    order = torch.cat([after.nonzero()[:, 0], (~after).nonzero()[:, 0]])
    return torch.cat([one_side(times[after], 1), one_side(times[~after], -1)])[order.argsort()]


def _adaptive(
    f: Dynamics,
    y0: Tensor,
    start: Tensor,
    times: Tensor,
    sign: int,
    *,
    rtol: float,
    atol: float,
    adjoint: bool,
) -> Tensor:
    knots, place = torch.cat([start.detach()[None], times.detach()]).unique(return_inverse=True)
    if sign < 0:
        knots, place = knots.flip(0), len(knots) - 1 - place
    return integrate(f, y0, knots, solver="dopri5", rtol=rtol, atol=atol, adjoint=adjoint)[place[1:]]


def _at_least_float32(y0: Tensor) -> Tensor:
    """In half precision (autocast) small steps would vanish, in the state as in the times."""
    return y0.to(torch.promote_types(y0.dtype, torch.float32))


def _check_solver(solver: str, adjoint: bool) -> None:
    if solver not in SOLVERS:
        raise UserError(f"unknown solver '{solver}': {suggest(solver, SOLVERS)}")
    if adjoint and solver != "dopri5":
        raise UserError(f"adjoint=True goes with solver 'dopri5', not '{solver}': set adjoint=False.")


def _check_times(times: Tensor) -> None:
    values = times.detach()
    if values.dim() != 1 or len(values) == 0:
        raise UserError(f"times must be one axis with at least one time; got shape {tuple(values.shape)}.")
    if not torch.isfinite(values).all():
        raise UserError("times must be finite numbers.")
    steps = values.diff()
    forward = bool(len(steps) == 0 or steps[0] > 0)
    wrong = (steps <= 0) if forward else (steps >= 0)
    if wrong.any():
        i = int(wrong.nonzero()[0, 0])
        raise UserError(
            "times must be strictly ascending or strictly descending; "
            f"times[{i + 1}] = {float(values[i + 1]):g} "
            f"follows times[{i}] = {float(values[i]):g}: sort them and leave out repeats."
        )
