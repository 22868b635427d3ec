"""Forecasts of five scenes of balls and of balls that bounce in a tray: the first three quarters of the time are seen.

    python benchmarks/forecasts.py --minutes 3

The scenes of D-NeRF's format are halved to 400 x 400; the trays are simulated, one a seed, before a plain background.
Scored: every frame after the observed window, in thirds of what follows. Takes about (minutes + 1) for each scene and
method. A table of what is finished is written after each, and the same command goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tyro

from common import (
    RESULTS,
    SCENES,
    WORK,
    Clock,
    Contestant,
    evaluate,
    foreseen,
    mean,
    provenance,
    publish,
    shared_data,
    table,
)
from common import train as train_run

METRICS = {"psnr_moving": "PSNR, moving [dB]", "mask_iou": "mask IoU"}
BASELINES = ("last-frame", "constant-velocity")
THIRDS = ("first third", "second third", "last third")


def main(
    minutes: float = 3.0,
    methods: tuple[str, ...] = ("rigid-ode:gaussians", "gaussian-ode:fast", "rigid-ode:fast"),
    scenes: tuple[str, ...] = SCENES,
    trays: tuple[int, ...] = (0, 1, 2),
    tray_frames: int = 96,
    tray_size: int = 200,
    observe_until: float = 0.75,
    downscale: int = 2,
    seed: int = 0,
    work: Path = WORK / "forecasts",
    results: Path = RESULTS,
) -> None:
    """Simulate, train and evaluate every scene, and write the tables.

    Args:
        minutes: Of training.
        methods: METHOD:PRESET each.
        scenes: Folders of the data in D-NeRF's format.
        trays: Seeds of the simulated trays.
        tray_frames: Frames of a tray, 20 a second.
        tray_size: Width and height of a tray's pictures [pixels].
        observe_until: Fraction of the time that training sees.
        downscale: Of the data in D-NeRF's format; 2 makes 400 x 400 of 800 x 800.
        seed: Of the training.
        work: Where data and runs lie; what is finished there is not done again.
        results: Where the tables go.
    """
    clock = Clock(work / "seconds.txt")
    data = {name: (shared_data() / "dnerf_format" / name, ("--downscale", downscale)) for name in scenes}
    for tray in trays:
        folder = work / f"tray-{tray}-{tray_frames}-{tray_size}"
        if not folder.exists():
            size = ("--frames", tray_frames, "--size", tray_size, "--seed", tray, "--background", "plain")
            foreseen("simulate", "bouncing-balls", "--out", folder, *size)
        data[f"tray {tray}"] = (folder, ())
    found: dict[str, dict[str, Any]] = {}
    for scene, (folder, more) in data.items():
        for who in map(Contestant.parse, methods):
            run = work / f"{scene.replace(' ', '-')}-{who.method}-{who.preset}-{minutes:g}min-{observe_until:g}-{seed}"
            train_run(who, folder, run, seed=seed, minutes=minutes, more=("--observe-until", observe_until, *more))
            found.setdefault(str(who), {})[scene] = evaluate(run, "forecast", "--splits", "forecast")
            origin = provenance(clock.seconds(), [seed])
            publish("forecasts", "Forecasts past three quarters", page(found, minutes), origin, found, results)


def page(found: dict[str, dict[str, Any]], minutes: float) -> str:
    """The text with the tables."""
    scenes = list(dict.fromkeys(scene for runs in found.values() for scene in runs))
    counts = {scene: next(runs[scene] for runs in found.values() if scene in runs) for scene in scenes}
    frames = ", ".join(f"{scene} {one['splits']['forecast']['count']}" for scene, one in counts.items())
    parts = [
        f"The first three quarters of the time are observed, {minutes:g} minutes of training. Frames scored after it: "
        f"{frames}. Moving: inside the instance mask. Constant velocity is scored on the frames that it can do."
    ]
    for metric, label in METRICS.items():
        rows = [[who, *cells] for who, cells in _rows(found, scenes, metric).items()]
        parts += [f"## {label}, all that follows", table(["", *scenes, "mean"], rows)]
    for metric, label in METRICS.items():
        rows = [
            [f"{scene}: {who}", *_thirds(one, metric, name)]
            for scene in scenes
            for who, one, name in _everyone(found, scene)
        ]
        parts += [f"## {label}, by horizon", table(["", *THIRDS], rows)]
    return "\n\n".join(parts)


def _everyone(found: dict[str, dict[str, Any]], scene: str) -> list[tuple[str, dict[str, Any], str | None]]:
    """Names, metrics and, for a baseline, which one; baselines come from the first method that has finished."""
    own = [(who, runs[scene], None) for who, runs in found.items() if scene in runs]
    return [*own, *((name.replace("-", " "), own[0][1], name) for name in BASELINES)]


def _summary(metrics: dict[str, Any], baseline: str | None) -> dict[str, Any]:
    return dict((metrics["baselines"].get(baseline, {}) if baseline else metrics["splits"]).get("forecast", {}))


def _rows(found: dict[str, dict[str, Any]], scenes: list[str], metric: str) -> dict[str, list[float]]:
    rows: dict[str, list[float]] = {}
    for scene in scenes:
        for who, one, name in _everyone(found, scene):
            value = float(_summary(one, name).get(metric, "nan"))
            rows.setdefault(who, [float("nan")] * len(scenes))[scenes.index(scene)] = value
    return {who: [*values, mean(v for v in values if v == v)] for who, values in rows.items()}


def _thirds(metrics: dict[str, Any], metric: str, baseline: str | None) -> list[float]:
    """Means over the thirds of the time that follows the observed window."""
    by_time = [row for row in _summary(metrics, baseline).get("by_time", []) if metric in row]
    last = max((row["after"] for row in _summary(metrics, None)["by_time"]), default=1.0)
    thirds: list[list[float]] = [[], [], []]
    for row in by_time:
        thirds[min(int(3 * row["after"] / last), 2)].append(row[metric])
    return [mean(values) for values in thirds]


if __name__ == "__main__":
    tyro.cli(main)
