"""The methods whose scene is a cloud: they learn what a tiny film shows, at rest and moving."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from changed_info import changed
from foreseen.batches.images import ImageSampler
from foreseen.cli import main
from foreseen.core.capabilities import layer_of
from foreseen.core.method import scene_at
from foreseen.core.observation import Observation
from foreseen.core.scene_info import SceneInfo
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.methods import METHODS
from foreseen.methods.deformable_gaussians.config import DeformableGaussiansConfig
from foreseen.methods.deformable_gaussians.model import DeformableGaussians
from foreseen.methods.gaussians.config import GaussiansConfig
from foreseen.render import render
from foreseen.scenes.gaussians import Gaussians
from foreseen.splatting.config import CloudConfig, PlanesConfig, WarmUpConfig
from foreseen.splatting.method import DEFORMING, STATIC, DeformingCloudMethod, GaussianMethod
from foreseen.splatting.planes import PlaneDeformation, plane_losses
from moving_balls import RIGHT, camera, frames, info, picture
from render_training_clip import fit, psnr

TIMES = tuple(2.0 + i / 11 for i in range(12))
"""The window does not begin at 0."""
PATH = RIGHT[0]
"""By the share of the window."""
STILL = (lambda t: (0.2, -0.1, 0.3), 0.8)
CLOUD = CloudConfig(
    budget=400, degree=0, start_points=150, start_opacity=0.5, refine_every=20, refine_from=40, reset_every=0,
    means_lr=2e-3, means_lr_final=2e-4, color_lr=2e-2, opacity_lr=1e-2,
)  # fmt: skip
MOVING: dict[str, Any] = {
    "deformable-gaussians": DeformableGaussiansConfig(
        CLOUD, width=32, layers=2, skip=None, position_levels=1, time_levels=3, time_features=0, time_noise=0.0,
        warm_up=WarmUpConfig(guidance_share=0.6, hull_only_share=0.4), lr=5e-3,
    ),
    "4d-gaussians": PlanesConfig(
        CLOUD, nodes=8, time_nodes=12, channels=8, width=32, planes_lr=5e-2, network_lr=1e-2, network_lr_final=1e-3,
        warm_up=WarmUpConfig(guidance_share=0.6, hull_only_share=0.4),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    return frames(tmp_path_factory.mktemp("moving"), [(PATH, 0.35)], TIMES)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    return frames(tmp_path_factory.mktemp("still"), [STILL], TIMES)


def new(name: str, config: Any, scene: SceneInfo | None = None) -> GaussianMethod:
    torch.manual_seed(0)
    method = METHODS[name].load()(config, scene or info(TIMES))
    assert isinstance(method, GaussianMethod)
    return method


@pytest.mark.parametrize("strategy", ["adaptive", "mcmc"])
def test_a_ball_at_rest_is_learned(strategy: Any, still: list[Frame]) -> None:
    method = new("gaussians", GaussiansConfig(replace(CLOUD, strategy=strategy, opacity_lr=5e-2, noise=1e3)))
    fit(method, still, 150)
    white = -10 * float(torch.stack([(1 - f.image()).square().mean() for f in still]).mean().log10())
    assert psnr(method, still) > white + 3
    scene = scene_at(method, 2.5)
    assert isinstance(scene, Gaussians) and len(scene.means) <= 400
    unseen = camera(0.15, height=0.8, size=24)
    truth = torch.from_numpy(picture(unseen, [STILL], 0.0)).float()
    error = (render(scene, unseen).rgb - truth).square().mean()
    assert error < 0.5 * (1 - truth).square().mean()
    assert torch.equal(scene.means, scene_at(method, 77.0).means)


@pytest.mark.parametrize("name", sorted(MOVING))
def test_a_ball_that_crosses_the_picture_is_followed(name: str, moving: list[Frame]) -> None:
    """It crosses many times its own size, and only one camera sees it at a time."""
    method = new(name, MOVING[name])
    fit(method, moving, 300)
    white = -10 * float(torch.stack([(1 - f.image()).square().mean() for f in moving]).mean().log10())
    assert psnr(method, moving) > white + 1
    for time in (2.1, 2.5, 2.9):
        scene = scene_at(method, time)
        assert isinstance(scene, Gaussians)
        centre = (scene.means * scene.opacities[:, None]).sum(0) / scene.opacities.sum()
        assert (centre - torch.tensor(PATH(time - 2)).float()).norm() < 0.5, time


def test_gaussians_that_go_nowhere_are_at_rest(moving: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    method = new("deformable-gaussians", MOVING["deformable-gaussians"])
    method.warm_start(moving, [None])
    method.eval()
    every, far = len(method.cloud), 0.05 * method.extent

    def deformed(canonical: Gaussians, normalized_time: float) -> Gaussians:
        there = torch.zeros_like(canonical.means)
        there[: every // 3, 0] = normalized_time * far
        there[every // 3 :, 1] = normalized_time * 0.1 * far  # it shakes a little
        return replace(canonical, means=canonical.means + there)

    monkeypatch.setattr(method, "deformed", deformed)
    state = method.evolve(method.observe(Observation()), torch.tensor(3.0))
    still, going = (method.layer(state, which) for which in ("static", "dynamic"))
    assert isinstance(still, Gaussians) and isinstance(going, Gaussians)
    assert len(going.means) == every // 3 and len(still.means) == every - every // 3
    torch.testing.assert_close(going.means[:, 0], method.cloud.means[: every // 3, 0] + far)
    monkeypatch.setattr(method, "deformed", lambda canonical, normalized_time: canonical)
    assert len(method.layer(state, "dynamic").means) == every // 3  # what was found is kept,
    method.before_step(5, 0.5)
    assert len(method.layer(state, "dynamic").means) == 0  # until training goes on
    assert layer_of(new("gaussians", GaussiansConfig(CLOUD)), state, "dynamic") is None


@pytest.mark.parametrize("name", sorted(MOVING))
def test_as_published_nothing_moves_before_the_warm_up_is_over(name: str, moving: list[Frame]) -> None:
    config = replace(MOVING[name], warm_up=WarmUpConfig(steps=5, share=0.5))
    method = new(name, config)
    assert isinstance(method, DeformingCloudMethod) and method.warm_start(moving, [None])
    with torch.no_grad():
        for parameter in method.deformation.parameters():  # type: ignore[union-attr]
            parameter.add_(0.3 * torch.rand_like(parameter))  # a constant would be the same at all times

    def apart(step: int) -> float:
        method.before_step(step, step / 100)
        return float((scene_at(method, 2.0).means - scene_at(method, 2.9).means).detach().abs().max())

    method.train()
    assert apart(4) == 0 and apart(5) > 1e-4
    method.eval()
    assert apart(4) > 1e-4, "a picture is always of what was learned"


def test_nothing_is_displaced_much_before_a_network_has_learned() -> None:
    for name, config in MOVING.items():
        method = new(name, config)
        method.cloud.add_points(torch.rand(50, 3), torch.rand(50, 3), torch.full((50,), 0.1), 0.5)
        canonical, seen = method.canonical(), scene_at(method, 2.6)
        assert (seen.means - canonical.means).norm(dim=-1).max() < 0.02 * method.extent
        torch.testing.assert_close(seen.scales, canonical.scales, atol=0.02, rtol=0)


@pytest.mark.parametrize("name", sorted(MOVING))
def test_scales_can_come_back_from_a_network_that_overshoots(name: str) -> None:
    method = new(name, MOVING[name])
    method.cloud.add_points(torch.rand(50, 3), torch.rand(50, 3), torch.full((50,), 0.1), 0.5)
    with torch.no_grad():
        for parameter in method.deformation.parameters():  # type: ignore[union-attr]
            parameter.sub_(0.5)
    seen = scene_at(method, 2.6).scales
    assert (seen > 1e-4).all()
    seen.sum().backward()
    assert any(p.grad is not None and (p.grad != 0).any() for p in method.deformation.parameters())  # type: ignore[union-attr]


@pytest.mark.parametrize("name", sorted(MOVING))
def test_what_is_known_to_rest_is_neither_displaced_nor_led(name: str, moving: list[Frame]) -> None:
    method = new(name, MOVING[name])
    assert isinstance(method, DeformingCloudMethod) and method.warm_start(moving, [None])
    points, moves = torch.rand(50, 3), torch.arange(50) < 20
    method.cloud.clear()
    for some, part_id in ((points[moves], DEFORMING), (points[~moves], STATIC)):
        method.cloud.add_points(some, torch.rand(len(some), 3), torch.full((len(some),), 0.1), 0.5, part_id)
    with torch.no_grad():
        for parameter in method.deformation.parameters():  # type: ignore[union-attr]
            parameter.add_(0.1)
    apply_changes = (scene_at(method, 2.6).means != points).any(1)
    assert torch.equal(apply_changes, moves)
    method.train()
    method.before_step(1, 0.0)
    method.losses(ImageSampler(moving, ["balls"], method.info, seed=0).batch(method.batch_spec(0), 0), 1)[
        "hull_guidance"
    ].backward()
    led = method.cloud.means.grad[:50].any(1)  # type: ignore[index]
    assert led.any() and not (led & ~moves).any()


def test_harmonics_join_degree_by_degree() -> None:
    method = new("gaussians", GaussiansConfig(replace(CLOUD, degree=3, degree_steps=10, degree_share=0.4)))
    method.cloud.add_points(torch.rand(5, 3), torch.rand(5, 3), torch.full((5,), 0.1), 0.5)
    method.train()
    counts = []
    for step, progress in ((0, 0.0), (10, 0.01), (11, 0.41), (12, 0.8), (30, 0.8)):
        method.before_step(step, progress)
        counts.append(method.canonical().harmonics.shape[1])
    assert counts == [1, 4, 4, 9, 16]
    assert method.eval().canonical().harmonics.shape[1] == 16


def test_times_are_shaken_at_first_only(moving: list[Frame]) -> None:
    method = new("deformable-gaussians", replace(MOVING["deformable-gaussians"], time_noise=0.5))
    assert isinstance(method, DeformableGaussians)
    batch = ImageSampler(moving, ["balls"], method.info, seed=0).batch(replace(method.batch_spec(0), images=200), 0)
    method.before_step(0, 0.0)
    shift = method._add_time_noise(batch).times - batch.times
    assert 0.35 / 11 < float(shift.std()) < 0.65 / 11
    method.before_step(1, 0.5)
    assert method._add_time_noise(batch) is batch


def test_plane_losses_see_what_is_rough_and_pass_what_is_smooth() -> None:
    planes = PlaneDeformation(PlanesConfig(nodes=6, time_nodes=5, channels=2, scales=(1,))).planes
    with torch.no_grad():
        planes.data.fill_(1.0)
    assert all(float(v) == 0 for v in plane_losses(planes, 1.0, 1.0, 1.0).values())
    with torch.no_grad():
        planes.plane(0, 3).copy_(torch.linspace(0, 4, 5)[None, :, None, None])  # along time, steadily
    found = plane_losses(planes, 1.0, 1.0, 1.0)
    assert found["jerk"] < 1e-10 < found["time_identity"] and found["tv"] == 0
    with torch.no_grad():
        planes.plane(0, 3)[:, 2] += 1
        planes.plane(0, 0)[:, :, 2] += 1
    found = plane_losses(planes, 1.0, 1.0, 1.0)
    assert found["jerk"] > 0.1 and found["tv"] > 0.1


@pytest.mark.parametrize("name", ["gaussians", *sorted(MOVING)])
def test_data_that_one_cloud_cannot_show_is_refused(name: str) -> None:
    config = METHODS[name].load_presets()["fast"]
    config = replace(config, cloud=replace(config.cloud, budget=10))
    several = changed(info(TIMES), times=(TIMES, TIMES))
    with pytest.raises(UserError, match=f"{name} learns one sequence, and the data set has 2"):
        new(name, config, several)
    with pytest.raises(UserError, match="normalised device coordinates"):
        new(name, config, replace(info(TIMES), ndc=True))
    with pytest.raises(UserError, match="there is no sequence 3"):
        new(name, config).observe(Observation(sequence=3))


def test_silhouettes_that_were_asked_for_and_tell_nothing(tmp_path: Path) -> None:
    noisy, rng = frames(tmp_path, [(PATH, 0.35)], TIMES[:3]), np.random.default_rng(0)
    for frame in noisy:
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(frame.image_path)
    config = replace(MOVING["deformable-gaussians"], cloud=replace(CLOUD, start="silhouettes"))
    with pytest.raises(UserError, match="there are no silhouettes here"):
        new("deformable-gaussians", config, info(TIMES[:3])).warm_start(noisy, [None])


def test_a_run_is_exported(tmp_path: Path) -> None:
    """As a user types it: train, export at one time and in the 4D form, and read both again."""
    from foreseen.scenes.files import read_splats
    from foreseen.scenes.moving_gaussians import MovingGaussians
    from foreseen.simulate import simulate
    from foreseen.simulate.options import SimulateOptions

    data, run = tmp_path / "data", tmp_path / "run"
    simulate(
        "pendulum", data, SimulateOptions(frames=6, cameras=3, size=24, background="plain", sequences=1, samples=1)
    )
    words = [f"--cloud.{k}={v}" for k, v in {"budget": 60, "start-points": 40}.items()]
    train = ["train", "deformable-gaussians", "--data", str(data), "--out", str(run), "--max-steps", "3", *words]
    main([*train, "--warm-up.hull-only-steps=1", "--device", "cpu"])
    for format, name in (("ply", "a.ply"), ("4d", "a.safetensors")):
        times = ["--times", "0:0:1"] if format == "ply" else []
        main(["export", str(run), "--format", format, "--out", str(tmp_path / name), *times])
    assert isinstance(read_splats(tmp_path / "a.ply").scene, Gaussians)
    moving = read_splats(tmp_path / "a.safetensors").scene
    assert isinstance(moving, MovingGaussians) and "means" in moving.tracks
    assert len(moving.first.means) <= 60


def test_a_scene_at_rest_is_exported_without_a_time(tmp_path: Path) -> None:
    """It is the same at all times, and one file holds it."""
    from foreseen.scenes.files import read_splats
    from foreseen.simulate import simulate
    from foreseen.simulate.options import SimulateOptions

    data, run = tmp_path / "data", tmp_path / "run"
    simulate(
        "pendulum", data, SimulateOptions(frames=4, cameras=2, size=24, background="plain", sequences=1, samples=1)
    )
    words = ["--cloud.budget=60", "--cloud.start-points=40", "--max-steps=2", "--device=cpu"]
    main(["train", "gaussians", "--data", str(data), "--out", str(run), *words])
    main(["export", str(run), "--format", "ply", "--out", str(tmp_path / "a.ply")])
    assert isinstance(read_splats(tmp_path / "a.ply").scene, Gaussians)
    with pytest.raises(SystemExit):
        main(["export", str(run), "--format", "4d", "--out", str(tmp_path / "a.safetensors")])
