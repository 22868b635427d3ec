"""Speed and memory of training: every preset, and `fast` beside its plain-torch twin, in one run.

    python benchmarks/train_speed.py

Each row is a process of its own on the same simulated pendulum. Steps are timed inside the trainer, after a warm-up in
which kernels are compiled and empty space is found; drawing the batch, updates and what a method does between steps
count, the rare fits of the law of motion (twice in a training) do not. The twin is the same training, step for step,
with the compiled kernels of voxels and compositing replaced by the plain-torch functions that define them. The
rows "at the rays and samples of fast" draw as many rays, and look at as many points on them, as a step of `fast` does.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from common import RESULTS, WORK, Clock, foreseen, provenance, publish, say, table, write_text

WORKER = "--worker"


@dataclass(frozen=True)
class Job:
    """One process.

    Attributes:
        overrides: fields of the preset's config.
        warm_up: steps before any is timed.
        blocks: (steps, with the twin) in turn; the refresh of occupancy every 16 steps falls into each block alike.
    """

    name: str
    method: str
    preset: str
    data: str
    overrides: dict[str, Any]
    warm_up: int
    blocks: tuple[tuple[int, bool], ...]


def main(
    size: int = 160,
    warm_up: int = 300,
    steps: int = 192,
    slow_steps: int = 4,
    work: Path = WORK / "train_speed",
    results: Path = RESULTS,
) -> None:
    """Measure, and write the table.

    Args:
        size: Of the pictures [pixels].
        warm_up: Steps of the fast presets before any is timed.
        steps: Timed steps of the fast presets; a multiple of 48.
        slow_steps: Timed steps of the paper presets, after one that warms up.
        work: Where data and runs lie.
        results: Where the table goes.
    """
    data = work / f"data-{size}"
    if not data.exists():
        foreseen("simulate", "pendulum", "--out", data, "--size", size)
    clock = Clock(work / "seconds.txt")
    rows: list[dict[str, Any]] = []
    pair = ((32, False), (16, True)) * (steps // 48)
    fast = run(Job("rigid-ode fast", "rigid-ode", "fast", str(data), {}, warm_up, pair), work)
    rows += [fast, {**fast["twin"], "name": "rigid-ode fast, plain-torch twin"}]
    for method in ("node-rf", "d-nerf"):
        slow = ((slow_steps, False),)
        rows.append(run(Job(f"{method} paper", method, "paper", str(data), {}, 1, slow), work))
        equal: dict[str, Any] = at_rays_and_samples(fast["rays"], fast["samples"])
        equal["recompute"] = False  # it saves memory and costs time
        name = f"{method} paper, at the rays and samples of fast"
        rows.append(run(Job(name, method, "paper", str(data), equal, 1, slow), work))
    if "fast" in presets("d-nerf"):
        rows.append(run(Job("d-nerf fast", "d-nerf", "fast", str(data), {}, warm_up, ((steps, False),)), work))
    publish("train_speed", "Training: speed and memory", page(rows), provenance(clock.seconds(), [0]), rows, results)


def presets(method: str) -> list[str]:
    """The names of a method's presets."""
    from foreseen.methods import find_method

    return list(find_method(method).load_presets())


def at_rays_and_samples(rays: float, samples: float) -> dict[str, int]:
    """The paper presets' fields for steps of so many rays and points. The coarse network looks at c points of a ray,
    the fine one at those and at 2 c more, so 4 c in all."""
    coarse = max(round(samples / rays / 4), 1)
    return {"rays": round(rays), "samples": coarse, "importance_samples": 2 * coarse}


def page(rows: list[dict[str, Any]]) -> str:
    """The text with the table."""
    first = rows[0]
    cells = [
        [
            row["name"],
            f"{row['rays']:,.0f}",
            f"{row['samples']:,.0f}",
            f"{1 / row['step_seconds']:.2f}",
            f"{row['rays'] / row['step_seconds']:,.0f}",
            f"{row['samples'] / row['step_seconds'] / 1e6:.3f}",
            f"{row['step_seconds'] / first['step_seconds']:.1f}",
            f"{row['peak_mb']:,.0f}",
        ]
        for row in rows
    ]
    headings = [
        "",
        "rays a step",
        "points a step",
        "steps / s",
        "rays / s",
        "million points / s",
        f"time of a step, {first['name']} = 1",
        "peak memory [MB]",
    ]
    return (
        "One process each, fp32. Points: places at which a field was asked, coarse and fine. Peak memory: the most "
        "that the whole process held (resident set), pictures and libraries included; the twin takes turns with `fast` "
        "in one process, whose peak it sets.\n\n" + table(headings, cells)
    )


