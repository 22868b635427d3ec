"""Modules and functions that stay on the CPU while the rest of a method is on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Act = TypeVar("Act", bound=Callable[..., Any])


class CPUModule(nn.Module):
    """A module that `.to(device)` neither moves nor converts to another type: small, in float64, fitted step by
    step."""

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> CPUModule:
        del fn, recurse
        return self


def on_cpu(act: Act) -> Act:
    """Makes a function run on the CPU: new tensors are made there, and arguments are copied there."""

    @wraps(act)
    def run_on_cpu(*arguments: Any, **named: Any) -> Any:
        with torch.device("cpu"):
            return act(*map(_to_cpu, arguments), **{name: _to_cpu(value) for name, value in named.items()})

    return run_on_cpu  # type: ignore[return-value]


def _to_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value
