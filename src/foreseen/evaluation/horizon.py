"""How a forecast degrades: each metric over the time after the last observed frame."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from foreseen.data.plot_text import in_unit
from foreseen.evaluation.scores import METRICS
from foreseen.runs.files import write_atomically

DATA_FILE, PLOT_FILE = "horizon.json", "horizon.png"
SPLITS = ("unseen-sequence", "forecast")
"""Splits that have a horizon; where both were scored, the first is plotted."""
CEILING = "ceiling"
_PLOTTED = ("psnr_moving", "mask_iou", "centroid_error", "ssim_moving", "psnr", "ssim")
_PANELS = 4
# Okabe and Ito's colours, told apart by colour-blind readers. Lines differ in dashes too: baselines often
# coincide.
_METHOD = {"color": "#d55e00", "linewidth": 2.2}
_CEILING = {"color": "0.5", "linestyle": ":"}
_OTHERS: tuple[dict[str, Any], ...] = (
    {"color": "#0072b2"},
    {"color": "#56b4e9", "linestyle": "--"},
    {"color": "#009e73", "linestyle": "-."},
    {"color": "#cc79a7", "linestyle": (0, (5, 1))},
)


def horizon_split(metrics: dict[str, Any]) -> str | None:
    """The split of `metrics.json` whose horizon is plotted."""
    return next((split for split in SPLITS if split in metrics["splits"]), None)


def horizon_curves(metrics: dict[str, Any]) -> dict[str, Any]:
    """The curves in the content of `metrics.json`.

    Returns:
        {"split", "time_unit", "last_observed", "metrics": {METRIC: {"label", "better", "curves": {NAME:
        [[after, value], ...]}}}}; NAME is the method, a baseline, or "ceiling".
    """
    split = horizon_split(metrics) or SPLITS[-1]
    summaries = {metrics["method"]: metrics["splits"].get(split, {})}
    summaries |= {name: by_split.get(split, {}) for name, by_split in metrics["baselines"].items()}
    protocol = metrics["protocol"]
    curves: dict[str, Any] = {}
    for metric, about in METRICS.items():
        if metric in ("mask_iou_ceiling", "render_seconds"):
            continue
        by_name = {name: _curve(summary, metric) for name, summary in summaries.items()}
        if metric == "mask_iou":
            by_name[CEILING] = _curve(summaries[metrics["method"]], "mask_iou_ceiling")
        by_name = {name: curve for name, curve in by_name.items() if curve}
        if by_name:
            better = "higher" if about.higher_is_better else "lower"
            curves[metric] = {"label": about.label, "better": better, "curves": by_name}
    return {
        "split": split,
        "time_unit": protocol["time_unit"],
        "last_observed": protocol["last_observed"],
        "metrics": curves,
    }


def _curve(summary: dict[str, Any], metric: str) -> list[list[float]]:
    return [[row["after"], row[metric]] for row in summary.get("by_time", []) if metric in row]


def write_horizon(folder: Path, metrics: dict[str, Any]) -> None:
    """Writes `horizon.json` and `horizon.png` into a run's folder."""
    curves = horizon_curves(metrics)
    write_atomically(folder / DATA_FILE, json.dumps(curves, indent=1, allow_nan=False).encode())
    write_atomically(folder / PLOT_FILE, plot_horizon(curves, metrics["method"]))


def remove_horizon(folder: Path) -> None:
    """Removes the horizon of an earlier evaluation, which does not belong to the new metrics."""
    for name in (DATA_FILE, PLOT_FILE):
        (folder / name).unlink(missing_ok=True)


def plot_horizon(curves: dict[str, Any], method: str) -> bytes:
    """A PNG of up to four metrics over the time after the last observed frame."""
    from matplotlib.figure import Figure

    shown = [name for name in _PLOTTED if name in curves["metrics"]][:_PANELS]
    columns = 2 if len(shown) > 1 else 1
    rows = max((len(shown) + 1) // 2, 1)
    figure = Figure(figsize=(5.2 * columns, 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, metric in zip(panels, shown):
        _draw_panel(panel, curves["metrics"][metric], method, curves["time_unit"])
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    lines = {t: h for p in panels[: len(shown)] for h, t in zip(*p.get_legend_handles_labels())}
    if lines:
        ordered = sorted(lines, key=lambda name: (name != method, name == CEILING))
        figure.legend(
            [lines[t] for t in ordered],
            ordered,
            loc="outside upper center",
            ncols=len(ordered),
            frameon=False,
        )
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()


def _draw_panel(panel: Any, metric: dict[str, Any], method: str, unit: str) -> None:
    others = [name for name in metric["curves"] if name not in (method, CEILING)]
    styles = {
        CEILING: _CEILING,
        **{n: _OTHERS[i % len(_OTHERS)] for i, n in enumerate(others)},
        method: _METHOD,
    }
    for name, style in styles.items():
        if name in metric["curves"]:
            after, values = zip(*metric["curves"][name])
            panel.plot(after, values, label=name, marker="." if len(after) < 3 else None, **style)
    panel.set_ylabel(f"{metric['label']} ({metric['better']} is better)", fontsize=9)
    panel.set_xlabel("time after the last observed frame" + in_unit(unit), fontsize=9)
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
