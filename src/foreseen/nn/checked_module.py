"""Checks of loaded buffers. Kernels use integers of a state dict as memory offsets, and the file may be from
anybody."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from foreseen.errors import UserError


class CheckedModule(nn.Module):
    """A module that checks its buffers after each `load_state_dict`, before anything uses them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_post_hook(_check)

    def check(self) -> None:
        """Raises `UserError` where a buffer has values that this module never writes."""
        raise NotImplementedError


def _check(module: Any, keys: Any) -> None:
    del keys
    module.check()


def check_range(name: str, values: Tensor, minimum: int, maximum: int) -> None:
    """Raises `UserError` where one of `values` is not in `minimum` to `maximum`."""
    outside = values[(values < minimum) | (values > maximum)]
    if len(outside):
        raise UserError(f"{name}: {int(outside[0])} is not in {minimum} to {maximum}")
