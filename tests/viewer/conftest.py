"""Runs of every kind of scene, which are trained for a moment."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from foreseen.dynamics.config import DynamicsConfig
from foreseen.methods.rigid_ode.config import SharedDynamicsConfig
from foreseen.runs import Run
from foreseen.simulate import simulate
from foreseen.simulate.options import SimulateOptions
from foreseen.splatting.config import CloudConfig
from foreseen.training import train
from light_dynamics import LIGHT

SWING = SimulateOptions(frames=12, cameras=4, size=32, background="plain", sequences=1, samples=1)
BALL = SimulateOptions(frames=14, cameras=4, size=40, background="plain", sequences=3, unseen=1, samples=1)
DYNAMICS = DynamicsConfig(**LIGHT, fit_at=(0.5,))
PACKED = {"rays": 512, "samples": 8192, "grid_resolution": 16}
VOXELS = {**PACKED, "part_levels": (4, 8), "static_levels": (4, 8), "voxel_lr": 0.1}
FIELD = {"samples": 8, "importance_samples": 8, "position_levels": 3, "direction_levels": 2, "layers": 3, "skip": 1}
CLOUD = CloudConfig(budget=300, degree=1, start_points=200, start_scale=2.0)
KINDS: dict[str, tuple[str, str, int, dict[str, Any]]] = {
    "voxels": ("rigid-ode", "fast", 16, {**VOXELS, "dynamics": DYNAMICS}),
    "composed": ("d-nerf", "fast", 80, {**PACKED, "levels": (4, 8), "width": 16, "voxel_lr": 0.1, "network_lr": 0.01}),
    "field": ("d-nerf", "paper", 150, {**FIELD, "rays": 64, "width": 16, "lr": 0.02, "lr_final": 0.01}),
    "gaussians": ("rigid-ode", "gaussians", 16, {"cloud": CLOUD, "dynamics": DYNAMICS}),
    "multi_sequence": (
        "rigid-ode",
        "fast",
        16,
        {**VOXELS, "multi_sequence": SharedDynamicsConfig(widths=(12,), ensemble_size=2, shooting_lengths=(0.2,))},
    ),
}
"""Method, preset, steps and settings of each run; "many" learns several sequences."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """The run of a kind, which is trained when it is first asked for. Its data: a pendulum, or a ball in a bowl."""
    folder = tmp_path_factory.mktemp("runs")

    @cache
    def data(scenario: str) -> Path:
        simulate(scenario, folder / scenario, SWING if scenario == "pendulum" else BALL)
        return folder / scenario

    @cache
    def run(system: str) -> Run:
        method, preset, steps, settings = KINDS[system]
        scene = data("oscillating-ball" if system == "multi_sequence" else "pendulum")
        return train(
            method,
            scene,
            folder / system,
            preset=preset,
            overrides=settings,
            max_steps=steps,
            save_every_steps=steps // 2,
            device="cpu",
            progress=False,
        )

    return run
