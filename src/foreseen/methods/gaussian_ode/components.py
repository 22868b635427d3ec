"""Few numbers that tell how all Gaussians are displaced."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MIN_COMPONENT = 1e-6
"""A component smaller than this share of the largest one is rounding."""
NUM_DISPLACEMENTS = 3
"""Of the changes of a Gaussian the first ones are its displacement; by these alone components are found."""


class PrincipalComponents(nn.Module):
    """Principal components of what changes N of at most `budget` Gaussians over time.

    Numbers are `[..., K]` float64: their root mean square is that of the displacements, weighted over the Gaussians.
    Changes are `[..., N, C]`, of which the first three are displacements.

    Args:
        most: K.
        changes: C.
    """

    mean: Tensor
    directions: Tensor

    def __init__(self, budget: int, maximum: int, changes: int) -> None:
        super().__init__()
        self.maximum = maximum
        self.register_buffer("mean", torch.zeros(budget, changes))
        self.register_buffer("directions", torch.zeros(maximum, budget, changes))

    @torch.no_grad()
    def fit(self, changes: Tensor, weights: Tensor) -> Tensor:
        """To `changes` `[T, N, C]`; returns their numbers `[T, K]`. `weights` `[N]` say how much each Gaussian is seen.

        Turns and growth follow the components of the displacements by least squares."""
        count = changes.shape[1]
        self.mean.zero_()
        self.directions.zero_()
        self.mean[:count] = changes.mean(0)
        centred = changes - self.mean[:count]
        share = (weights / weights.sum().clamp_min(1e-12)).sqrt()
        seen = (centred[..., :NUM_DISPLACEMENTS] * share[:, None]).flatten(1).double()
        sizes, modes = torch.linalg.eigh(seen @ seen.T)
        sizes, modes = sizes.flip(0)[: self.maximum].clamp_min(0).sqrt(), modes.flip(1)[:, : self.maximum]
        kept = int((sizes > MIN_COMPONENT * sizes[0]).sum())
        coefficients = modes.new_zeros(len(changes), self.maximum)
        coefficients[:, :kept] = modes[:, :kept] * sizes[:kept]
        mixing = (modes[:, :kept] / sizes[:kept]).T.to(changes)
        self.directions[:kept, :count] = torch.einsum("kt,tnc->knc", mixing, centred)
        return coefficients

    def decode(self, coefficients: Tensor, count: int) -> Tensor:
        """Changes `[N, C]` of the first `count` Gaussians for numbers `[K]`."""
        told = torch.einsum("k,knc->nc", coefficients.to(self.directions), self.directions[:, :count])
        return self.mean[:count] + told
