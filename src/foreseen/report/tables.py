"""Scores, physics, runs and cost as tables: plain text, which the page escapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foreseen.evaluation.physics import RULES
from foreseen.evaluation.scores import METRICS
from foreseen.report.files import text
from foreseen.report.groups import ComparableRuns, RunGroup, mean, standard_deviation
from foreseen.report.record import RunRecord, SplitSummary
from foreseen.runs.durations import readable_time

HEADLINE = ("psnr_moving", "mask_iou", "centroid_error_px", "psnr", "ssim")
"""Metrics of the short table of a split, where they were computed."""


@dataclass(frozen=True)
class TableCell:
    """Text, and a small remark after it (such as a deviation).

    Attributes:
        best: the best of its row.
    """

    text: str
    small: str = ""
    best: bool = False


@dataclass(frozen=True)
class TableColumn:
    """A column's heading.

    Attributes:
        kind: "own" (a method), "trivial" (a baseline), "truth" or "note"; class names of the style sheet.
    """

    name: str
    kind: str = "own"


@dataclass(frozen=True)
class ReportTable:
    """Rows of a label and as many cells as there are columns."""

    columns: tuple[TableColumn, ...]
    rows: tuple[tuple[str, tuple[TableCell, ...]], ...]


@dataclass(frozen=True)
class _ScoredColumn:
    """A method or a baseline: metric -> mean and number of frames, each for every run."""

    column: TableColumn
    means: Sequence[Mapping[str, float]]
    counts: tuple[int, ...]


def _scored_columns(scene: ComparableRuns, split: str) -> list[_ScoredColumn]:
    own: list[_ScoredColumn] = []
    trivial: list[_ScoredColumn] = []
    for group in scene.groups:
        found = group.summaries(split)
        if found:
            own.append(_ScoredColumn(TableColumn(group.label), [s.means for s in found], tuple(s.count for s in found)))
    for name, found in scene.baselines(split).items():
        counts = tuple(s.count for s in found)
        trivial.append(_ScoredColumn(TableColumn(name, "trivial"), [s.means for s in found], counts))
        same = [s.same_frames for s in found if s.same_frames]
        if same:
            label = next(g.label for g in scene.groups if g.summaries(split))
            mine = _ScoredColumn(TableColumn(f"{label}, the same frames", "note"), same, counts)
            # Once, after the baselines that were scored on these frames.
            trivial = [*(c for c in trivial if c != mine), mine]
    return own + trivial


def scores_table(scene: ComparableRuns, split: str, only: Sequence[str] | None = None) -> ReportTable:
    """A column for each group (mean over its seeds, ± their standard deviation) and each baseline; the best of those
    that were scored on all frames is marked.

    Args:
        only: these metrics; None: all that were computed.
    """
    scored = _scored_columns(scene, split)
    counts = max((c.counts for c in scored), key=max)
    full = [max(c.counts) == max(counts) and c.column.kind != "note" for c in scored]
    rows = [("frames", tuple(TableCell(_count(c.counts)) for c in scored))]
    for name in METRICS if only is None else only:
        means = [mean(m[name] for m in c.means if name in m) for c in scored]
        if any(value is not None for value in means):
            deviations = [standard_deviation(m[name] for m in c.means if name in m) for c in scored]
            rows.append((METRICS[name].label, _cells(name, means, deviations, full)))
    return ReportTable(tuple(c.column for c in scored), tuple(rows))


def _count(counts: Sequence[int]) -> str:
    return str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"


def _cells(
    name: str, means: Sequence[float | None], deviations: Sequence[float | None], full: Sequence[bool]
) -> tuple[TableCell, ...]:
    metric = METRICS[name]
    known = [value for value, on_all in zip(means, full) if on_all and value is not None]
    best = (max if metric.higher_is_better else min)(known) if len(known) > 1 and name != "mask_iou_ceiling" else None
    return tuple(
        TableCell("")
        if value is None
        else TableCell(
            f"{value:.{metric.digits}f}",
            "" if deviation is None else f"± {deviation:.{metric.digits}f}",
            on_all and value == best,
        )
        for value, deviation, on_all in zip(means, deviations, full)
    )


def seeds_table(group: RunGroup, split: str) -> ReportTable | None:
    """Each run of a group by itself; None where there is only one."""
    found = [(r, r.scores.splits[split]) for r in group.scored if r.scores and split in r.scores.splits]
    if len(found) < 2:
        return None
    rows = []
    for name, metric in METRICS.items():
        values = [s.means.get(name) for _, s in found]
        if any(v is not None for v in values):
            rows.append((metric.label, tuple(TableCell("" if v is None else f"{v:.{metric.digits}f}") for v in values)))
    return ReportTable(tuple(TableColumn(f"seed {r.config.train.seed}") for r, _ in found), tuple(rows))


def physics_table(scene: ComparableRuns, split: str) -> ReportTable | None:
    """Rules of physics: each group, the true videos, each baseline, and the ideal; None where no video was judged."""
    columns: dict[TableColumn, list[Mapping[str, float]]] = {}
    truth: list[Mapping[str, float]] = []
    for group in scene.groups:
        found = [s for s in group.summaries(split) if s.consistency]
        if found:
            columns[TableColumn(group.label)] = [s.consistency for s in found]
            truth = truth or [s.truth for s in found if s.truth]
    if not columns:
        return None
    if truth:
        columns[TableColumn("truth", "truth")] = truth
    for name, summaries in scene.baselines(split).items():
        if any(s.consistency for s in summaries):
            columns[TableColumn(name, "trivial")] = [s.consistency for s in summaries if s.consistency]
    rows = [("frames of videos", (*(TableCell(_sum(found)) for found in columns.values()), TableCell("")))]
    for name, rule in RULES.items():
        means = [mean(one[name] for one in found if name in one) for found in columns.values()]
        if any(value is not None for value in means):
            cells = (TableCell("" if value is None else f"{value:.3f}") for value in means)
            rows.append((rule.label, (*cells, TableCell(rule.ideal))))
    return ReportTable((*columns, TableColumn("ideal", "note")), tuple(rows))


def _sum(found: Sequence[Mapping[str, float]]) -> str:
    return _count([int(one.get("frames", 0)) for one in found])


def runs_table(scene: ComparableRuns) -> ReportTable:
    """A row for each run."""
    names = ("method", "seed", "trained", "steps", "commit", "data")
    rows = []
    for group in scene.groups:
        for record in group.records:
            config = record.config
            cells = (
                record.method_and_preset,
                str(config.train.seed),
                readable_time(record.scores.train_seconds) if record.scores else "",
                str(record.scores.step) if record.scores else "",
                text(config.commit) or f"version {text(config.version)}",
                record.data_name,
            )
            rows.append((record.name, tuple(TableCell(c) for c in cells)))
    return ReportTable(tuple(TableColumn(n, "note") for n in names), tuple(rows))


def cost_table(scene: ComparableRuns) -> ReportTable:
    """Cost of each group: mean over its runs."""
    rows: list[tuple[str, list[TableCell]]] = [
        ("training", []),
        ("steps", []),
        ("steps a second", []),
        ("memory while training", []),
        ("rendering, seconds a frame", []),
        ("weights on the disk", []),
    ]
    for group in scene.groups:
        seconds = mean(r.scores.train_seconds for r in group.scored if r.scores)
        steps = mean(r.scores.step for r in group.scored if r.scores)
        rate = None if not seconds or steps is None else steps / seconds
        frame = mean(v for r in group.scored if (v := _render_seconds(r)) is not None)
        size = mean(r.weights for r in group.records if r.weights)
        found = (
            "" if seconds is None else readable_time(seconds),
            "" if steps is None else f"{steps:.0f}",
            "" if rate is None else f"{rate:.3g}",
            _memory(group.records),
            "" if frame is None else f"{frame:.3f}",
            "" if size is None else f"{size / 2**20:.1f} MB",
        )
        for (_, cells), value in zip(rows, found):
            cells.append(TableCell(value))
    kept = tuple((name, tuple(cells)) for name, cells in rows if any(c.text for c in cells))
    return ReportTable(tuple(TableColumn(g.label) for g in scene.groups), kept)


def _memory(records: Sequence[RunRecord]) -> str:
    """Peak memory of training, over all runs: of the process, and of the GPU where there was one."""
    places = {"process": "", "gpu": " of the GPU"}
    found = ((words, [r.memory_mb[p] for r in records if p in r.memory_mb]) for p, words in places.items())
    return ", ".join(f"{max(sizes):,.0f} MB{words}" for words, sizes in found if sizes)


def _render_seconds(record: RunRecord) -> float | None:
    """Mean over all frames of all splits."""
    found: list[SplitSummary] = [] if record.scores is None else list(record.scores.splits.values())
    timed = [s for s in found if "render_seconds" in s.means]
    frames = sum(s.count for s in timed)
    return sum(s.means["render_seconds"] * s.count for s in timed) / frames if frames else None
