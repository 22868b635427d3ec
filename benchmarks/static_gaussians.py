"""A textured scene at rest, seen by 100 cameras: PSNR of views that were held out, after five minutes.

    python benchmarks/static_gaussians.py --minutes 5

The scene (a checkered table with solids on it, shadows, before a plain background) is drawn by the ray caster.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tyro

from common import RESULTS, WORK, Clock, Contestant, evaluate, pooled, provenance, publish, say, table, train
from foreseen.data.writer import DatasetWriter, WrittenFrame
from foreseen.geometry.cameras import Camera
from foreseen.simulate.camera_rig import CameraRig
from foreseen.simulate.raycast import cast
from foreseen.simulate.scene import Box, Capsule, Material, Solid, Sphere, Stage

BOUNDS = np.array([[-1.7, -1.7, -0.3], [1.7, 1.7, 1.5]])
RIG = CameraRig(target=(0.0, 0.0, 0.3), distance=5.0, arc_degrees=180.0, elevation=(8.0, 75.0), width=3.6)
EVERY = 11
"""Of so many cameras one is held out."""


def main(
    minutes: float = 5.0,
    methods: tuple[str, ...] = ("gaussians:fast",),
    views: int = 100,
    size: int = 400,
    seed: int = 0,
    work: Path = WORK / "static_gaussians",
    results: Path = RESULTS,
) -> None:
    """Draw the scene, train, evaluate, and write the table.

    Args:
        minutes: Of training.
        methods: METHOD:PRESET each.
        views: Training cameras.
        size: Width and height of the pictures [pixels].
        seed: Of the cameras' places and of the training.
        work: Where data and runs lie; what is finished there is not done again.
        results: Where the table goes.
    """
    clock = Clock(work / "seconds.txt")
    data = work / f"scene-{views}-{size}-{seed}"
    if not data.is_dir():
        draw(data, views, size, seed)
    found: dict[str, Any] = {}
    for who in map(Contestant.parse, methods):
        run = work / f"{who.method}-{who.preset}-{minutes:g}min-{views}-{size}-{seed}"
        train(who, data, run, seed=seed, minutes=minutes)
        found[str(who)] = evaluate(run, "all")
        publish(
            "static_gaussians",
            "A textured scene at rest",
            page(found, minutes, views),
            provenance(clock.seconds(), [seed]),
            found,
            results,
        )


def draw(out: Path, views: int, size: int, seed: int) -> None:
    """Writes the data set."""
    scene, rng = stage(), np.random.default_rng(seed)
    total = views + views // (EVERY - 1)
    say(f"drawing {total} pictures of {size} x {size}")
    with DatasetWriter(out, near=2.0, far=8.0, bounds=BOUNDS, background=(1, 1, 1)) as writer:
        writer.add_sequence("still")
        for i in range(total):
            camera: Camera = RIG.random_camera(rng, size)
            picture = cast(scene, camera, None).image(alpha=True)
            held = i % EVERY == EVERY // 2
            split, time = "test" if held else "train", i / (total - 1)  # as if one camera walked around
            writer.add_frame("still", WrittenFrame(camera, f"view-{i:03d}", time, picture, split))


def stage() -> Stage:
    """What stands on the table."""
    wood, cream = (0.45, 0.24, 0.10), (0.80, 0.72, 0.55)
    red, blue, green, grey = (0.7, 0.06, 0.05), (0.05, 0.12, 0.6), (0.06, 0.45, 0.12), (0.35, 0.35, 0.38)
    rotation = _about_z(35.0)
    solids: list[Solid] = [
        Box(Material(wood, cream, 0.25), position=(0, 0, -0.1), half_extents=(1.5, 1.5, 0.1)),
        Sphere(Material(red, cream, 0.15), position=(0.5, -0.4, 0.45), radius=0.45),
        Box(Material(blue, cream, 0.2), position=(-0.6, 0.1, 0.35), rotation=rotation, half_extents=(0.35, 0.35, 0.35)),
        Sphere(Material(green), position=(-0.6, 0.1, 0.95), radius=0.25),
        Capsule(Material(grey, red, 0.12), position=(0.4, 0.7, 0.55), radius=0.18, half_length=0.37),
        Sphere(Material(cream, blue, 0.08), position=(-0.5, -0.9, 0.2), radius=0.2),
        Box(
            Material(green, grey, 0.1),
            position=(1.1, 0.6, 0.15),
            rotation=_about_z(-20.0),
            half_extents=(0.15, 0.3, 0.15),
        ),
    ]
    return Stage(tuple(solids))


def _about_z(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def page(found: dict[str, dict[str, Any]], minutes: float, views: int) -> str:
    """The text with the table."""
    first = next(iter(found.values()))
    size = first["protocol"]["image_size"]
    counts = ", ".join(f"{split} {entry['count']}" for split, entry in first["splits"].items())
    rows = []
    for who, metrics in found.items():
        splits = list(metrics["splits"].values())
        scores = [pooled(splits, metric) for metric in ("psnr", "ssim", "render_seconds")]
        rows.append([who, *scores, metrics["step"], metrics["step"] / metrics["train_seconds"]])
    heads = ["", "PSNR [dB]", "SSIM", "seconds to render a frame", "steps", "steps a second"]
    return (
        f"{views} training views, {size[0]} x {size[1]} pixels, {minutes:g} minutes of training. "
        f"Scored: views that were held out ({counts}). Aim: above 35 dB.\n\n{table(heads, rows)}"
    )


if __name__ == "__main__":
    tyro.cli(main)
