"""Horizon curves: each metric over the time after the observed window; several runs in one chart.

A chart is numbers and class names; the page draws it as SVG and its style sheet gives colours, in light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foreseen.evaluation.horizon import CEILING, SPLITS
from foreseen.evaluation.scores import METRICS
from foreseen.report.groups import ComparableRuns, mean_curve
from foreseen.report.record import SplitSummary

PLOTTED = ("psnr_moving", "mask_iou", "centroid_error_px", "ssim_moving", "psnr", "ssim")
MAX_CHARTS = 4
"""Upper bound of the charts of a split."""
COLOURS = 4
"""Number of line styles of methods, and of baselines; further lines repeat them."""
WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 34
"""Margins around the area of a chart [SVG units]."""

CurvePoints = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class ChartLine:
    """One line of a chart.

    Attributes:
        name: as in the legend.
        style: class name: m0.. (methods), b0.. (baselines), ceiling.
        points: "x,y x,y ..." in SVG units.
        single: it is one of several runs; drawn faintly, and not in the legend.
    """

    name: str
    style: str
    points: str
    single: bool = False


@dataclass(frozen=True)
class Chart:
    """A metric over time.

    Attributes:
        x_ticks, y_ticks: (place in SVG units, label).
        description: what it shows, for screen readers.
    """

    label: str
    better: str
    lines: tuple[ChartLine, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    description: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def charts(scene: ComparableRuns, split: str) -> list[Chart]:
    """The charts of a split; none where fewer than two times after the observed window were scored."""
    if split not in SPLITS:
        return []
    found = (_chart(scene, split, name) for name in PLOTTED)
    return [chart for chart in found if chart is not None][:MAX_CHARTS]


def legend(found: Sequence[Chart]) -> list[ChartLine]:
    """Each line that the charts have, once: methods, baselines, the ceiling."""
    lines = {line.name: line for chart in found for line in chart.lines if not line.single}
    order = {"m": 0, "b": 1, "c": 2}
    return sorted(lines.values(), key=lambda line: (order[line.style[0]], line.style))


def _chart(scene: ComparableRuns, split: str, metric: str) -> Chart | None:
    curves: list[tuple[str, str, bool, CurvePoints]] = []
    first: list[SplitSummary] = []
    for index, group in enumerate(scene.groups):
        found = group.summaries(split)
        first = first or found
        own = [s.by_time[metric] for s in found if metric in s.by_time]
        style = f"m{index % COLOURS}"
        if len(own) > 1:
            curves += [(group.label, style, True, course) for course in own]
        curves.append((group.label, style, False, mean_curve(own)))
    for index, (name, found) in enumerate(scene.baselines(split).items()):
        own = [s.by_time[metric] for s in found if metric in s.by_time]
        curves.insert(0, (name, f"b{index % COLOURS}", False, mean_curve(own)))
    if metric == "mask_iou":
        ceiling = [s.by_time["mask_iou_ceiling"] for s in first if "mask_iou_ceiling" in s.by_time]
        curves.insert(0, (CEILING, "ceiling", False, mean_curve(ceiling)))
    curves = [course for course in curves if len(course[3]) > 1]
    if not any(style.startswith("m") for _, style, _, _ in curves):
        return None
    return _scaled(metric, curves)


def _scaled(metric: str, curves: Sequence[tuple[str, str, bool, CurvePoints]]) -> Chart:
    times = [time for *_, course in curves for time, _ in course]
    values = [value for *_, course in curves for _, value in course]
    across, up = _ticks(min(0.0, *times), max(times)), _ticks(min(values), max(values))
    # Ticks stand in the picture, lines may reach a little beyond the last one.
    low, high = min(up[0], *values), max(up[-1], *values)
    start, end = min(0.0, *times), max(times)

    def x(time: float) -> float:
        return round(LEFT + (time - start) / max(end - start, 1e-12) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - low) / max(high - low, 1e-12) * (HEIGHT - TOP - BOTTOM), 1)

    lines = (
        ChartLine(name, style, " ".join(f"{x(t)},{y(v)}" for t, v in course), single)
        for name, style, single, course in curves
    )
    about = METRICS[metric]
    better = "higher" if about.higher_is_better else "lower"
    last = ", ".join(f"{n} {c[0][1]:.3g} to {c[-1][1]:.3g}" for n, _, single, c in curves[::-1] if not single)
    return Chart(
        about.label,
        f"{better} is better",
        tuple(lines),
        tuple((x(t), f"{t:g}") for t in across if start <= t <= end),
        tuple((y(v), f"{v:g}") for v in up),
        f"{about.label} from the first time to the last: {last}.",
    )


def _ticks(low: float, high: float) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    if high - low < 1e-9 * max(abs(high), abs(low), 1e-9):
        return [low]
    return [round(float(t), 10) for t in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
