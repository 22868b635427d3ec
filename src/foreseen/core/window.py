"""The observed window: the times from the first training frame to the last."""

from __future__ import annotations

import torch
from torch import Tensor


def outside_window(times: Tensor, first: float, last: float) -> tuple[Tensor, Tensor]:
    """Which of `times` `[T]` are before the observed window, and which are after it: two `[T]` bool.

    All are compared as float32, because a request for times is float32: rounding must not put the last training time
    after the window.
    """
    low, high = torch.tensor([first, last], dtype=torch.float32, device=times.device)
    return times.float() < low, times.float() > high
