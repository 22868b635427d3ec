"""The loss of D-NeRF."""

from __future__ import annotations

import torch
from torch import Tensor


def color_loss(rgb: Tensor, colors: Tensor) -> dict[str, Tensor]:
    """Mean squared error of rendered and observed colours `[N, 3]`.

    The paper's equation 9 up to a factor of three, which has no effect with Adam.
    """
    error = (rgb - colors).square().mean()
    return {"color": error, "_psnr": -10 * torch.log10(error.detach().clamp_min(1e-10))}
