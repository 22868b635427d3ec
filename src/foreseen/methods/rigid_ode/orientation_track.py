"""How round parts turn, where something is known of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foreseen.geometry.rotations import quaternion_of, quaternion_product, rotation_vector

LAST_SPIN_SHARE = 0.08
"""Share of the window whose mean spin goes on beyond its ends."""


class OrientationTrack(nn.Module):
    """Orientations of K parts at J even times 0..1, between which they spin steadily, and beyond which they go on as
    they did.

    Attributes:
        known: `[K]` bool; the others do not turn.
        knots: `[J, K, 4]` unit quaternions.
    """

    valid: Tensor
    knots: Tensor

    def __init__(self, count: int, knots: int) -> None:
        super().__init__()
        self.register_buffer("valid", torch.zeros(count, dtype=torch.bool))
        self.register_buffer("knots", torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(knots, count, 1))

    def times(self) -> Tensor:
        """`[J]` float64."""
        return torch.linspace(0, 1, len(self.knots), dtype=torch.float64)

    @torch.no_grad()
    def learn(self, part: int, quaternions: Tensor) -> None:
        """Takes over one part's orientations `[J, 4]` at `times`."""
        self.valid[part] = True
        self.knots[:, part] = quaternions.to(self.knots)

    def at(self, times: Tensor) -> Tensor:
        """`[T, K, 4]` at `times` `[T]`."""
        pieces = len(self.knots) - 1
        backward = torch.cat([self.knots[..., :1], -self.knots[..., 1:]], dim=-1)
        steps = rotation_vector(quaternion_product(self.knots[1:], backward[:-1]))
        place = times * pieces
        piece = place.floor().clamp(0, pieces - 1).long()
        last = max(1, round(LAST_SPIN_SHARE * pieces))
        rotation = (place - piece)[:, None, None] * steps[piece]
        before, after = (times < 0)[:, None, None], (times > 1)[:, None, None]
        rotation = torch.where(before, place[:, None, None] * steps[:last].mean(0), rotation)
        rotation = torch.where(after, (place - pieces)[:, None, None] * steps[-last:].mean(0), rotation)
        return quaternion_product(quaternion_of(rotation), torch.where(after, self.knots[-1], self.knots[piece]))
