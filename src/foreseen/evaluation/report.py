"""The content of metrics.json as tables."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from foreseen.evaluation.physics import RULES
from foreseen.evaluation.physics_clips import NAME, TRUTH
from foreseen.evaluation.scores import METRICS, Metric


def metrics_tables(metrics: dict[str, Any]) -> list[Table]:
    """One table for each split: a row for each metric, a column for the method and each baseline; the best of those
    that were scored on all frames is bold. After it the rules of physics, where videos were judged."""
    tables = []
    for split, own in metrics["splits"].items():
        tables.append(_split_table(metrics, split))
        if NAME in own:
            tables.append(_physics_table(metrics, split))
    return tables


def _split_table(metrics: dict[str, Any], split: str) -> Table:
    own = metrics["splits"][split]
    columns = [(metrics["method"], own)]
    for name, found in metrics["baselines"].items():
        if split in found:
            columns.append((name.replace("-", "\n"), found[split]))
            if same := found[split].get("method_on_same_frames"):
                columns.append((f"{metrics['method']}\nsame frames", {"count": found[split]["count"], **same}))
    table = Table(title=f"[bold]{split}[/]", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for name, _ in columns:
        table.add_column(name, justify="right", vertical="bottom")
    table.add_row("frames", *(str(found["count"]) for _, found in columns))
    full = [found["count"] == own["count"] for _, found in columns]
    for name, metric in METRICS.items():
        values = [found.get(name) for _, found in columns]
        if any(value is not None for value in values):
            table.add_row(escape(metric.label), *_cells(values, full, metric))
    return table


def _cells(values: list[float | None], full: list[bool], metric: Metric) -> list[str]:
    texts = ["" if value is None else f"{value:.{metric.digits}f}" for value in values]
    known = [value for value, on_all in zip(values, full) if on_all and value is not None]
    if len(known) < 2:
        return texts
    best = (max if metric.higher_is_better else min)(known)
    marks = [on_all and value == best for value, on_all in zip(values, full)]
    return [f"[bold]{text}[/]" if mark else text for text, mark in zip(texts, marks)]


def _physics_table(metrics: dict[str, Any], split: str) -> Table:
    """No best is marked: a static video breaks no rule. The truth's column shows the values of a possible motion."""
    own = metrics["splits"][split][NAME]
    columns = {metrics["method"]: own}
    if TRUTH in own:
        columns[TRUTH] = own[TRUTH]
    columns |= {
        name.replace("-", "\n"): found[split][NAME]
        for name, found in metrics["baselines"].items()
        if NAME in found.get(split, {})
    }
    table = Table(title=f"[bold]{split}: is it a possible motion?[/]", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right", vertical="bottom")
    table.add_column("ideal", justify="right", vertical="bottom", style="dim")
    table.add_row("frames of videos", *(str(found["frames"]) for found in columns.values()))
    for name, rule in RULES.items():
        if any(name in found for found in columns.values()):
            texts = [f"{found[name]:.3f}" if name in found else "" for found in columns.values()]
            table.add_row(escape(rule.label), *texts, rule.ideal)
        if name == "energy_gain" and any("energy_frames" in found for found in columns.values()):
            table.add_row("  measured on frames", *(str(found.get("energy_frames", 0)) for found in columns.values()))
    return table
