"""How the cost of Node-RF `fast` grows with the number of sequences: time of a step, of the law's fit, and memory.

    python benchmarks/many_cost.py

Beads on the hill, one camera, small pictures. Each count is trained for one step (which holds the warm start) and
then on to the last; the difference tells the time of a step. Simulating a thousand sequences takes most of the time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import tyro

from common import RESULTS, WORK, Clock, foreseen, provenance, publish, say, table


def main(
    counts: tuple[int, ...] = (10, 100, 1000),
    steps: int = 200,
    frames: int = 24,
    size: int = 48,
    work: Path = WORK / "many_cost",
    results: Path = RESULTS,
) -> None:
    """Simulate, train, and write the table.

    Args:
        counts: Training sequences.
        steps: Of training.
        frames: Times of each sequence.
        size: Of the pictures [pixels].
        work: Where data and runs lie; what is finished there is not done again.
        results: Where the table goes.
    """
    clock = Clock(work / "seconds.txt")
    found: dict[str, dict[str, Any]] = {}
    for count in counts:
        data = work / f"hill-{count}-{frames}-{size}"
        if not data.exists():
            words = ("--sequences", count, "--unseen", 0, "--frames", frames, "--size", size, "--fps", 12)
            foreseen("simulate", "bifurcating-hill", "--out", data, *words)
        found[str(count)] = _one(data, work / f"run-{count}-{frames}-{size}-{steps}", steps)
        publish(
            "many_cost", "The cost of many sequences", page(found), provenance(clock.seconds(), [0]), found, results
        )


def _one(data: Path, run: Path, steps: int) -> dict[str, Any]:
    kept = run / "cost.json"
    if kept.is_file():
        return dict(json.loads(kept.read_text()))
    first, _ = _train(data, run, 1)
    last, peak = _train(data, run, steps)
    cost = {"warm_seconds": first, "step_seconds": (last - first) / (steps - 1), "peak_mb": peak}
    kept.write_text(json.dumps(cost))
    return cost


def _train(data: Path, run: Path, steps: int) -> tuple[float, float]:
    """Training seconds up to step `steps`, and the process's peak memory [MB]."""
    words = ["train", "rigid-ode", "--data", str(data), "--out", str(run), "--max-steps", str(steps)]
    say("foreseen " + " ".join(words))
    process = subprocess.Popen([sys.executable, "-m", "foreseen", *words])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"foreseen train ended with status {status}; the same benchmark goes on from there.")
    newest = max((run / "checkpoints").glob("step-*"))
    return float(json.loads((newest / "state.json").read_text())["train_seconds"]), usage.ru_maxrss / 1024


def page(found: dict[str, dict[str, Any]]) -> str:
    """The text with the table."""
    base = next(iter(found.values()))["step_seconds"]
    rows = [
        [
            count,
            f"{cost['step_seconds'] * 1e3:.1f}",
            cost["step_seconds"] / base,
            cost["warm_seconds"],
            f"{cost['peak_mb']:,.0f}",
        ]
        for count, cost in found.items()
    ]
    head = [
        "training sequences",
        "step [ms]",
        f"of that at {next(iter(found))}",
        "warm start with the law [s]",
        "peak memory [MB]",
    ]
    return (
        "Preset `fast`, true positions of the bead. The warm start finds the part and empty space and fits the law, on "
        "stretches that are limited in number: it grows by the smoothing of paths alone. Peak memory: resident set of "
        f"the whole process, pictures included.\n\n{table(head, rows)}"
    )


if __name__ == "__main__":
    tyro.cli(main)
