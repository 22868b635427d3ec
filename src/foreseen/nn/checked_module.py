"""Integers of a state dict lead into memory and say how much there is; a state dict may be anyone's."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from foreseen.errors import UserError


class CheckedModule(nn.Module):
    """A module that looks at its buffers after each `load_state_dict`, before anything goes by them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_post_hook(_check)

    def check(self) -> None:
        """Raises `UserError` where a buffer holds what this module never writes."""
        raise NotImplementedError


def _check(module: Any, keys: Any) -> None:
    del keys
    module.check()


def check_range(name: str, values: Tensor, minimum: int, maximum: int) -> None:
    """Raises `UserError` where one of `values` is not in `minimum` to `maximum`."""
    outside = values[(values < minimum) | (values > maximum)]
    if len(outside):
        raise UserError(f"{name}: {int(outside[0])} is not in {minimum} to {maximum}")
