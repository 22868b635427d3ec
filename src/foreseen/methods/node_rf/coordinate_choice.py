"""Several sequences: which coordinates the code has, chosen by how well sequences that are left out are predicted.

Distances along a surface make forces smooth where it is bent much (a hill). Where few sequences cross it they come out
distorted, and a projection is better (a flat bowl). Nothing but sequences that the fit has not seen can tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foreseen.methods.node_rf.fast_config import Coordinates, EncoderConfig, LatentODEConfig
from foreseen.methods.node_rf.latent_encoder import StateEncoder, fitting_encoder
from foreseen.methods.node_rf.latent_ode import SecondOrderODE, cut_segments, fit_ode, trajectories


@dataclass(frozen=True)
class LabelledPaths:
    """Positions and velocities of S sequences at up to T times each, padded.

    Attributes:
        positions, velocities: `[S, T, W]`; velocities per window.
        times: `[S, T]` in windows from each sequence's first.
        valid: `[S, T]` bool.
    """

    positions: Tensor
    velocities: Tensor
    times: Tensor
    valid: Tensor

    def only(self, sequences: Tensor) -> LabelledPaths:
        """Those of `sequences`, a mask `[S]`."""
        return LabelledPaths(*(x[sequences] for x in (self.positions, self.velocities, self.times, self.valid)))


@dataclass(frozen=True)
class Choice:
    """What predicts sequences that are left out best.

    Attributes:
        error: mean distance of the predicted positions, as a share of their spread; nan where nothing was left out.
    """

    coordinates: Coordinates
    ridge: float
    error: float


def choose_coordinates(paths: LabelledPaths, encoder: EncoderConfig, ode: LatentODEConfig) -> Choice:
    """The best of `encoder.coordinates` and `ode.ridges`; the first of each for fewer than two sequences."""
    count = len(paths.times)
    folds = min(ode.folds, count)
    if folds < 2 or len(encoder.coordinates) * len(ode.ridges) < 2:
        return Choice(encoder.coordinates[0], ode.ridges[0], float("nan"))
    errors = torch.zeros(len(encoder.coordinates), len(ode.ridges), folds)
    for fold in range(folds):
        left_out = torch.arange(count) % folds == fold
        seen, unseen = paths.only(~left_out), paths.only(left_out)
        for i, kind in enumerate(encoder.coordinates):
            fitted = fitting_encoder(seen.positions[seen.valid], encoder, kind)
            for j, ridge in enumerate(ode.ridges):
                errors[i, j, fold] = _prediction_error(seen, unseen, fitted, ode, ridge)
    mean = errors.mean(-1)
    best = int(mean.argmin())
    i, j = divmod(best, len(ode.ridges))
    return Choice(encoder.coordinates[i], ode.ridges[j], float(mean.flatten()[best]))


@torch.no_grad()
def _prediction_error(
    seen: LabelledPaths, unseen: LabelledPaths, encoder: StateEncoder, config: LatentODEConfig, ridge: float
) -> float:
    """Mean distance of the predicted positions of `unseen`, in units of the spread of what is `seen`, and no more than
    that for one position: some trajectories cannot be told."""
    ode = SecondOrderODE(encoder.dims, config)
    states = encoder(seen.positions, seen.velocities)
    segments, first = cut_segments(states, seen.times, seen.valid, 1.0)
    fit_ode(ode, segments, config, first, ridge=ridge, shares=())
    start = encoder(unseen.positions[:, 0], unseen.velocities[:, 0])
    predicted, _ = encoder.decode(trajectories(ode, start, unseen.times))
    known = seen.positions[seen.valid]
    spread = (known - known.mean(0)).norm(dim=-1).square().mean().sqrt().clamp_min(1e-12)
    distances = (predicted - unseen.positions)[unseen.valid].norm(dim=-1) / spread
    return float(torch.nan_to_num(distances, nan=1.0).clamp_max(1.0).mean())
