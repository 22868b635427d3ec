"""Dormand and Prince's adaptive method of order 5, through torchdiffeq."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from foreseen.errors import UserError

Dynamics = Callable[[Tensor, Tensor], Tensor]


def solve_dopri5(f: Dynamics, y0: Tensor, times: Tensor, *, rtol: float, atol: float, adjoint: bool) -> Tensor:
    """States `[T, ...]` at strictly monotone `times` `[T]`, T > 1.

    `adjoint` solves a second equation backward for the gradients (Chen et al. 2018, section 2): memory does
    not grow with the number of steps, gradients carry the solver's error, and parameters are those of the
    module `f`.

    Raises `UserError` where `adjoint` is asked for a function that is no `nn.Module`, and where the error
    control cannot find a step (a stiff or diverging f).
    """
    from torchdiffeq import odeint, odeint_adjoint

    if adjoint and not isinstance(f, nn.Module):
        raise UserError(
            f"adjoint=True needs f to be an nn.Module, so that its parameters are known; got "
            f"{type(f).__name__}: wrap it in a module or set adjoint=False."
        )
    solve = odeint_adjoint if adjoint else odeint
    try:
        return solve(f, y0, times, rtol=rtol, atol=atol, method="dopri5")
    except AssertionError as error:
        raise UserError(
            f"solver 'dopri5' found no step that meets rtol={rtol:g}, atol={atol:g} ({error}): "
            "f is stiff or diverges; loosen the tolerances or take a fixed-step solver."
        ) from error
