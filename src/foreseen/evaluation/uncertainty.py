"""Does a method know how much it does not know? The share of true centres inside the band that it gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from foreseen.data.labels import labels_at
from foreseen.data.types import Frame, Sequence

if TYPE_CHECKING:
    from foreseen.training.run import Forecast

NAME = "uncertainty"
BAND, DEVIATIONS = 0.9, 1.645
"""The band holds so much of a normal distribution: the middle and so many standard deviations of the futures."""
STILL = 1e-6
"""Axes along which truth moves less than this share of its way are left out: a centre that cannot move is no merit."""


def coverage(
    frames: Iterable[Frame], sequences: Mapping[str, Sequence], forecasts: Mapping[str, Forecast]
) -> dict[str, Any]:
    """{"uncertainty": {"band", "coverage", "width", "count"}} over the times of `frames`, for methods that give several
    futures of as many parts as truth has bodies; else nothing. `width` is the band's mean full width in scene units."""
    times: dict[str, set[float]] = {}
    for frame in frames:
        times.setdefault(frame.sequence, set()).add(frame.time)
    inside, widths = [], []
    for name, own in times.items():
        labels = labels_at(sequences[name].truth, sorted(own))
        futures = forecasts[name].spread(sorted(own)) if labels is not None and name in forecasts else None
        if labels is None or futures is None or futures.shape[2] != labels.positions.shape[1]:
            continue
        held, width = _inside(futures.double(), labels.positions)
        inside.append(held)
        widths.append(width)
    if not inside or not sum(len(x) for x in inside):
        return {}
    held, width = torch.cat(inside), torch.cat(widths)
    found = {"band": BAND, "coverage": float(held.double().mean()), "width": float(width.mean()), "count": len(held)}
    return {NAME: found}


def _inside(futures: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Which of truth's coordinates `[T, K, 3]` lie in the band of `futures` `[E, T, K, 3]`, and the band's width there;
    both flat, without axes along which nothing moves."""
    half = DEVIATIONS * futures[1:].std(0)
    held = (futures[0] - truth).abs() <= half
    way = truth.amax(0) - truth.amin(0)
    moves = (way > STILL * way.max().clamp_min(1e-12)).expand_as(held)
    return held[moves], 2 * half[moves]
