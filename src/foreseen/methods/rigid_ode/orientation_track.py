"""Rotation of round parts over time, where it is known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foreseen.geometry.rotations import quaternion_of, quaternion_product, rotation_vector
from foreseen.methods.rigid_ode.config import RigidODEConfig


class OrientationTrack(nn.Module):
    """Orientations of K parts at J even times 0..1. Between these the angular velocity is constant; outside the window
    it is the mean over the last (or first) `last_spin_share` of the window.

    Attributes:
        valid: `[K]` bool, parts whose orientation is known; the others do not rotate.
        knots: `[J, K, 4]` unit quaternions.
    """

    valid: Tensor
    knots: Tensor

    def __init__(self, count: int, knots: int, last_spin_share: float = RigidODEConfig.last_spin_share) -> None:
        super().__init__()
        self.last_spin_share = last_spin_share
        self.register_buffer("valid", torch.zeros(count, dtype=torch.bool))
        self.register_buffer("knots", torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(knots, count, 1))

    def times(self) -> Tensor:
        """Times `[J]` float64 of the knots."""
        return torch.linspace(0, 1, len(self.knots), dtype=torch.float64)

    @torch.no_grad()
    def learn(self, part: int, quaternions: Tensor) -> None:
        """Copies one part's orientations `[J, 4]` at `times`."""
        self.valid[part] = True
        self.knots[:, part] = quaternions.to(self.knots)

    def at(self, times: Tensor) -> Tensor:
        """Unit quaternions `[T, K, 4]` at `times` `[T]`."""
        pieces = len(self.knots) - 1
        backward = torch.cat([self.knots[..., :1], -self.knots[..., 1:]], dim=-1)
        steps = rotation_vector(quaternion_product(self.knots[1:], backward[:-1]))
        position = times * pieces
        piece = position.floor().clamp(0, pieces - 1).long()
        last = max(1, round(self.last_spin_share * pieces))
        rotation = (position - piece)[:, None, None] * steps[piece]
        before, after = (times < 0)[:, None, None], (times > 1)[:, None, None]
        rotation = torch.where(before, position[:, None, None] * steps[:last].mean(0), rotation)
        rotation = torch.where(after, (position - pieces)[:, None, None] * steps[-last:].mean(0), rotation)
        return quaternion_product(quaternion_of(rotation), torch.where(after, self.knots[-1], self.knots[piece]))
