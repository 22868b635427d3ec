"""A real hand-held video of a moving hand: novel views of the frames that were kept back.

    python benchmarks/hand_capture.py --minutes 10

Writes PSNR, and pictures of truth beside rendering for every method.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tyro

from common import (
    RESULTS,
    WORK,
    Clock,
    Contestant,
    evaluate,
    pooled,
    provenance,
    publish,
    say,
    shared_data,
    table,
    train,
)

METRICS = {"psnr": "PSNR [dB]", "ssim": "SSIM", "ms_ssim": "MS-SSIM"}
HELD_OUT = ("novel-view", "interpolation")


def main(
    minutes: float = 10.0,
    methods: tuple[str, ...] = ("rigid-ode:fast", "d-nerf:fast"),
    downscale: int = 2,
    seed: int = 0,
    pictures: int = 4,
    work: Path = WORK / "hand_capture",
    results: Path = RESULTS,
) -> None:
    """Train, evaluate, draw, and write the table.

    Args:
        minutes: Of training.
        methods: METHOD:PRESET each.
        downscale: 2 makes 256 x 192 of 512 x 384.
        seed: Of the training.
        pictures: Held-out frames that are drawn.
        work: Where the runs lie; what is finished there is not done again.
        results: Where the table goes.
    """
    data = shared_data() / "nrnerf_hand"
    clock = Clock(work / "seconds.txt")
    found: dict[str, Any] = {}
    drawn: dict[str, Path] = {}
    for who in map(Contestant.parse, methods):
        run = work / f"{who.method}-{who.preset}-{minutes:g}min-{downscale}-{seed}"
        train(who, data, run, seed=seed, minutes=minutes, more=("--downscale", downscale))
        found[str(who)] = evaluate(run, "all")
        drawn[str(who)] = draw(run, pictures)
        origin = provenance(clock.seconds(), [seed])
        publish("hand_capture", "A real hand", page(found, minutes, drawn, work), origin, found, results)


def draw(folder: Path, count: int) -> Path:
    """Truth | rendering | difference of `count` held-out frames of a run, spread over time: a folder of PNGs."""
    from foreseen import load_run
    from foreseen.export import ClipFrame, write_clip

    out = folder / "renders" / "held-out"
    if out.exists():
        return out
    run = load_run(folder)
    frames = sorted((f for name in HELD_OUT for f in run.splits().frames.get(name, ())), key=lambda f: f.time)
    count = min(count, len(frames))
    chosen = [frames[round(i * (len(frames) - 1) / max(count - 1, 1))] for i in range(count)]
    write_clip(run, [ClipFrame(f.camera, f.time, f) for f in chosen], out, channel="side-by-side")
    say(f"drew {out}")
    return out


def page(found: dict[str, Any], minutes: float, drawn: dict[str, Path], work: Path) -> str:
    """The text with the table."""
    protocol = next(iter(found.values()))["protocol"]
    size = protocol["image_size"]
    rows: list[list[object]] = []
    for who, metrics in found.items():
        counts = sum(entry["count"] for entry in metrics["splits"].values())
        rows.append([who, counts, *(pooled(metrics["splits"].values(), m) for m in METRICS), metrics["step"]])
    some = next(iter(found.values()))
    for name, splits in some["baselines"].items():
        if splits:
            counts = sum(entry["count"] for entry in splits.values())
            rows.append([name.replace("-", " "), counts, *(pooled(splits.values(), m) for m in METRICS), ""])
    where = "\n".join(f"- {who}: `{path.relative_to(work)}`" for who, path in drawn.items())
    return (
        f"{size[0]} x {size[1]} pixels, {minutes:g} minutes of training. {protocol['sentence']}\n\n"
        + table(["", "frames", *METRICS.values(), "steps"], rows)
        + f"\n\nPictures of held-out frames, in the work folder of the benchmark:\n\n{where}"
    )


if __name__ == "__main__":
    tyro.cli(main)
