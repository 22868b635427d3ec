"""Networks that run again in the backward pass: less memory, more time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

ROWS = 2**13
"""Rows that are recomputed together: 0.1 GB for a NeRF of the usual size. Larger: more memory, slightly faster."""


def recomputed(function: Callable[..., tuple[Tensor, Tensor]], *inputs: Tensor) -> tuple[Tensor, Tensor]:
    """`function(*inputs)` for a function that works row by row on inputs `[M, ...]`. Only the result is kept; the
    backward pass runs the function again, in blocks of rows."""
    parts = [
        checkpoint(function, *rows, use_reentrant=False, preserve_rng_state=False)
        for rows in zip(*(x.split(ROWS) for x in inputs))
    ]
    first, second = (torch.cat(values) for values in zip(*parts))
    return first, second
