"""Jacobians of functions that take states with any leading axes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

MAX_NUMBERS = 20_000_000
"""Upper bound of the numbers in a batch; limits memory."""


def value_and_jacobian(f: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """f `[N, K]` and df/dx `[N, K, D]` at `x` `[N, D]`; row n of f must depend on row n of x alone."""
    outputs = f(x[:1]).shape[-1]
    rows = max(1, MAX_NUMBERS // max(outputs * max(outputs, x.shape[-1]), 1))
    batches = [_of_batch(f, part, outputs) for part in x.split(rows)]
    return torch.cat([value for value, _ in batches]), torch.cat([slope for _, slope in batches])


def _of_batch(f: Callable[[Tensor], Tensor], x: Tensor, outputs: int) -> tuple[Tensor, Tensor]:
    # Every output has its own copy of the input, so that one backward pass computes all rows.
    with torch.enable_grad():
        copies = x.detach()[:, None].expand(-1, outputs, -1).clone().requires_grad_()
        values = f(copies).diagonal(dim1=-2, dim2=-1)
        (slopes,) = torch.autograd.grad(values.sum(), copies)
    return values.detach(), slopes
