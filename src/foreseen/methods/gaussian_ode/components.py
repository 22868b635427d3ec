"""Principal components of the deformation of a cloud of Gaussians over time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MIN_COMPONENT = 1e-6
"""A component smaller than this share of the largest one is float32 rounding."""
NUM_DISPLACEMENTS = 3
"""The first columns of the changes of a Gaussian are its displacement; only these determine the components."""


class PrincipalComponents(nn.Module):
    """Principal components of the changes of N of at most `budget` Gaussians over time.

    Coefficients are `[..., K]` float64: their root mean square is that of the displacements, weighted over the
    Gaussians. Changes are `[..., N, C]`, of which the first three are displacements.

    Args:
        maximum: K.
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
        """Fits `changes` `[T, N, C]`; returns their coefficients `[T, K]`. `weights` `[N]`: how visible each Gaussian
        is.

        Rotations and scales follow the coefficients of the displacements by least squares."""
        count = changes.shape[1]
        self.mean.zero_()
        self.directions.zero_()
        self.mean[:count] = changes.mean(0)
        centred = changes - self.mean[:count]
        share = (weights / weights.sum().clamp_min(1e-12)).sqrt()
        displacements = (centred[..., :NUM_DISPLACEMENTS] * share[:, None]).flatten(1).double()
        sizes, modes = torch.linalg.eigh(displacements @ displacements.T)
        sizes, modes = sizes.flip(0)[: self.maximum].clamp_min(0).sqrt(), modes.flip(1)[:, : self.maximum]
        num_components = int((sizes > MIN_COMPONENT * sizes[0]).sum())
        coefficients = modes.new_zeros(len(changes), self.maximum)
        coefficients[:, :num_components] = modes[:, :num_components] * sizes[:num_components]
        mixing = (modes[:, :num_components] / sizes[:num_components]).T.to(changes)
        self.directions[:num_components, :count] = torch.einsum("kt,tnc->knc", mixing, centred)
        return coefficients

    def decode(self, coefficients: Tensor, count: int) -> Tensor:
        """Changes `[N, C]` of the first `count` Gaussians for coefficients `[K]`."""
        difference = torch.einsum("k,knc->nc", coefficients.to(self.directions), self.directions[:, :count])
        return self.mean[:count] + difference
