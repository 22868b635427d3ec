"""A ball that swings at the end of a thread, one that slides on a bar, and what Node-RF's `fast` preset is told of
them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from changed_info import changed
from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.methods.rigid_ode.config import RigidODEConfig, SharedDynamicsConfig
from foreseen.simulate.equations import swing
from moving_balls import Ball, camera, info, picture

COUNT, STEP, FIRST, RADIUS = 16, 0.1, 2.3, 0.25
TIMES = tuple(round(FIRST + STEP * i, 3) for i in range(COUNT))
STARTS = {"a": (0.9, 0.5), "b": (-0.8, 0.0), "c": (0.5, -1.2)}
"""Angle and its rate of each sequence's swing at its first time."""
NEW = (-0.7, 0.6)
Law = Callable[[tuple[float, float], tuple[float, ...]], PoseLabels]
FAR_OFF: Ball = (lambda _: (0.0, 900.0, 0.0), 0.1)
DYNAMICS = SharedDynamicsConfig(widths=(24,), ensemble_size=2)
SMALL = replace(
    RigidODEConfig(),
    rays=256,
    samples=8192,
    part_levels=(6, 16),
    static_levels=(6, 16),
    part_samples=16,
    static_samples=32,
    grid_resolution=16,
    refresh_every=4,
    multi_sequence=DYNAMICS,
)


def swung(start: tuple[float, float], times: tuple[float, ...]) -> PoseLabels:
    """A ball at the end of a thread, 1.2 long: on a circle in the plane z = 0.2, from the time `FIRST` on."""
    since = np.array(times) - FIRST
    grid = np.unique(np.concatenate([[0.0, 9.0], since]))
    a, rate = (x[np.searchsorted(grid, since)] for x in swing(*start, grid, gravity=14.0, length=1.2, damping=0.2))
    level, still = np.full_like(a, 0.2), np.zeros_like(a)
    places = np.stack([1.2 * np.sin(a), 0.6 - 1.2 * np.cos(a), level], -1)
    return told(times, places, np.stack([1.2 * np.cos(a) * rate, 1.2 * np.sin(a) * rate, still], -1))


def slid(start: tuple[float, float], times: tuple[float, ...]) -> PoseLabels:
    """A ball on a spring along the bar y = 1.1, z = 0.2: its place and speed at the time `FIRST`."""
    phase, velocity_scale = 2.5 * (np.array(times) - FIRST), 2.5
    x = start[0] * np.cos(phase) + start[1] / velocity_scale * np.sin(phase)
    v = start[1] * np.cos(phase) - start[0] * velocity_scale * np.sin(phase)
    still = np.zeros_like(x)
    return told(times, np.stack([x, still + 1.1, still + 0.2], -1), np.stack([v, still, still], -1))


def told(times: tuple[float, ...], places: np.ndarray, speeds: np.ndarray) -> PoseLabels:
    """Of one ball that does not turn."""
    upright = torch.eye(3, dtype=torch.float64).expand(len(times), 1, 3, 3)
    moves = (torch.from_numpy(x)[:, None] for x in (places, speeds))
    return PoseLabels(("ball",), torch.tensor(times, dtype=torch.float64), *moves, upright)


def captured(
    folder: Path,
    name: str,
    start: tuple[float, float],
    times: tuple[float, ...],
    dynamics: Law = swung,
    radius: float = RADIUS,
    colour: int = 0,
) -> list[Frame]:
    """Pictures of one sequence by four fixed cameras."""
    found = []
    for t in times:
        place = tuple(dynamics(start, (t,)).positions[0, 0].tolist())
        for i in range(4):
            at = camera(2 * i / 3 - 1, height=0.5 + 0.5 * (i % 3), size=64)
            path = folder / f"{name}-{i}-{t:.3f}.png"
            ball: Ball = (lambda _, p=place: p, radius)  # type: ignore[misc]
            image = picture(at, [*[FAR_OFF] * colour, ball], t)
            Image.fromarray((255 * image).round().astype(np.uint8)).save(path)
            found.append(Frame(name, at, str(i), t, path))
    return found


def about(names: str = "abc", **changes: object) -> SceneInfo:
    """What the method knows of them."""
    return changed(info(TIMES), **({"times": (TIMES,) * len(names), "names": tuple(names)} | changes))
