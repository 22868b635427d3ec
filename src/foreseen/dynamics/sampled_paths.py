"""Paths of q at even times, and segments of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SampledPaths:
    """S trajectories at even times.

    Attributes:
        q, v: `[S, N, d]`, smoothed coordinates and their rates [1/window]; values beyond a path's count are not read.
        raw: `[S, N, d]`, q as observed, at the times `observed_mask` `[S, N]`.
        counts: `[S]` number of times of each path.
        spacing: of the times, in windows.
    """

    q: Tensor
    v: Tensor
    raw: Tensor
    observed_mask: Tensor
    counts: Tensor
    spacing: float

    def segments(self, length: float, maximum: int, interval: float) -> tuple[Tensor, Tensor, int]:
        """Segments that cover the paths, except for a few frames: the path `[B]` and the first time index `[B]` of
        each, and their number of steps.

        Args:
            length: in windows; shorter paths get no segment.
            maximum: segments at most, evenly chosen from all.
            interval: distance between the starts of neighbouring segments, as a share of `length`.
        """
        span = min(max(4, round(length / self.spacing)), int(self.counts.max()) - 1)
        rows, starts = [], []
        for s, count in enumerate(self.counts.tolist()):
            free = count - 1 - span
            if free < 0:
                continue
            pieces = 1 + (0 if free == 0 else max(1, round(free / (interval * span))))
            # Segments start at observed times, so that all are observed at about the same of their steps.
            possible = self.observed_mask[s, : free + 1].nonzero()[:, 0]
            starts.append(possible[torch.linspace(0, len(possible) - 1, pieces).round().long()].unique())
            rows.append(torch.full_like(starts[-1], s))
        row, start = torch.cat(rows), torch.cat(starts)
        if len(row) > maximum:
            chosen = torch.linspace(0, len(row) - 1, maximum).round().long()
            row, start = row[chosen], start[chosen]
        return row, start, span

    def cut(self, row: Tensor, start: Tensor, span: int) -> tuple[Tensor, Tensor]:
        """q and v of segments, `[B, span + 1, d]`."""
        index = start[:, None] + torch.arange(span + 1)
        return self.q[row[:, None], index], self.v[row[:, None], index]

    def observed(self, row: Tensor, start: Tensor, span: int) -> tuple[Tensor, Tensor]:
        """Observed q of segments, `[B, span + 1, d]`, and the mask of the observed times, `[B, span + 1]` bool."""
        index = start[:, None] + torch.arange(span + 1)
        return self.raw[row[:, None], index], self.observed_mask[row[:, None], index]
