"""Speed and memory of splatting, beside the plain-torch twin in the same run.

    python benchmarks/splat_speed.py

Each workload is a process of its own; the page says how they are drawn. Kernels and twin take
turns, so that other work on the machine slows both.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from common import RESULTS, WORK, Clock, provenance, publish, say, table

WORKER = "--worker"


@dataclass(frozen=True)
class Workload:
    """Attributes:
    count: Gaussians.
    size: width and height of the picture [pixels].
    sigma: median standard deviation [pixels].
    twin: the plain-torch twin is measured, too.
    """

    name: str
    count: int
    size: int
    sigma: float
    twin: bool


WORKLOADS = (
    Workload("W1", 5_000, 200, 3.1, True),
    Workload("W2", 50_000, 400, 2.3, True),
    Workload("W3", 200_000, 800, 2.3, False),
)
LEAVES = ("means", "quaternions", "scales", "opacities", "harmonics")


def main(
    repeats: int = 60,
    twin_repeats: int = 3,
    threads: tuple[int, ...] = (1, 2),
    work: Path = WORK / "splat_speed",
    results: Path = RESULTS,
) -> None:
    """Measure, and write the table.

    Args:
        repeats: Timed calls of the kernels, after three that warm up.
        twin_repeats: Timed calls of the twin.
        threads: Numbers of threads to measure with; the twin runs with the last of them only.
        work: Where intermediate files lie.
        results: Where the table goes.
    """
    work.mkdir(parents=True, exist_ok=True)
    clock = Clock(work / "seconds.txt")
    found = [
        _run(load, many, repeats, twin_repeats if load.twin and many == threads[-1] else 0, work)
        for load in WORKLOADS
        for many in threads
    ]
    publish("splat_speed", "Splatting: speed and memory", page(found), provenance(clock.seconds(), [0]), found, results)


def _run(load: Workload, threads: int, repeats: int, twin_repeats: int, work: Path) -> dict[str, Any]:
    """One workload in a process of its own."""
    answer = work / "answer.json"
    job = {"load": dataclasses.asdict(load), "threads": threads, "repeats": repeats, "twin_repeats": twin_repeats}
    if subprocess.run([sys.executable, __file__, WORKER, json.dumps(job), str(answer)], check=False).returncode:
        sys.exit(f"{load.name} failed.")
    found = dict(json.loads(answer.read_text()))
    ms = found["milliseconds"]
    say(f"{load.name}, {threads} threads: " + ", ".join(f"{k} {statistics.median(v):.1f}" for k, v in ms.items()))
    return found


COLUMNS = {
    "forward": "forward",
    "both": "forward and backward",
    "kernels": "of it compositing, both ways",
    "step": "full step",
}


def page(found: list[dict[str, Any]]) -> str:
    """The text with the table."""
    rows = []
    for entry in found:
        ms = entry["milliseconds"]
        twin = statistics.median(ms["twin both"]) / statistics.median(ms["both"]) if "twin both" in ms else float("nan")
        rows.append(
            [
                f"{entry['name']}, {entry['threads']} threads",
                *(_spread(ms[key]) for key in COLUMNS),
                1000 / statistics.median(ms["step"]),
                *(_spread(ms.get(f"twin {key}", [])) for key in ("forward", "both")),
                twin,
                f"{entry['memory_mb']:,.0f}",
            ]
        )
    headings = [
        *("", *COLUMNS.values(), "full steps / s"),
        *("twin, forward", "twin, forward and backward", "twin / kernels", "memory [MB]"),
    ]
    many = ", ".join(f"{w.name} {w.count:,} Gaussians at {w.size} x {w.size}" for w in WORKLOADS)
    sizes = ", ".join(f"{w.sigma:g}" for w in WORKLOADS)
    return (
        f"{many}. Depth is uniform in 2 to 6, centres are uniform over the picture and 2% beyond, standard deviations "
        f"log-normal (0.45) about {sizes} pixels at that depth, rotations random, opacities sigmoid(1.5 n - 0.8) with "
        "n normal, colours uniform; the focal length is 1.1 times the width. Milliseconds, median and (fastest). "
        "Everything counts that a call does: projection, colours, sorting, tiles, compositing, and all gradients back "
        "to the scene's tensors. A full step is that with activations, L1 + SSIM and Adam. Memory: the most that the "
        "whole process has held after three times forward and backward, libraries included.\n\n" + table(headings, rows)
    )


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f})" if values else ""


def draw(load: Workload, seed: int = 0) -> tuple[Any, Any]:
    """Gaussians and camera of a workload."""
    import torch

    from foreseen.geometry.cameras import Camera
    from foreseen.scenes import Gaussians

    g = torch.Generator().manual_seed(seed)
    count, focal = load.count, 1.1 * load.size
    depth = 2 + 4 * torch.rand(count, 1, generator=g)
    places = (torch.rand(count, 2, generator=g) * 1.04 - 0.02) * load.size
    scene = Gaussians(
        means=torch.cat([(places - load.size / 2) / focal * depth, depth], dim=1),
        quaternions=torch.randn(count, 4, generator=g),
        scales=torch.exp(0.45 * torch.randn(count, 3, generator=g)) * load.sigma * depth / focal,
        opacities=torch.sigmoid(1.5 * torch.randn(count, generator=g) - 0.8),
        harmonics=(torch.rand(count, 1, 3, generator=g) - 0.5) / 0.28209479177387814,
        background=(1.0, 1.0, 1.0),
    )
    half = load.size / 2
    return scene, Camera(torch.eye(4), focal, focal, half, half, load.size, load.size, 0.0, 100.0)


def measure(load: Workload, threads: int, repeats: int, twin_repeats: int) -> dict[str, Any]:
    """Milliseconds of every repeat, by name."""
    import numba
    import torch

    from foreseen.render import splat as renderer

    torch.set_num_threads(threads)
    numba.set_num_threads(threads)
    scene, camera = draw(load)
    for name in LEAVES:
        getattr(scene, name).requires_grad_()
    pull = torch.randn(load.size, load.size, 3, generator=torch.Generator().manual_seed(1))
    times: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        value = work()
        times.setdefault(name, []).append(1000 * (time.perf_counter() - began))
        return value

    def both(prefix: str, render: Callable[[], Any]) -> None:
        began = time.perf_counter()
        rgb = timed(f"{prefix}forward", render)
        torch.autograd.backward(rgb, pull)
        times.setdefault(f"{prefix}both", []).append(1000 * (time.perf_counter() - began))
        for name in LEAVES:
            getattr(scene, name).grad = None

    def twin() -> Any:
        none, window = scene.means.new_zeros(load.count, 0), (0, 0, load.size, load.size)
        return renderer.splat_reference(scene, none, camera, window, torch.zeros(load.count, 2).requires_grad_())[0]

    for _ in range(3):  # the first compiles
        both("", lambda: renderer.splat(scene, camera).rgb)
    memory = memory_peak()
    step = Step(scene, camera)
    step()
    times.clear()
    with Stopwatch(renderer) as watch:
        for i in range(repeats):
            watch.total = 0.0
            both("", lambda: renderer.splat(scene, camera).rgb)
            times.setdefault("kernels", []).append(watch.total)
            timed("step", step)
            if i * twin_repeats // repeats < (i + 1) * twin_repeats // repeats:
                both("twin ", twin)
    return {"name": load.name, "threads": threads, "milliseconds": times, "memory_mb": memory}


class Stopwatch:
    """Time [ms] inside the two compositing kernels."""

    def __init__(self, renderer: Any) -> None:
        self.module, self.total = renderer.gaussian_raster, 0.0
        self.kept = self.module.draw, self.module.draw_backward

    def __enter__(self) -> Stopwatch:
        self.module.draw, self.module.draw_backward = (self._timed(kernel) for kernel in self.kept)
        return self

    def __exit__(self, *_: object) -> None:
        self.module.draw, self.module.draw_backward = self.kept

    def _timed(self, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> None:
            began = time.perf_counter()
            kernel(*arguments)
            self.total += 1000 * (time.perf_counter() - began)

        return call


class Step:
    """One step of optimisation as a training makes it: activations, picture, 0.8 L1 + 0.2 (1 - SSIM), Adam."""

    def __init__(self, scene: Any, camera: Any) -> None:
        import torch

        self.scene, self.camera = scene, camera
        values = [scene.means, scene.quaternions, scene.scales.log(), scene.opacities.logit(), scene.harmonics]
        self.values = [v.detach().clone().requires_grad_() for v in values]
        self.truth = torch.rand(camera.height, camera.width, 3, generator=torch.Generator().manual_seed(2))
        self.optimizer = torch.optim.Adam(self.values, lr=1e-4, fused=True)

    def __call__(self) -> None:
        from foreseen.nn.ssim import ssim
        from foreseen.render.splat import splat

        means, quaternions, scales, opacities, harmonics = self.values
        scene = dataclasses.replace(
            self.scene, means=means, quaternions=quaternions, scales=scales.exp(), opacities=opacities.sigmoid(),
            harmonics=harmonics,
        )  # fmt: skip
        rgb = splat(scene, self.camera).rgb
        loss = 0.8 * (rgb - self.truth).abs().mean() + 0.2 * (1 - ssim(rgb, self.truth))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


def memory_peak() -> float:
    """The most that this process has held so far [MB]."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    if WORKER in sys.argv:
        job = json.loads(sys.argv[-2])
        answer = measure(Workload(**job.pop("load")), **job)
        Path(sys.argv[-1]).write_text(json.dumps(answer))
    else:
        tyro.cli(main)
