"""Every method goes on from a checkpoint as if it had never stopped."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from foreseen.dynamics.config import DynamicsConfig
from foreseen.methods.rigid_ode.config import SharedDynamicsConfig
from foreseen.reconstruction.ball_configs import SphereConfig
from foreseen.reconstruction.config import ReconstructionConfig
from foreseen.runs import load_run
from foreseen.runs.checkpoints import list_checkpoints
from foreseen.simulate import simulate
from foreseen.simulate.options import SimulateOptions
from foreseen.splatting.config import CloudConfig, WarmUpConfig
from foreseen.training import train
from light_dynamics import LIGHT

FIELD = {"rays": 16, "samples": 8, "importance_samples": 8, "position_levels": 3, "direction_levels": 2}
PACKED = {"rays": 128, "samples": 2048, "width": 16, "grid_resolution": 12, "refresh_every": 2}
CLOUD = CloudConfig(
    budget=300, degree=1, start_points=200, start_scale=2.0, refine_every=2, refine_from=3, refine_until=0.8,
    grow_gradient=1e-6, reset_every=6, prune_opacity=0.01,
)  # fmt: skip
GAUSSIANS: dict[str, dict[str, Any]] = {
    "gaussians": {},
    "deformable-gaussians": {"width": 16, "layers": 3, "skip": 1, "warm_up": WarmUpConfig(steps=4)},
    "4d-gaussians": {"nodes": 4, "time_nodes": 4, "channels": 4, "width": 8, "warm_up": WarmUpConfig(steps=4)},
}
RECONSTRUCTION = ReconstructionConfig(spheres=SphereConfig(max_pixels=3000, first_iterations=30, iterations=60))
SMALL: dict[tuple[str, str], dict[str, Any]] = {
    ("node-rf", "paper"): {**FIELD, "field_width": 16, "field_layers": 3, "field_skip": 1, "code_width": 8},
    ("d-nerf", "paper"): {**FIELD, "width": 16, "layers": 3, "skip": 1},
    ("rigid-ode", "fast"): {
        **PACKED,
        "plane_rays": 128,
        "plane_samples": 2048,
        "plane_resolutions": (8,),
        "part_levels": (4, 8),
        "static_levels": (4, 8),
        "static_samples": 32,
        "dynamics": DynamicsConfig(**LIGHT, fit_at=(0.5, 0.95)),
        "reconstruction": RECONSTRUCTION,
    },
    ("d-nerf", "fast"): {**PACKED, "levels": (4, 8), "ray_steps": 32},
    ("gaussian-ode", "fast"): {
        **GAUSSIANS["4d-gaussians"],
        "cloud": CLOUD,
        "dynamics": DynamicsConfig(**LIGHT, fit_at=(0.5, 1.0)),
    },
    **{(name, preset): {"cloud": CLOUD, **more} for name, more in GAUSSIANS.items() for preset in ("fast", "paper")},
}


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bit for bit; a misfit that was never measured is not a number in both."""
    return torch.equal(a.nan_to_num(), b.nan_to_num())


@pytest.mark.parametrize(("method", "preset"), sorted(SMALL))
def test_going_on_is_exact(method: str, preset: str, blender_data: Path, tmp_path: Path) -> None:
    check_going_on(method, preset, blender_data, tmp_path)


