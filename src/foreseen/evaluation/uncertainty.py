"""Are a method's uncertainties right? Its sampled trajectories, compared with the ground truth."""

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
"""The band: the most likely trajectory plus and minus DEVIATIONS standard deviations of the sampled ones, which holds
the share BAND of a normal distribution."""
STATIC_SHARE = 1e-6
"""Axes along which the truth moves less than this share of its largest extent do not count towards coverage: a body
that cannot move is no achievement."""
NUM_TIMES = 24
"""Number of times at which trajectories are compared when `describe_uncertainty` clusters their ends."""
MIN_GAP = 0.2
"""Ends of trajectories are in different clusters where the gap between them exceeds this share of the extent of all
trajectories; smaller gives more clusters."""


@dataclass(frozen=True)
class ForecastEnsemble:
    """Sampled trajectories of one sequence.

    Attributes:
        sequence: its name.
        times: `[T]`, sorted.
        centres: `[E, T, K, 3]` of its bodies in E trajectories, the most likely one first.
        truth: `[T, K, 3]` true centres.
        scored: `[T]` bool: the times that count.
    """

    sequence: str
    times: Tensor
    centres: Tensor
    truth: Tensor
    scored: Tensor

    @property
    def half_width(self) -> Tensor:
        """`[T, K, 3]`: from the most likely trajectory to the band's edge."""
        return DEVIATIONS * self.centres[1:].std(0)


def find_ensembles(
    frames: Iterable[Frame], sequences: Mapping[str, Recording], forecasts: Mapping[str, Forecast]
) -> list[ForecastEnsemble]:
    """Ensembles for the sequences of `frames`, from the first to the last of their times; those times are scored. Left
    out: sequences without an ensemble, or whose number of bodies differs from the truth's."""
    times: dict[str, set[float]] = {}
    for frame in frames:
        times.setdefault(frame.sequence, set()).add(frame.time)
    ensembles = []
    for name, scored_times in times.items():
        first, last = min(scored_times), max(scored_times)
        between = {float(t) for t in sequences[name].times if first <= float(t) <= last}
        when = sorted(scored_times | between)
        labels = labels_at(sequences[name].truth, when)
        centres = forecasts[name].ensemble(when) if labels is not None and name in forecasts else None
        if labels is not None and centres is not None and centres.shape[2] == labels.positions.shape[1]:
            scored = torch.tensor([time in scored_times for time in when])
            ensembles.append(ForecastEnsemble(name, torch.tensor(when), centres.double(), labels.positions, scored))
    return ensembles


def coverage(ensemble: Sequence[ForecastEnsemble]) -> dict[str, Any]:
    """{"uncertainty": {"band", "coverage", "width", "count", "ensemble", "undecided"}}, or nothing where there is only
    one trajectory. `width` is the band's mean full width in scene units, `ensemble` the number of trajectories.
    `undecided` has the sequences whose trajectories end in several clusters, with the share of each cluster."""
    if not ensemble:
        return {}
    both = [_inside(one) for one in ensemble]
    inside, width = (torch.cat(x) for x in zip(*both))
    if len(inside) == 0:
        return {}
    shares = {one.sequence: cluster_endpoints(one.centres) for one in ensemble}
    summary = {
        "band": BAND,
        "coverage": float(inside.double().mean()),
        "width": float(width.mean()),
        "count": len(inside),
        "ensemble": len(ensemble[0].centres),
        "undecided": {name: clusters for name, clusters in shares.items() if len(clusters) > 1},
    }
    return {NAME: summary}


def _inside(ensemble: ForecastEnsemble) -> tuple[Tensor, Tensor]:
    """Which of the true coordinates lie in the band, and the band's width there; both flat, without axes along which
    nothing moves."""
    truth, half = ensemble.truth, ensemble.half_width
    inside = (ensemble.centres[0] - truth).abs() <= half
    extent = truth.amax(0) - truth.amin(0)
    moves = (extent > STATIC_SHARE * extent.max().clamp_min(1e-12)) & ensemble.scored[:, None, None]
    return inside[moves], 2 * half[moves]


def cluster_endpoints(centres: Tensor) -> list[float]:
    """Shares of the trajectories `[E, T, K, 3]` in each cluster of end points, the largest first; [1.0] where there is
    one cluster. Clusters are separated by gaps of `MIN_GAP` of the extent of all trajectories."""
    if len(centres) < 3:  # the most likely one and one sample: too few for clusters
        return [1.0]
    ends = centres[:, -1].flatten(1).double().numpy()
    places = centres.flatten(0, 2)
    extent = float((places.amax(0) - places.amin(0)).norm())
    group = fcluster(linkage(ends, "single"), max(MIN_GAP * extent, 1e-12), "distance")
    return sorted((np.bincount(group)[1:] / len(group)).tolist(), reverse=True)


def describe_branches(shares: Sequence[float], ensemble: int) -> str:
    """The clusters of `ensemble` trajectories in words; empty where there is one cluster."""
    if len(shares) < 2:
        return ""
    counts = ", ".join(str(round(share * ensemble)) for share in shares)
    return f"could go either way: of {ensemble} sampled trajectories {counts} end together"


def describe_uncertainty(forecast: Forecast, start: float, end: float) -> str:
    """`describe_branches` of a forecast from time `start` to `end`; empty where the method has no ensemble."""
    centres = forecast.ensemble([start + (end - start) * i / NUM_TIMES for i in range(NUM_TIMES + 1)])
    return "" if centres is None else describe_branches(cluster_endpoints(centres), len(centres))
