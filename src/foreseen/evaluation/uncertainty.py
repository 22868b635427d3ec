"""Does a method know how much it does not know? The futures that it leaves possible, held against what came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor

from foreseen.data.labels import labels_at
from foreseen.data.types import Frame
from foreseen.data.types import Sequence as Recording
from foreseen.runs import Forecast

NAME = "uncertainty"
BAND, DEVIATIONS = 0.9, 1.645
"""The band holds so much of a normal distribution: the middle and so many standard deviations of the futures."""
STATIC_SHARE = 1e-6
"""Axes along which truth moves less than this share of its way are left out: a centre that cannot move is no merit."""
NUM_TIMES = 24
"""Futures are looked at so many times when asked whether they part."""
MIN_GAP = 0.2
"""Futures part where their ends leave a gap of this share of the extent of them all."""


@dataclass(frozen=True)
class ForecastEnsemble:
    """What may become of one sequence.

    Attributes:
        sequence: its name.
        times: `[T]`, sorted.
        centres: `[E, T, K, 3]` of its bodies in E futures, the most likely one first.
        truth: `[T, K, 3]`, what came.
        scored: `[T]` bool: the times that count.
    """

    sequence: str
    times: Tensor
    centres: Tensor
    truth: Tensor
    scored: Tensor

    @property
    def half_width(self) -> Tensor:
        """`[T, K, 3]`: from the most likely future to the band's edge."""
        return DEVIATIONS * self.centres[1:].std(0)


def find_ensembles(
    frames: Iterable[Frame], sequences: Mapping[str, Recording], forecasts: Mapping[str, Forecast]
) -> list[ForecastEnsemble]:
    """Those of the sequences of `frames` from their first times to their last, of which they are scored, where the
    method leaves several possible, of as many bodies as truth has."""
    times: dict[str, set[float]] = {}
    for frame in frames:
        times.setdefault(frame.sequence, set()).add(frame.time)
    found = []
    for name, own in times.items():
        every = {float(t) for t in sequences[name].times if min(own) <= float(t) <= max(own)}
        when = sorted(own | every)
        labels = labels_at(sequences[name].truth, when)
        centres = forecasts[name].ensemble(when) if labels is not None and name in forecasts else None
        if labels is not None and centres is not None and centres.shape[2] == labels.positions.shape[1]:
            scored = torch.tensor([time in own for time in when])
            found.append(ForecastEnsemble(name, torch.tensor(when), centres.double(), labels.positions, scored))
    return found


def coverage(ensemble: Sequence[ForecastEnsemble]) -> dict[str, Any]:
    """{"uncertainty": {"band", "coverage", "width", "count", "futures", "undecided"}}, or nothing where there is only
    one future. `width` is the band's mean full width in scene units; `ensemble` is their number, and `undecided` has
    the shares of them that end together, for the sequences that could go either way."""
    if not ensemble:
        return {}
    both = [_inside(one) for one in ensemble]
    held, width = (torch.cat(x) for x in zip(*both))
    if len(held) == 0:
        return {}
    shares = {one.sequence: cluster_endpoints(one.centres) for one in ensemble}
    found = {
        "band": BAND,
        "coverage": float(held.double().mean()),
        "width": float(width.mean()),
        "count": len(held),
        "futures": len(ensemble[0].centres),
        "undecided": {name: own for name, own in shares.items() if len(own) > 1},
    }
    return {NAME: found}


def _inside(ensemble: ForecastEnsemble) -> tuple[Tensor, Tensor]:
    """Which of truth's coordinates lie in the band, and the band's width there; both flat, without axes along which
    nothing moves."""
    truth, half = ensemble.truth, ensemble.half_width
    held = (ensemble.centres[0] - truth).abs() <= half
    way = truth.amax(0) - truth.amin(0)
    moves = (way > STATIC_SHARE * way.max().clamp_min(1e-12)) & ensemble.scored[:, None, None]
    return held[moves], 2 * half[moves]


def cluster_endpoints(centres: Tensor) -> list[float]:
    """Shares of the futures `[E, T, K, 3]` that end together, the largest first: one where all do. Ends are together
    where no gap of `MIN_GAP` of the extent of all futures lies between them."""
    if len(centres) < 3:  # the most likely one, and one that is drawn: nothing to tell apart
        return [1.0]
    ends = centres[:, -1].flatten(1).double().numpy()
    places = centres.flatten(0, 2)
    extent = float((places.amax(0) - places.amin(0)).norm())
    group = fcluster(linkage(ends, "single"), max(MIN_GAP * extent, 1e-12), "distance")
    return sorted((np.bincount(group)[1:] / len(group)).tolist(), reverse=True)


def describe_branches(shares: Sequence[float], ensemble: int) -> str:
    """In words, of shares of so many futures; empty where all end together."""
    if len(shares) < 2:
        return ""
    counts = ", ".join(str(round(share * ensemble)) for share in shares)
    return f"could go either way: of {ensemble} possible futures {counts} end together"


def describe_uncertainty(forecast: Forecast, start: float, end: float) -> str:
    """`describe_branches` of a forecast from one time to a later one; empty where the method has one future only."""
    centres = forecast.ensemble([start + (end - start) * i / NUM_TIMES for i in range(NUM_TIMES + 1)])
    return "" if centres is None else describe_branches(cluster_endpoints(centres), len(centres))
