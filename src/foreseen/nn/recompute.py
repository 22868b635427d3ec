"""Less memory for more time: networks that run again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

ROWS = 2**13
"""Rows that the backward pass holds the layers of at a time: 0.1 GB for a NeRF of the usual size."""


def recomputed(function: Callable[..., tuple[Tensor, Tensor]], *inputs: Tensor) -> tuple[Tensor, Tensor]:
    """`function(*inputs)` for inputs `[M, ...]` that are worked on row by row, keeping nothing but the result for the
    backward pass, which runs the function again part by part."""
    parts = [
        checkpoint(function, *rows, use_reentrant=False, preserve_rng_state=False)
        for rows in zip(*(x.split(ROWS) for x in inputs))
    ]
    first, second = (torch.cat(values) for values in zip(*parts))
    return first, second
