"""The same runs by two versions of the code: is any number worse than before?

    python benchmarks/before_and_after.py --before ../old-checkout

Steps, seeds and threads are fixed, so that times of training do not matter. Each version runs from its own source tree
in this environment. Takes about 2 hours on one core for each version.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from common import RESULTS, ROOT, WORK, Clock, provenance, publish, shared_data, table

METRICS = {"psnr": "PSNR", "psnr_moving": "PSNR, moving", "mask_iou": "mask IoU", "centroid_error_px": "centroid [px]"}


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        before, after: method (and preset) under the names of the two versions.
        options: of `train`.
        scored: options of `evaluate`.
    """

    data: str
    before: str
    after: str
    options: str
    scored: str = "--max-frames 20"


NEW = "--splits unseen-sequence --max-frames 80"
GAUSSIANS = "--downscale 4 --max-steps 1000"
JOBS = {
    "pendulum": Job("pendulum", "node-rf", "rigid-ode", "--observe-until 0.5 --max-steps 1000", "--max-frames 40"),
    "hill": Job("hill", "node-rf", "rigid-ode", "--max-steps 300", NEW),
    "ball": Job("ball", "node-rf", "rigid-ode", "--max-steps 300", NEW),
    "scene1": Job("scene1_close_proximity", "gaussian-ode", "rigid-ode --preset gaussians", GAUSSIANS),
    "scene4": Job("scene4_occlusion", "gaussian-ode", "rigid-ode --preset gaussians", GAUSSIANS),
    "scene1_4d": Job("scene1_close_proximity", "4d-gaussians", "4d-gaussians", "--downscale 4 --max-steps 500"),
    "scene1_latent": Job(
        "scene1_close_proximity",
        "gaussian-ode --preset latent",
        "gaussian-ode",
        "--downscale 4 --max-steps 500 --observe-until 0.75",
    ),
    "scene4_dnerf": Job("scene4_occlusion", "d-nerf", "d-nerf", "--downscale 4 --max-steps 500"),
}
DEMO = "demo"
"""The run of `foreseen demo --quick`, which is its own data, training and evaluation."""
SIMULATED = {
    "pendulum": "pendulum --size 128",
    "hill": "bifurcating-hill --sequences 12",
    "ball": "oscillating-ball --sequences 12",
}
"""Data that are made, by the version before; the others are recorded."""


def main(
    before: Path,
    after: Path = ROOT,
    jobs: tuple[str, ...] = (DEMO, *JOBS),
    splats: bool = True,
    work: Path = WORK / "before_and_after",
    results: Path = RESULTS,
) -> None:
    """Run both versions, and write the table.

    Args:
        before: Checkout of the earlier version.
        after: Checkout of the later one.
        jobs: Which runs.
        splats: Also time splatting, with the script of the same name in each checkout.
        work: Where data and runs lie; what is finished there is not done again.
        results: Where the table goes.
    """
    work.mkdir(parents=True, exist_ok=True)
    clock = Clock(work / "seconds.txt")
    trees = {"before": before.resolve(), "after": after.resolve()}
    for name, words in SIMULATED.items():
        if not (folder := work / "data" / name).exists():
            scenario, *options = words.split()
            _run(trees["before"], "-m", "foreseen", "simulate", scenario, "--out", folder, *options)
    found: dict[str, Any] = {"runs": {}}
    for name in jobs:
        found["runs"][name] = {side: _metrics(side, tree, name, work) for side, tree in trees.items()}
    if splats:
        found["splats"] = {side: _splat_speed(side, tree, work) for side, tree in trees.items()}
    publish("before_and_after", "Before and after", page(found), provenance(clock.seconds(), [0]), found, results)


def _run(tree: Path, *words: object, threads: int | None = 1) -> None:
    """A command of one version, on so many threads; leaves where it fails."""
    limits = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    environment = {**os.environ, **(limits if threads else {}), "PYTHONPATH": str(tree / "src")}
    if subprocess.run([sys.executable, *map(str, words)], cwd=tree, env=environment).returncode:
        sys.exit(f"{tree}: {' '.join(map(str, words))} failed.")


def _metrics(side: str, tree: Path, name: str, work: Path) -> dict[str, Any]:
    run = work / side / name
    if (run / "metrics.json").is_file():
        pass
    elif name == DEMO:
        _run(tree, "-m", "foreseen", "demo", "--quick", "--out", run)
    else:
        job = JOBS[name]
        data = work / "data" / job.data if job.data in SIMULATED else shared_data() / "dnerf_format" / job.data
        method, *preset = (job.before if side == "before" else job.after).split()
        words = (*preset, *job.options.split())
        _run(tree, "-m", "foreseen", "train", method, "--data", data, "--out", run, *words)
        _run(tree, "-m", "foreseen", "evaluate", run, *job.scored.split())
    return dict(json.loads((run / "metrics.json").read_text()))


def _splat_speed(side: str, tree: Path, work: Path) -> Any:
    results = work / side / "splats"
    if not (results / "splat_speed.json").is_file():
        words = (tree / "benchmarks" / "splat_speed.py", "--work", results / "work", "--results", results)
        _run(tree, *words, threads=None)
    return json.loads((results / "splat_speed.json").read_text())["results"]


def page(found: dict[str, Any]) -> str:
    """The text with the tables."""
    rows = []
    for name, sides in found["runs"].items():
        for split in sides["after"]["splits"]:
            old, new = (sides[side]["splits"].get(split, {}) for side in ("before", "after"))
            for key, words in METRICS.items():
                if key in old and key in new:
                    rows.append([name, split, words, f"{old[key]:.4g}", f"{new[key]:.4g}"])
    parts = [
        "Same machine, seed 0, one thread, fixed numbers of steps; each version trains and scores by itself.",
        table(["run", "split", "metric", "before", "after"], rows),
    ]
    if "splats" in found:
        parts += ["## Splatting", _splats(found["splats"])]
    return "\n\n".join(parts)


def _splats(sides: dict[str, Any]) -> str:
    """The fastest of the repeats, which other work on the machine disturbs least."""
    rows = [
        [f"{old['name']}, {old['threads']} threads", words, *(min(x["milliseconds"][key]) for x in (old, new))]
        for old, new in zip(sides["before"], sides["after"])
        for key, words in (("forward", "forward"), ("both", "forward and backward"), ("step", "full step"))
    ]
    return table(["workload", "fastest [ms]", "before", "after"], rows)


if __name__ == "__main__":
    tyro.cli(main)
