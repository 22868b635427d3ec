"""Linear layers with a learned bound on how much they stretch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LipschitzLinear(nn.Linear):
    """A linear layer whose operator norm (infinity norm: the largest row sum of absolute weights) is at most
    softplus(c).

    Rows above the bound are scaled down to it, the others are left alone; c is learned, and begins at the
    norm of the initial weights. Source: Liu et al. 2022, Learning Smooth Neural Functions via Lipschitz
    Regularization.

    Attributes:
        c: `[]`, the bound before softplus.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.c = nn.Parameter(self.weight.detach().abs().sum(dim=1).max())

    @property
    def bound(self) -> Tensor:
        """`[]`: the layer's Lipschitz bound in the infinity norm."""
        return F.softplus(self.c)

    def normalised_weight(self) -> Tensor:
        """`[out, in]`: the weights that the layer applies."""
        sums = self.weight.abs().sum(dim=1, keepdim=True).clamp_min(1e-12)
        return self.weight * (self.bound / sums).clamp(max=1.0)

    def forward(self, input: Tensor) -> Tensor:
        """`[..., in]` -> `[..., out]`."""
        return F.linear(input, self.normalised_weight(), self.bias)


def applied_weight(layer: nn.Linear) -> Tensor:
    """`[out, in]`: the weights that a plain or a Lipschitz layer applies."""
    return layer.normalised_weight() if isinstance(layer, LipschitzLinear) else layer.weight


def lipschitz_product(module: nn.Module) -> Tensor:
    """`[]`: product of the bounds of all `LipschitzLinear` layers in `module`, which bounds the whole chain;
    the penalty of Liu et al. 2022. 1 where there is none."""
    bounds = [layer.bound for layer in module.modules() if isinstance(layer, LipschitzLinear)]
    return torch.stack(bounds).prod() if bounds else torch.ones(())
