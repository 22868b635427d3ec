"""The numbers as tables for people."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from foreseen.evaluation.scores import METRICS, Metric


def metrics_tables(metrics: dict[str, Any]) -> list[Table]:
    """One table for each split: a row for each metric that was found, a column for the method and each
    baseline; the best of those that were scored on all frames is bold."""
    return [_split_table(metrics, split) for split in metrics["splits"]]


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
