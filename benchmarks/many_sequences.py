"""Many sequences of one law: how good is the forecast of sequences that were never seen, from their initial conditions?

    python benchmarks/many_sequences.py --minutes 3

Each seed is other initial conditions (and another training). On the hill: 8 training sequences, one camera; the
ball in the bowl: 18, three cameras. Unseen sequences: 8 each; on the hill every other one begins within a centimetre of
where little decides. Takes about (minutes + 4) for each scene, seed and method.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tyro

from common import RESULTS, WORK, Clock, Contestant, evaluate, foreseen, mean, provenance, publish, table, train

SCENES = {"bifurcating-hill": (8, 1), "oscillating-ball": (18, 3)}
"""Scenario -> training sequences, cameras."""
UNSEEN, FRAMES = 8, 90
SPLIT = "unseen-sequence"
METRICS = {
    "mask_iou": "mask IoU",
    "flow_iou": "flow-mask IoU",
    "centroid_error_px": "centroid error [px]",
    "psnr": "PSNR [dB]",
    "psnr_moving": "PSNR, moving [dB]",
}
OBSERVER = "rigid-ode"
"""The method that is also given nothing but the first frames of unseen sequences, and whose row has the baselines'."""
FEWER = 4
"""Other methods render slowly: they are scored on so many times fewer frames."""
BASELINES = ("true-dynamics", "constant-velocity", "last-frame")
PAPER = {"bifurcating-hill": 0.485, "oscillating-ball": 0.3327}
"""Flow-mask IoU that the paper gives for its own data sets of these names, which are not public: not comparable."""


def main(
    seeds: tuple[int, ...] = (0, 1, 2),
    minutes: float = 3.0,
    methods: tuple[str, ...] = ("rigid-ode:fast", "d-nerf:fast"),
    scenes: tuple[str, ...] = tuple(SCENES),
    size: int = 160,
    max_frames: int = 400,
    work: Path = WORK / "many_sequences",
    results: Path = RESULTS,
) -> None:
    """Simulate, train, evaluate, and write the tables.

    Args:
        seeds: Of the initial conditions and the training.
        minutes: Of training.
        methods: METHOD:PRESET each.
        scenes: Which of the two.
        size: Of the pictures [pixels].
        max_frames: Frames that are scored, spread over time, cameras and sequences.
        work: Where data and runs lie; what is finished there is not done again.
        results: Where the tables go.
    """
    clock = Clock(work / "seconds.txt")
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for who in map(Contestant.parse, methods):
        for seed in seeds:
            for scene in scenes:
                metrics = _one(who, scene, seed, minutes, size, max_frames, work)
                found.setdefault(str(who), {}).setdefault(scene, {})[str(seed)] = metrics
                origin = provenance(clock.seconds(), seeds)
                publish(
                    "many_sequences", "Sequences that were never seen", page(found, minutes), origin, found, results
                )


def _one(
    who: Contestant, scene: str, seed: int, minutes: float, size: int, max_frames: int, work: Path
) -> dict[str, Any]:
    sequences, cameras = SCENES[scene]
    data = work / f"{scene}-{seed}-{size}"
    if not data.exists():
        count = ("--sequences", sequences + UNSEEN, "--unseen", UNSEEN, "--frames", FRAMES, "--cameras", cameras)
        foreseen("simulate", scene, "--out", data, *count, "--size", size, "--seed", seed)
    run = work / f"{scene}-{seed}-{size}-{who.method}-{who.preset}-{minutes:g}min"
    train(who, data, run, seed=seed, minutes=minutes)
    if who.method != OBSERVER:
        few = max_frames // FEWER
        return evaluate(run, str(few), "--splits", SPLIT, "--max-frames", few, "--no-baselines")
    words = ("--splits", SPLIT, "--max-frames", max_frames)
    metrics = evaluate(run, str(max_frames), *words)
    seen = evaluate(run, f"{max_frames}-frames", *words, "--observe", "frames", "--no-baselines")
    return {**metrics, "from_frames": seen["splits"][SPLIT]}


def page(found: dict[str, dict[str, dict[str, Any]]], minutes: float) -> str:
    """The text with the tables."""
    some = next(iter(next(iter(next(iter(found.values())).values())).values()))
    parts = [
        f"{some['protocol']['unseen'].capitalize()}. {minutes:g} minutes of training; means over all forecast frames "
        f"of {UNSEEN} unseen sequences, and over seeds. The last row of each table is what the Node-RF paper gives "
        "for its own data set of that name, which is not public: another data set, not comparable. Methods but the "
        f"first are scored on every {FEWER}th of its frames. A video predictor is to join the table."
    ]
    for scene in dict.fromkeys(scene for runs in found.values() for scene in runs):
        rows = [
            [who, *_cells([m["splits"][SPLIT] for m in runs[scene].values()])]
            for who, runs in found.items()
            if scene in runs
        ]
        for who, runs in found.items():
            if len(runs.get(scene, {})) > 1:
                rows += [[f"{who}, seed {s}", *_cells([m["splits"][SPLIT]])] for s, m in runs[scene].items()]
            if kept := [m["from_frames"] for m in runs.get(scene, {}).values() if "from_frames" in m]:
                rows.append([f"{who}, from the first 5 frames alone", *_cells(kept)])
        first = next(runs[scene] for runs in found.values() if scene in runs)
        for name in BASELINES:
            kept = [m["baselines"][name][SPLIT] for m in first.values() if SPLIT in m["baselines"].get(name, {})]
            rows.append([name, *_cells(kept)])
        rows.append(
            [
                "ceiling",
                mean(m["splits"][SPLIT]["mask_iou_ceiling"] for m in first.values()),
                *[""] * len(METRICS),
            ]
        )
        rows.append(["paper, on its own data", "", PAPER[scene], *[""] * (len(METRICS) - 1)])
        sequences, cameras = SCENES[scene]
        parts += [
            f"## {scene}: {sequences} training sequences, {cameras} camera{'s' if cameras > 1 else ''}",
            table(["", *METRICS.values(), "in the 90 % band"], rows),
        ]
    return "\n\n".join(parts)


def _cells(entries: list[dict[str, Any]]) -> list[float]:
    """The metrics, and the share of the true centres in the band that the method gives."""
    band = mean(e["uncertainty"]["coverage"] for e in entries if "uncertainty" in e)
    return [*(mean(e[metric] for e in entries if metric in e) for metric in METRICS), band]


if __name__ == "__main__":
    tyro.cli(main)
