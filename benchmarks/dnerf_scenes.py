"""Five scenes of falling and passing balls (D-NeRF's format): test PSNR after ten minutes of training.

    python benchmarks/dnerf_scenes.py --minutes 10

All training frames are observed; pictures are halved to 400 x 400. Takes about (minutes + 2) for each scene and method.
A table of what is finished is written after each, and the same command goes on.
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
    mean,
    pooled,
    provenance,
    publish,
    shared_data,
    table,
    train,
)

METRICS = {
    "psnr": ("PSNR [dB]", 2),
    "psnr_moving": ("PSNR, moving [dB]", 2),
    "ssim": ("SSIM", 4),
    "mask_iou": ("mask IoU", 3),
}
"""What is in the tables, and with how many decimals."""


def main(
    minutes: float = 10.0,
    methods: tuple[str, ...] = (
        "rigid-ode:gaussians",
        "rigid-ode:fast",
        "4d-gaussians:fast",
        "deformable-gaussians:fast",
        "d-nerf:fast",
    ),
    scenes: tuple[str, ...] = SCENES,
    downscale: int = 2,
    seed: int = 0,
    max_frames: int | None = None,
    work: Path = WORK / "dnerf_scenes",
    results: Path = RESULTS,
) -> None:
    """Train and evaluate every scene, and write the table.

    Args:
        minutes: Of training.
        methods: METHOD:PRESET each.
        scenes: Folders of the data.
        downscale: 2 makes 400 x 400 of 800 x 800.
        seed: Of the training.
        max_frames: Frames of each split that are scored; default: all.
        work: Where the runs lie; what is finished there is not done again.
        results: Where the table goes.
    """
    data = shared_data() / "dnerf_format"
    clock = Clock(work / "seconds.txt")
    found: dict[str, dict[str, Any]] = {}
    name = "all" if max_frames is None else str(max_frames)
    few = () if max_frames is None else ("--max-frames", max_frames)
    for scene in scenes:
        for who in map(Contestant.parse, methods):
            run = work / f"{scene}-{who.method}-{who.preset}-{minutes:g}min-{downscale}-{seed}"
            train(who, data / scene, run, seed=seed, minutes=minutes, more=("--downscale", downscale))
            found.setdefault(str(who), {})[scene] = evaluate(run, name, *few)
            origin = provenance(clock.seconds(), [seed])
            publish("dnerf_scenes", "Five scenes in D-NeRF's format", page(found, minutes), origin, found, results)


def page(found: dict[str, dict[str, Any]], minutes: float) -> str:
    """The text with the tables."""
    some = next(iter(next(iter(found.values())).values()))
    size, splits = some["protocol"]["image_size"], some["splits"]
    counts = ", ".join(f"{split} {entry['count']}" for split, entry in splits.items())
    parts = [
        f"{size[0]} x {size[1]} pixels, all training frames, {minutes:g} minutes of training. Scored: the frames that "
        f"the data set marks as test (of one scene: {counts}). Moving: inside the instance mask."
    ]
    for metric, (label, decimals) in METRICS.items():
        scenes = list(dict.fromkeys(scene for runs in found.values() for scene in runs))
        rows = [[who, *_cells(runs, scenes, metric)] for who, runs in found.items()]
        baselines = next(iter(found.values()))
        nearest = [_baseline(baselines[s], "nearest-frame", metric) if s in baselines else float("nan") for s in scenes]
        rows.append(["nearest frame", *nearest, mean(nearest)])
        parts += [f"## {label}", table(["", *scenes, "mean"], rows, decimals)]
    parts += ["## Speed", _speed(found)]
    return "\n\n".join(parts)


def _cells(runs: dict[str, Any], scenes: list[str], metric: str) -> list[float]:
    values = [pooled(runs[s]["splits"].values(), metric) if s in runs else float("nan") for s in scenes]
    return [*values, mean(values)]


def _baseline(metrics: dict[str, Any], name: str, metric: str) -> float:
    return pooled(metrics["baselines"].get(name, {}).values(), metric)


def _speed(found: dict[str, dict[str, Any]]) -> str:
    rows = []
    for who, runs in found.items():
        steps = [m["step"] for m in runs.values()]
        rate = mean(m["step"] / m["train_seconds"] for m in runs.values())
        frame = mean(pooled(m["splits"].values(), "render_seconds") for m in runs.values())
        rows.append([who, f"{min(steps)} to {max(steps)}", rate, 1 / frame])
    return table(["", "steps", "steps a second", "frames rendered a second"], rows)


if __name__ == "__main__":
    tyro.cli(main)
