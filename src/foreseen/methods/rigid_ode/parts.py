"""What moves: rigid parts, or one latent number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foreseen.geometry.rotations import quaternion_of, quaternion_product, rotation_vector
from foreseen.methods.rigid_ode.roll import Roll
from foreseen.nn.splines import UniformBSpline


@dataclass(frozen=True)
class PartsState:
    """Where the K parts are. Leading axes are times.

    Attributes:
        centres: `[..., K, 3]`, in the space of the rays.
        turns: `[..., K, 3]` rotation vectors [rad].
        latent: `[..., 1]` in -1..1: what the field outside the parts depends on; constant where there are parts.
    """

    centres: Tensor
    turns: Tensor
    latent: Tensor


class Parts(nn.Module):
    """K rigid parts: trajectories over the observed window (unit time), and box sizes.

    Parts that are `round` `[K]` bool turn as their paint tells (`roll`), and by small `turns` on top, or not at all.
    The law, to which this would be noise, is told of no turn.

    Without parts (K = 0) the motion is `latent`, a number that runs through the window, evenly at first.
    """

    halves: Tensor
    round: Tensor
    line: Tensor

    def __init__(self, count: int, controls: int) -> None:
        super().__init__()
        self.count = count
        self.spline = UniformBSpline(controls)
        self.centres = nn.Parameter(torch.zeros(controls, count, 3))
        self.turns = nn.Parameter(torch.zeros(controls, count, 3))
        self.roll = Roll(count, 2 * controls + 1)
        # The spline reproduces straight lines: these controls give the time.
        line = (torch.arange(controls) - 1.0) / (controls - 3)
        self.register_buffer("line", line, persistent=False)
        self.latent = nn.Parameter((2 * line - 1 if count == 0 else torch.zeros(controls))[:, None])
        self.register_buffer("halves", torch.ones(count, 3))
        self.register_buffer("round", torch.zeros(count, dtype=torch.bool))

    def at(self, basis: Tensor) -> PartsState:
        """The poses under spline weights `basis` `[T, controls]`."""
        basis = basis.to(self.centres)
        centres = torch.einsum("tc,ckd->tkd", basis, self.centres)
        return PartsState(centres, self._turned(basis, basis @ self.line.to(basis)), basis @ self.latent)

    def _turned(self, basis: Tensor, times: Tensor) -> Tensor:
        """`[T, K, 3]` rotation vectors at `times`; `basis`: at the nearest ones within the window."""
        own = torch.einsum("tc,ckd->tkd", basis, self.turns)
        free = own * ~self.round[:, None]
        if not self.roll.known.any():
            return free
        rolled = rotation_vector(quaternion_product(quaternion_of(own), self.roll.at(times.to(own))))
        return torch.where(self.roll.known[:, None], rolled, free)

    def numbers(self, basis: Tensor) -> Tensor:
        """What the law of motion is about, `[T, P]` float64, on the CPU: the parts' centres, and their rotation vectors
        as the way that a rim of the part's own size goes, times the part's size, so that large parts, whose places are
        well known, count for more; or the latent number."""
        state = self.at(basis)
        if self.count == 0:
            return state.latent.double().cpu()
        turns = torch.where(self.round[:, None], 0.0, state.turns) * self._sizes()[:, None]
        both = torch.cat([state.centres, turns], dim=-1) * self.units()[:, None]
        return both.flatten(1).double().cpu()

    def from_numbers(self, numbers: Tensor, times: Tensor) -> PartsState:
        """The inverse of `numbers`, at `times` `[T]` (0..1 is the window)."""
        if self.count == 0:
            empty = self.centres.new_zeros(len(numbers), 0, 3)
            return PartsState(empty, empty, numbers.to(self.latent).clamp(-1, 1))
        centres, turns = self._halved(numbers)
        rolled = self._turned(self.spline.basis(times.clamp(0, 1)).to(self.turns), times)
        turns = torch.where(self.round[:, None], rolled, turns / self._sizes()[:, None])
        return PartsState(centres, turns, centres.new_zeros(len(numbers), 1))

    def centres_of(self, numbers: Tensor) -> Tensor:
        """`[T, K, 3]` of `numbers`."""
        return self._halved(numbers)[0]

    def _halved(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        both = numbers.to(self.centres).unflatten(-1, (self.count, 6)) / self.units()[:, None]
        centres, turns = both.split(3, dim=-1)
        return centres, turns

    def units(self) -> Tensor:
        """`[K]`: what a length of 1 is in `numbers`."""
        sizes = self._sizes()
        return sizes / sizes.max() ** 2

    def _sizes(self) -> Tensor:
        """`[K]` mean half sizes of the boxes."""
        return self.halves.mean(-1)

    def turning(self) -> Tensor:
        """Mean squared first difference of the rotation vectors: a part whose turning nobody can see rests."""
        return self.turns.diff(dim=0).square().mean() if self.count else self.turns.sum()

    def jerk(self) -> Tensor:
        """Mean squared third difference of the control points, in boxes and in radians."""
        if self.count == 0:
            return self.latent.diff(n=3, dim=0).square().mean()
        scaled = torch.cat([self.centres / self._sizes()[None, :, None], self.turns], dim=-1)
        return scaled.diff(n=3, dim=0).square().mean()
