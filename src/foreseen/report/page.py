"""The HTML page: a template filled with results.

Everything from a run's folder is text to the template, which escapes it. The page's content security policy forbids
scripts and requests: markup that gets through can neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files as package_files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from foreseen.evaluation.scores import METRICS
from foreseen.report import curves, tables
from foreseen.report.files import text
from foreseen.report.groups import ComparableRuns, mean
from foreseen.report.results import GroupResults
from foreseen.version import __version__

_HEADLINE_METRICS = ("mask_iou", "psnr_moving", "psnr")
"""The first of these that was computed is the metric of the sentence on top."""
ORDER = ("unseen-sequence", "forecast", "interpolation", "novel-view", "train")
"""Splits from the hardest to the easiest."""
SPLITS = {
    "unseen-sequence": "Unseen sequences",
    "forecast": "Forecast: after the observed window",
    "interpolation": "Unseen times inside the observed window",
    "novel-view": "Unseen views",
    "train": "Training frames",
}


def page(content: Sequence[tuple[ComparableRuns, Sequence[GroupResults]]]) -> str:
    """The HTML of a report: runs that can be compared, with the results of their groups."""
    style = package_files("foreseen.report").joinpath("templates/style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        loader=PackageLoader("foreseen.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [_section(scene, group_results, index) for index, (scene, group_results) in enumerate(content)]
    labels = [label for section in sections for label in section["labels"]]
    place = sections[0]["name"] if len(sections) == 1 else f"{len(sections)} data sets"
    return environment.get_template("report.html").render(
        title=f"{_list(list(dict.fromkeys(labels)))} on {place}",
        style=Markup(style),
        digest=digest,
        sections=sections,
        version=__version__,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
    )


def _list(words: Sequence[str], maximum: int = 3) -> str:
    if len(words) > maximum:
        return f"{', '.join(words[: maximum - 1])} and {len(words) - maximum + 1} more"
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _section(scene: ComparableRuns, group_results: Sequence[GroupResults], index: int) -> dict[str, Any]:
    names = sorted(scene.splits(), key=lambda s: ORDER.index(s) if s in ORDER else len(ORDER))
    splits = [_split(scene, name) for name in names]
    return {
        "id": f"scene-{index + 1}",
        "name": scene.name,
        "labels": [g.label for g in scene.groups],
        "facts": _facts(scene),
        "lead": splits[0] if splits else None,
        "splits": splits,
        "group_results": group_results,
        "runs": tables.runs_table(scene),
        "cost": tables.cost_table(scene),
        "evaluated": _evaluated(scene),
        "unit": _unit(scene, " [{}]"),
    }


def _split(scene: ComparableRuns, name: str) -> dict[str, Any]:
    drawn = curves.charts(scene, name)
    only = [m for m in tables.HEADLINE if any(m in s.means for g in scene.groups for s in g.summaries(name))]
    return {
        "name": name,
        "title": SPLITS.get(name, name),
        "short": tables.scores_table(scene, name, only[:4]),
        "table": tables.scores_table(scene, name),
        "seeds": [(g.label, t) for g in scene.groups if (t := tables.seeds_table(g, name)) is not None],
        "physics": tables.physics_table(scene, name),
        "charts": drawn,
        "legend": curves.legend(drawn),
        "seeded": max(len(g.summaries(name)) for g in scene.groups),
        "sentence": _sentence(scene, name),
    }


def _sentence(scene: ComparableRuns, split: str) -> str:
    """The first method beside the best baseline that was scored on as many frames, by the first headline metric. The
    true dynamics do not compete: they are given what the others have to find."""
    group = next(g for g in scene.groups if g.summaries(split))
    own = group.summaries(split)
    for name in _HEADLINE_METRICS:
        value = mean(s.means[name] for s in own if name in s.means)
        if value is None:
            continue
        label, digits = METRICS[name].label, METRICS[name].digits
        ceiling = mean(s.means["mask_iou_ceiling"] for s in own if "mask_iou_ceiling" in s.means)
        bound = f", of at most {ceiling:.{digits}f}" if name == "mask_iou" and ceiling is not None else ""
        baselines = [
            (mean(s.means[name] for s in summaries), baseline)
            for baseline, summaries in scene.baselines(split).items()
            if baseline != "true-dynamics" and all(name in s.means and not s.same_frames for s in summaries)
        ]
        best = max(((score, baseline) for score, baseline in baselines if score is not None), default=None)
        beside = "" if best is None else f" The best baseline, {best[1]}, has {best[0]:.{digits}f}."
        return f"{group.label} has a {label} of {value:.{digits}f}{bound}.{beside}"
    return ""


def _facts(scene: ComparableRuns) -> list[tuple[str, str]]:
    """What was trained on which data."""
    record = scene.first
    config, scores = record.config, record.scores
    data, info, protocol = config.dataset, config.scene, scores.protocol if scores else {}
    count = max(len(info.times), 1)
    num_times = sum(len(times) for times in info.times)
    learned = f"{count} sequences" if count > 1 else "one sequence"
    bodies = ", ".join(dict.fromkeys(text(body) for names in (info.bodies or ()) for body in names))
    seeds = {g.label: ", ".join(str(r.config.train.seed) for r in g.records) for g in scene.groups}
    facts = [
        ("data", ", ".join(scene.names)),
        ("format", f"{text(data.format)}, {data.width} × {data.height} pixels"),
        ("learned from", f"{learned}, {num_times} times" + (f"; moving bodies: {bodies}" if bodies else "")),
        ("observed until", f"{config.split.observed_until:.4g}{_unit(scene, ' {}')}"),
        ("protocol", text(config.split.protocol)),
        ("unseen sequences", protocol.get("unseen", "")),
        ("split", config.split.hash),
        (
            "seeds",
            "; ".join(f"{name}: {of}" for name, of in seeds.items()) if len(seeds) > 1 else "".join(seeds.values()),
        ),
    ]
    machines = {f"{m.cpu}, {m.cores} cores, torch {m.torch}" for r in scene.records if (m := r.config.machine)}
    facts.append(("trained on", "; ".join(sorted(machines))))
    if config.train.downscale > 1:
        facts.insert(2, ("downscale", str(config.train.downscale)))
    return [(name, text(value)) for name, value in facts if value]


def _unit(scene: ComparableRuns, form: str) -> str:
    """The unit of time in words; empty where it is unknown."""
    scores = scene.first.scores
    name = scores.protocol.get("time_unit", "unknown") if scores else "unknown"
    return "" if name in ("unknown", "") else form.format(name)


def _evaluated(scene: ComparableRuns) -> list[tuple[str, str]]:
    """How it was scored."""
    scores = scene.first.scores
    if scores is None:
        return []
    words = {
        "max_frames": "at most this many frames of a split:",
        "max_time": "times until",
        "moving_part": "moving objects from",
        "lpips": "LPIPS",
    }
    return [(label, value) for name, label in words.items() if (value := scores.protocol.get(name))]