def run(job: Job, work: Path) -> dict[str, Any]:
    """The job in a process of its own."""
    say(job.name)
    answer = work / "answer.json"
    answer.unlink(missing_ok=True)
    command = [sys.executable, __file__, WORKER, json.dumps(job.__dict__), str(work), str(answer)]
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"{job.name} failed.")
    found = dict(json.loads(answer.read_text()))
    say(f"{job.name}: {1 / found['step_seconds']:.2f} steps/s, peak {found['peak_mb']:,.0f} MB")
    return {"name": job.name, "overrides": job.overrides, **found}


class Measured(Exception):
    """All blocks are timed."""


class Stopwatch:
    """Times steps of the trainer, and ends the training when it has timed enough of them."""

    def __init__(self, job: Job, take_step: Callable[..., Any]) -> None:
        self.take_step = take_step
        self.plan = [None] * job.warm_up + [twin for count, twin in job.blocks for _ in range(count)]
        self.points = 0
        self.times: dict[bool, list[tuple[float, int, int]]] = {False: [], True: []}
        self.peak_mb = 0.0

    def __call__(self, trainer: Any, say_line: Callable[[str], None]) -> Any:
        """Stands in for `Trainer._take_step`."""
        if trainer.step == len(self.plan):
            raise Measured
        twin = self.plan[trainer.step]
        self.points = 0
        began = time.perf_counter()
        if twin:
            with plain_torch():
                values = self.take_step(trainer, say_line)
        else:
            values = self.take_step(trainer, say_line)
            if not self.times[True]:  # from the first step of the twin on, the process's peak may be the twin's
                self.peak_mb = memory_now()
        if twin is not None:
            self.times[twin].append((time.perf_counter() - began, trainer._rays, self.points))
        return values

    def result(self, twin: bool) -> dict[str, float]:
        """Means over the timed steps."""
        seconds, rays, points = (sum(column) / len(column) for column in zip(*self.times[twin]))
        return {"step_seconds": seconds, "rays": rays, "samples": points, "steps": len(self.times[twin])}


def memory_now() -> float:
    """The most memory that this process has held until now [MB]."""
    status = Path("/proc/self/status")
    if status.is_file():  # a child's ru_maxrss begins at its parent's
        return int(re.findall(r"VmHWM:\s+(\d+)", status.read_text())[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def plain_torch() -> Iterator[None]:
    """Replaces the compiled kernels by their definitions."""
    from foreseen.nn.voxels import VoxelGrids
    from foreseen.render import marching

    kept = VoxelGrids.compiled, marching.composite
    VoxelGrids.compiled, marching.composite = (lambda *_: False), marching.composite_reference  # type: ignore
    try:
        yield
    finally:
        VoxelGrids.compiled, marching.composite = kept  # type: ignore[method-assign]


def work_off(job: Job, work: Path, answer: Path) -> None:
    """The job, in the process that was started for it."""
    import shutil

    import foreseen as package
    from foreseen.render import renderer_for
    from foreseen.scenes import ComposedField, RadianceField, VoxelScene
    from foreseen.training.trainer import Trainer

    watch = Stopwatch(job, Trainer._take_step)

    def counted(renderer: Callable[..., Any]) -> Callable[..., Any]:
        def render(*words: Any, **named: Any) -> Any:
            result = renderer(*words, **named)
            watch.points += result.samples
            return result

        return render

    for kind in (RadianceField, ComposedField, VoxelScene):
        renderer = renderer_for(kind)
        renderer.render_rays = counted(renderer.render_rays)  # type: ignore[method-assign]
    Trainer._take_step = lambda trainer, say_line: watch(trainer, say_line)  # type: ignore[method-assign]
    folder = work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(Measured):
        package.train(
            job.method,
            job.data,
            folder,
            preset=job.preset,
            overrides=job.overrides,
            max_steps=1_000_000,
            save_every_seconds=None,
            device="cpu",
        )
    shutil.rmtree(folder, ignore_errors=True)
    found: dict[str, Any] = {**watch.result(False), "peak_mb": watch.peak_mb}
    if watch.times[True]:
        found["twin"] = {**watch.result(True), "peak_mb": memory_now()}
    write_text(answer, json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER]:
        work_off(Job(**json.loads(sys.argv[2])), Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        tyro.cli(main)
