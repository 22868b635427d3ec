"""Node-RF's idea on fast fields: the pendulum past what was seen, and sequences of hill and ball that were never seen.

    python benchmarks/node_rf_fast.py --minutes 10

The pendulum's data and the hill's are those of pendulum_forecast.py and many_sequences.py, so that the rows stand
beside those of `rigid-ode` and `d-nerf` there; the ball has fewer sequences. Takes about (minutes + 4) for each scene
and seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tyro

from common import RESULTS, WORK, Clock, Contestant, evaluate, foreseen, mean, provenance, publish, table, train

METRICS = {
    "mask_iou": "mask IoU",
    "flow_iou": "flow-mask IoU",
    "centroid_error_px": "centroid error [px]",
    "psnr": "PSNR [dB]",
    "psnr_moving": "PSNR, moving [dB]",
}
SCENES = {"pendulum": "forecast", "bifurcating-hill": "unseen-sequence", "oscillating-ball": "unseen-sequence"}
"""Scenario -> the split that is scored."""
SEQUENCES = {"bifurcating-hill": (8, 8, 1), "oscillating-ball": (8, 4, 3)}
"""Scenario -> training sequences, unseen ones, cameras; 90 frames each."""
BASELINES = ("true-dynamics", "constant-velocity", "last-frame")
OBSERVED = 0.25
"""Share of the pendulum's time that training sees."""
PENDULUM_FRAMES, FRAMES = 216, 90


def main(
    seeds: tuple[int, ...] = (0, 1, 2),
    minutes: float = 10.0,
    scenes: tuple[str, ...] = tuple(SCENES),
    size: int = 160,
    max_frames: int = 60,
    work: Path = WORK / "node_rf_fast",
    results: Path = RESULTS,
) -> None:
    """Simulate, train, evaluate, and write the table.

    Args:
        seeds: Of the data and the training.
        minutes: Of training.
        scenes: Which of the three.
        size: Of the pictures [pixels].
        max_frames: Frames that are scored, spread over time, cameras and sequences.
        work: Where data and runs lie; what is finished there is not done again.
        results: Where the table goes.
    """
    clock = Clock(work / "seconds.txt")
    found: dict[str, dict[str, Any]] = {}
    for scene in scenes:
        for seed in seeds:
            found.setdefault(scene, {})[str(seed)] = _one(scene, seed, minutes, size, max_frames, work)
    publish("node_rf_fast", "node-rf fast", page(found, minutes), provenance(clock.seconds(), seeds), found, results)


def _one(scene: str, seed: int, minutes: float, size: int, max_frames: int, work: Path) -> dict[str, Any]:
    data = work / f"{scene}-{seed}-{size}"
    more: tuple[object, ...] = ()
    if scene == "pendulum":
        simulated: tuple[object, ...] = ("--frames", PENDULUM_FRAMES)
        more = ("--observe-until", OBSERVED)
    else:
        seen, unseen, cameras = SEQUENCES[scene]
        simulated = ("--sequences", seen + unseen, "--unseen", unseen, "--frames", FRAMES, "--cameras", cameras)
    if not data.exists():
        foreseen("simulate", scene, "--out", data, *simulated, "--size", size, "--seed", seed)
    run = work / f"{scene}-{seed}-{size}-{minutes:g}min"
    train(Contestant("node-rf", "fast"), data, run, seed=seed, minutes=minutes, more=more)
    return evaluate(run, str(max_frames), "--splits", SCENES[scene], "--max-frames", max_frames)


def page(found: dict[str, dict[str, Any]], minutes: float) -> str:
    """The text with the table."""
    parts = [
        f"{minutes:g} minutes of training each. The pendulum's first {OBSERVED:.0%} are seen, and all that follows is "
        f"scored, to {1 / OBSERVED:g} times the window. Of hill and ball 8 sequences are learned, and others are "
        "scored, from their true pose and velocity at the first time."
    ]
    for scene, runs in found.items():
        split = SCENES[scene]
        entries = [metrics["splits"][split] for metrics in runs.values()]
        rows = [["node-rf fast", *_cells(entries)]]
        rows += [[f"seed {seed}", *_cells([entry])] for seed, entry in zip(runs, entries)]
        for name in BASELINES:
            if kept := [m["baselines"][name][split] for m in runs.values() if split in m["baselines"].get(name, {})]:
                rows.append([name, *_cells(kept)])
        parts += [f"## {scene}", table(["", *METRICS.values()], rows)]
    return "\n\n".join(parts)


def _cells(entries: list[dict[str, Any]]) -> list[float]:
    return [mean(entry[metric] for entry in entries if metric in entry) for metric in METRICS]


if __name__ == "__main__":
    tyro.cli(main)
