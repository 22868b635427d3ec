"""What stays on the processor while the rest of a method is on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Act = TypeVar("Act", bound=Callable[..., Any])


class CPUModule(nn.Module):
    """A module that no `.to(device)` moves or turns into another type: small, in float64, fitted step by step."""

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> CPUModule:
        del fn, recurse
        return self


def on_cpu(act: Act) -> Act:
    """A function that makes its tensors on the CPU, and gets copies there of those that it is given."""

    @wraps(act)
    def there(*given: Any, **named: Any) -> Any:
        with torch.device("cpu"):
            return act(*map(_here, given), **{name: _here(value) for name, value in named.items()})

    return there  # type: ignore[return-value]


def _here(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value
