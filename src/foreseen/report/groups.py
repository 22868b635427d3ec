"""Which runs belong together: runs that differ in their seeds alone are one group; groups on the same data are
compared."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foreseen.evaluation.horizon import SPLITS as HORIZON_SPLITS
from foreseen.report.files import text
from foreseen.report.record import RunRecord, SplitSummary
from foreseen.runs.plain import differences, to_plain

_PROTOCOL = ("split_hash", "unseen", "max_frames", "max_time", "lpips")
"""Entries of the protocol that must be equal for scores to be comparable."""


@dataclass(frozen=True)
class RunGroup:
    """Runs of one method, preset and settings on the same split; their seeds differ.

    Attributes:
        label: its name in the page; unique among groups on the same data.
    """

    label: str
    records: tuple[RunRecord, ...]

    @property
    def scored(self) -> tuple[RunRecord, ...]:
        """Those with scores."""
        return tuple(r for r in self.records if r.scores is not None)

    def summaries(self, split: str) -> list[SplitSummary]:
        """Their scores on a split, of those that have it."""
        return [r.scores.splits[split] for r in self.scored if r.scores is not None and split in r.scores.splits]


@dataclass(frozen=True)
class ComparableRuns:
    """Groups on the same data, split and protocol, which can be compared."""

    groups: tuple[RunGroup, ...]

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """All runs."""
        return tuple(r for g in self.groups for r in g.records)

    @property
    def first(self) -> RunRecord:
        """The first run with scores, else the first run."""
        return next((r for r in self.records if r.scores is not None), self.records[0])

    @property
    def name(self) -> str:
        """Name of the data; of several data sets, of the first."""
        names = self.names
        return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"

    @property
    def names(self) -> list[str]:
        """Names of all data sets."""
        return list(dict.fromkeys(r.data_name for r in self.records))

    def splits(self) -> list[str]:
        """All scored splits, in the order in which runs have them."""
        return list(dict.fromkeys(s for r in self.records if r.scores for s in r.scores.splits))

    def baselines(self, split: str) -> dict[str, list[SplitSummary]]:
        """Name -> scores on a split, a summary for each run of the first group that has any.

        After the last frame the nearest frame is the last frame, so that baseline is left out of forecasts.
        """
        for group in self.groups:
            found: dict[str, list[SplitSummary]] = {}
            for record in group.scored:
                for name, splits in record.scores.baselines.items() if record.scores else ():
                    if split in splits and not (name == "nearest-frame" and split in HORIZON_SPLITS):
                        found.setdefault(name, []).append(splits[split])
            if found:
                return found
        return {}


def arrange(records: Sequence[RunRecord]) -> list[ComparableRuns]:
    """Groups, and those on the same data together, in the order in which their first runs are given.

    Runs on data in different folders are one group only if their splits have the same hash and no seed occurs twice:
    simulations of one scenario, each with its own seed. The page names all their data.
    """
    run_groups: list[list[RunRecord]] = []
    for record in records:
        own = [p for p in run_groups if all(_same_method(record, r) and _comparable(record, r) for r in p)]
        own = [p for p in own if record.config.train.seed not in {r.config.train.seed for r in p}]
        same_place = [p for p in own if _place(record) in {_place(r) for r in p}]
        if same_place or own:
            (same_place or own)[0].append(record)
        else:
            run_groups.append([record])
    scenes: list[list[list[RunRecord]]] = []
    for pile in run_groups:
        scene = next((s for s in scenes if any(_same_data(pile, other) for other in s)), None)
        if scene is None:
            scenes.append([pile])
        else:
            scene.append(pile)
    return [ComparableRuns(_named(run_groups)) for run_groups in scenes]


def _place(record: RunRecord) -> tuple[Path, ...]:
    return record.config.train.data


def _same_method(a: RunRecord, b: RunRecord) -> bool:
    return bool(to_plain(_identity(a)) == to_plain(_identity(b)))


def _identity(record: RunRecord) -> tuple[Any, ...]:
    train = record.config.train
    return train.method, train.preset, train.config, train.precision, train.max_grad_norm


def _comparable(a: RunRecord, b: RunRecord) -> bool:
    """Whether the same frames of the same size were held out, and scored by the same protocol (where both are
    scored)."""
    if _split(a) != _split(b):
        return False
    if a.scores is None or b.scores is None:
        return True
    one, other = a.scores, b.scores
    return [one.protocol.get(n) for n in _PROTOCOL] == [other.protocol.get(n) for n in _PROTOCOL]


def _split(record: RunRecord) -> tuple[Any, ...]:
    data, split, downscale = record.config.dataset, record.config.split, record.config.train.downscale
    return split.hash, split.observed_until, data.format, downscale, data.width, data.height


def _same_data(one: Sequence[RunRecord], other: Sequence[RunRecord]) -> bool:
    shared = {_place(r) for r in one} & {_place(r) for r in other}
    return bool(shared) and all(_comparable(a, b) for a in one for b in other)


def _named(run_groups: Sequence[Sequence[RunRecord]]) -> tuple[RunGroup, ...]:
    """Labels that distinguish the groups: by method, preset, changed settings, else the folder."""
    tries: list[Callable[[Sequence[RunRecord]], str]] = [
        lambda pile: text(pile[0].config.train.method),
        lambda pile: pile[0].method_and_preset,
        lambda pile: f"{pile[0].method_and_preset}{_settings(pile[0], run_groups)}",
        lambda pile: f"{text(pile[0].config.train.method)} ({pile[0].name})",
    ]
    for make in tries:
        labels = [make(pile) for pile in run_groups]
        if len(set(labels)) == len(labels):
            break
    else:
        labels = [f"{label} [{i + 1}]" for i, label in enumerate(labels)]
    return tuple(RunGroup(label, tuple(pile)) for label, pile in zip(labels, run_groups))


def _settings(record: RunRecord, run_groups: Sequence[Sequence[RunRecord]]) -> str:
    """Settings that differ from those of the first group of the same method and preset."""
    first = next(p[0] for p in run_groups if _identity(p[0])[:2] == _identity(record)[:2])
    changed = differences(to_plain(first.config.train.config), to_plain(record.config.train.config))
    return f" ({text('; '.join(line.replace(': ', ' ', 1) for line in changed[:2]))})" if changed else ""


def mean(values: Iterable[float]) -> float | None:
    """Their mean; None where there are none."""
    numbers = list(values)
    return statistics.fmean(numbers) if numbers else None


def standard_deviation(values: Iterable[float]) -> float | None:
    """The sample's standard deviation; None for fewer than two values."""
    numbers = list(values)
    return statistics.stdev(numbers) if len(numbers) > 1 else None


def mean_curve(curves: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """The mean of several curves (time, value) at their common times."""
    tables: list[Mapping[float, float]] = [dict(curve) for curve in curves]
    times = sorted(set.intersection(*(set(table) for table in tables))) if tables else []
    return [(time, statistics.fmean(table[time] for table in tables)) for time in times]