def test_going_on_with_moving_parts_and_a_law_is_exact(tmp_path: Path) -> None:
    """With as many threads as there are: what they sum is summed in a fixed order."""
    options = SimulateOptions(frames=12, cameras=4, size=32, background="plain", sequences=1, samples=1)
    simulate("pendulum", tmp_path / "data", options)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        state = check_going_on("rigid-ode", "fast", tmp_path / "data", tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert len(state["parts.half_extents"]) > 0 and state["motion.initial_states"].isfinite().all()
    assert state["fit_stage"] == 2, "the last fit is not missed"


def test_going_on_with_parts_made_of_gaussians_is_exact(tmp_path: Path) -> None:
    """With their shadows, and Gaussians that come and go."""
    options = SimulateOptions(frames=12, cameras=4, size=32, background="plain", sequences=1, samples=1)
    simulate("oscillating-ball", tmp_path / "data", options)
    changes = {"cloud": CLOUD, "dynamics": DynamicsConfig(**LIGHT, fit_at=(0.5,))}
    state = check_going_on("rigid-ode", "gaussians", tmp_path / "data", tmp_path, changes)
    assert len(state["parts.half_extents"]) > 0 and state["appearance.cloud.count"] != CLOUD.start_points
    assert state["fit_stage"] == 1


def test_going_on_with_several_sequences_is_exact(tmp_path: Path) -> None:
    """What is known of the bodies comes from the checkpoint."""
    options = SimulateOptions(frames=8, cameras=1, size=16, sequences=2, samples=1)
    simulate("oscillating-ball", tmp_path / "data", options)
    state = check_going_on("node-rf", "paper", tmp_path / "data", tmp_path)
    assert state["labelled_motion.positions"].any()


def test_going_on_with_a_law_of_several_sequences_is_exact(tmp_path: Path) -> None:
    """From poses that truth tells, of which the law is known at the start; and from silhouettes, by fits on the way."""
    options = SimulateOptions(frames=14, cameras=4, size=40, background="plain", sequences=2, samples=1)
    simulate("oscillating-ball", tmp_path / "data", options)
    for labels in ("auto", "never"):
        many = SharedDynamicsConfig(**LIGHT, labels=labels)
        changes = {**SMALL["rigid-ode", "fast"], "multi_sequence": many}
        state = check_going_on("rigid-ode", "fast", tmp_path / "data", tmp_path / labels, changes)
        assert state["dynamics_models.0.ensemble_weights"].any() and state["fit_stage"] == 2
        assert bool(state["exact_poses"]) == (labels == "auto")


def test_going_on_with_gaussians_that_follow_hulls_is_exact(tmp_path: Path) -> None:
    """Hulls and what was seen on the screen come from the checkpoint; Gaussians are moved and shaken as drawn."""
    options = SimulateOptions(frames=12, cameras=4, size=32, background="plain", sequences=1, samples=1)
    simulate("pendulum", tmp_path / "data", options)
    cloud = replace(CLOUD, strategy="mcmc", growth=1.2, start_points=100)
    changes = {
        **GAUSSIANS["deformable-gaussians"],
        "cloud": cloud,
        "warm_up": WarmUpConfig(guidance_share=0.8, hull_only_steps=3),
    }
    state = check_going_on("deformable-gaussians", "fast", tmp_path / "data", tmp_path, changes)
    assert state["hull_guidance.num_times"] > 0 and state["cloud.count"] > 100


def check_going_on(
    method: str, preset: str, data: Path, tmp_path: Path, changes: dict[str, Any] | None = None
) -> dict[str, torch.Tensor]:
    """Trains 16 steps, and again from the checkpoint of the 9th; returns the state that both have reached."""

    def fit(out: Path) -> dict[str, torch.Tensor]:
        run = train(
            method,
            data,
            out,
            preset=preset,
            overrides=changes or SMALL[method, preset],
            max_steps=16,
            save_every_steps=9,
            device="cpu",
            progress=False,
        )
        return {name: value.clone() for name, value in run.method.state_dict().items()}

    whole = fit(tmp_path / "run")
    for step, folder in list_checkpoints(tmp_path / "run"):
        if step != 9:
            shutil.rmtree(folder)
    assert [step for step, _ in list_checkpoints(tmp_path / "run")] == [9], "else it would begin again"
    torch.manual_seed(1)
    parts = fit(tmp_path / "run")
    assert whole.keys() == parts.keys()
    assert [name for name in whole if not same(whole[name], parts[name])] == []
    loaded = load_run(tmp_path / "run")
    camera = next(loaded.dataset().frames).camera
    first, second = (loaded.render(camera, 0.3).rgb for _ in range(2))
    assert torch.equal(first, second) and bool(torch.isfinite(first).all())
    return whole
