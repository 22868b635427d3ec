"""A small radiance field on feature planes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from foreseen.nn.planes import FeaturePlanes


class PlaneField(nn.Module):
    """Density and colour from interpolated features.

    Args:
        planes: the features of a position.
        condition: width of further inputs of the colour, such as an encoded direction.
        width: hidden units.
        initial: density at the start, per unit length of the planes' own box (half size 1).
    """

    def __init__(self, planes: FeaturePlanes, condition: int, width: int = 64, initial: float = 0.3) -> None:
        super().__init__()
        self.planes = planes
        self.trunk = nn.Linear(planes.features, width)
        self.density_head = nn.Linear(width, 1)
        self.color_head = nn.Sequential(nn.Linear(width + condition, width), nn.ReLU(), nn.Linear(width, 3))
        nn.init.zeros_(self.density_head.bias)
        self.log_initial = float(torch.tensor(initial).log())

    def density(self, coords: Tensor, group: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Density `[M]` per half size of the box, and the hidden features `[M, width]`, at `coords` `[M, D]`."""
        hidden = torch.relu(self.trunk(self.planes(coords, group)))
        return TruncatedExp.apply(self.density_head(hidden)[:, 0] + self.log_initial), hidden

    def forward(self, coords: Tensor, group: Tensor | None, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Density `[M]` and colour `[M, 3]` in 0..1."""
        density, hidden = self.density(coords, group)
        return density, torch.sigmoid(self.color_head(torch.cat([hidden, condition], dim=-1)))

    def network_parameters(self) -> list[nn.Parameter]:
        """All parameters but the planes, which need another learning rate."""
        return [p for name, p in self.named_parameters() if not name.startswith("planes.")]


class TruncatedExp(torch.autograd.Function):
    """exp whose argument is clamped, in the gradient too, so that a density can always fall again (Instant-NGP)."""

    LIMIT = 9.0

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(max=TruncatedExp.LIMIT).exp()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * x.clamp(-TruncatedExp.LIMIT, TruncatedExp.LIMIT).exp()
