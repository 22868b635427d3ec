"""D-NeRF, `paper` preset: canonical time, shapes, curriculum, and that it learns."""

import math
from dataclasses import replace

import pytest
import torch

from foreseen.batches.rays import RayBatch
from foreseen.core.method import scene_at
from foreseen.core.observation import Observation
from foreseen.core.scene_info import SceneInfo
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.geometry.rays import Rays
from foreseen.methods import find_method
from foreseen.methods.d_nerf.config import PRESETS, DNeRFPaperConfig
from foreseen.methods.d_nerf.model import build
from foreseen.methods.d_nerf.paper import PaperDNeRF
from foreseen.render import render

TIMES = (2.03, 2.1, 2.25, 2.5, 3.0, 3.5, 4.0)
TINY = replace(
    DNeRFPaperConfig(),
    width=32, layers=3, skip=1, position_levels=4, time_levels=2, direction_levels=2,
    rays=64, samples=16, importance_samples=16, lr=5e-3,
)  # fmt: skip


def info(times: tuple[tuple[float, ...], ...] = (TIMES,)) -> SceneInfo:
    bounds = ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))
    return SceneInfo.of_one_scene(bounds, 2.0, 4.0, times, (1.0, 1.0, 1.0), False, False, False)


def tiny(config: DNeRFPaperConfig = TINY, seed: int = 0) -> PaperDNeRF:
    torch.manual_seed(seed)
    method = build(config, info())
    assert isinstance(method, PaperDNeRF)
    return method


def none(count: int) -> torch.Tensor:
    """What is told of how one sequence begins: nothing."""
    return torch.zeros(count, 0)


def moving_disc(count: int, index: int, generator: torch.Generator) -> RayBatch:
    """Parallel rays along z over a dark disc that moves along x with time, before a white background."""
    xy = torch.rand(count, 2, generator=generator) * 2 - 1
    origins = torch.cat([xy, torch.full((count, 1), -3.0)], dim=-1)
    directions = torch.tensor([0.0, 0.0, 1.0]).expand(count, 3)
    time = torch.full((count,), TIMES[index])
    inside = (xy - torch.tensor([TIMES[index] - 3.0, 0.0]) * 0.5).norm(dim=-1) < 0.4
    colors = torch.where(inside[:, None], torch.tensor([0.8, 0.2, 0.1]), torch.ones(3))
    rays = Rays(origins, directions, directions)
    zeros = torch.zeros(count, dtype=torch.int64)
    return RayBatch(rays, colors, None, time, zeros, zeros + index)


def test_no_point_moves_at_the_first_training_time_and_points_move_at_others() -> None:
    method = tiny()
    points = torch.randn(50, 3)
    times = (torch.tensor(TIMES) - method.start_times) / method.length
    assert torch.equal(method.deformation(points, times[0].expand(50), none(50)), torch.zeros(50, 3))
    assert (method.deformation(points, times[1].expand(50), none(50)).norm(dim=-1) > 0).all()


def test_every_ray_has_its_own_time() -> None:
    method = tiny()
    points = torch.randn(4, 3)
    mixed = method.deformation(points, torch.tensor([0.0, 0.5, 0.0, 1.5]), none(4))
    assert (mixed[[0, 2]] == 0).all() and (mixed[[1, 3]] != 0).any(-1).all()
    torch.testing.assert_close(mixed[1:2], method.deformation(points[1:2], torch.tensor([0.5]), none(1)))


def test_the_canonical_scene_is_the_field_undeformed() -> None:
    method = tiny()
    scene = method.scene(method.observe(Observation()))
    points = torch.rand(20, 3) * 2 - 1
    directions = torch.nn.functional.normalize(torch.randn(20, 3), dim=-1)
    density, color = scene.query(points, directions, torch.zeros(20, dtype=torch.int64))
    expected_density, expected_color = method.canonical(points * math.pi, directions)
    torch.testing.assert_close(density, expected_density * math.pi)
    torch.testing.assert_close(color, expected_color)
    assert density.shape == (20,) and color.shape == (20, 3)
    assert (density >= 0).all() and (color >= 0).all() and (color <= 1).all()


def test_the_state_is_the_time_and_goes_beyond_the_window() -> None:
    method = tiny()
    times = torch.tensor([3.0, 40.0, -1.0])
    state = method.evolve(method.observe(Observation()), times)
    assert torch.equal(state.time, times)
    camera = Camera(torch.eye(4), 8.0, 8.0, 3.0, 2.0, 6, 4, 2.0, 4.0)
    image = render(scene_at(method, 40.0), camera)
    assert image.rgb.shape == (4, 6, 3) and image.rgb.isfinite().all()


def test_gradients_reach_every_parameter() -> None:
    method = tiny()
    batch = moving_disc(64, 3, torch.Generator().manual_seed(0))
    sum(v for k, v in method.losses(batch, 0).items() if not k.startswith("_")).backward()  # type: ignore[union-attr]
    silent = [n for n, p in method.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_recomputing_changes_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foreseen.nn.recompute.ROWS", 100)
    found = []
    for recompute in (False, True):
        method = tiny(replace(TINY, recompute=recompute))
        batch = moving_disc(40, 1, torch.Generator().manual_seed(0))
        torch.manual_seed(0)
        method.losses(batch, 0)["color"].backward()
        found.append([p.grad for p in method.parameters()])
    for kept, again in zip(*found):
        torch.testing.assert_close(kept, again, atol=1e-6, rtol=1e-4)


def test_a_batch_at_the_canonical_time_still_touches_the_deformation() -> None:
    """Parameters without a gradient would stop training on several processes."""
    method = tiny()
    method.losses(moving_disc(16, 0, torch.Generator().manual_seed(0)), 0)["color"].backward()
    assert all(p.grad is not None for p in method.parameters())
    assert not any(p.grad.any() for p in method.deformation.parameters() if p.grad is not None)


def test_it_learns_a_moving_disc() -> None:
    method = tiny()
    optimizer = torch.optim.Adam(method.parameter_groups(0.0))
    generator = torch.Generator().manual_seed(1)
    errors = []
    for step in range(150):
        index = int(torch.randint(len(TIMES), (), generator=generator))
        loss = method.losses(moving_disc(128, index, generator), step)["color"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    # With the deformation held at zero the best that this field can do is 0.040: the mean of all discs.
    assert sum(errors[:10]) / 10 > 0.04 and sum(errors[-30:]) / 30 < 0.02


def test_the_curriculum_adds_times_in_order_until_all_are_there() -> None:
    method = tiny(replace(TINY, curriculum_steps=100))
    known = []
    for step in range(0, 120, 10):
        method.before_step(step, step / 100_000)
        known.append(method.curriculum_times(step))
        indices = method.batch_spec(step).time_indices
        assert indices == (None if known[-1] == 7 else tuple(range(known[-1])))
    assert known == sorted(known) and known[0] == 3 and known[10:] == [7, 7]
    assert known[5] == 3 and known[9] == 6


def test_a_short_budget_shortens_the_opening() -> None:
    method = tiny()
    assert method.before_step(0, 0.0) == "training starts with the first times; later ones are added one by one."
    spec = method.batch_spec(0)
    assert spec.time_indices == (0, 1, 2) and spec.centre_crop_steps == 500 and spec.frames == 1
    assert method.before_step(30, TINY.max_warm_up_share) is None
    assert method.batch_spec(30).time_indices is None and method.batch_spec(30).centre_crop_steps == 0


def test_fewer_times_than_the_curriculum_starts_with() -> None:
    method = build(TINY, info(((1.0, 2.0),)))
    assert method.before_step(0, 0.0) is None
    assert method.batch_spec(0).time_indices is None
    assert scene_at(build(TINY, info(((1.0,),))), 1.0).query(*torch.zeros(2, 1, 3), torch.zeros(1).long())[0].isfinite()


def test_the_rate_falls_from_the_first_to_the_last() -> None:
    method = tiny(DNeRFPaperConfig(width=8, layers=2, skip=0))
    rates = [method.parameter_groups(p)[0]["lr"] for p in (0.0, 0.5, 1.0)]
    assert rates == pytest.approx([5e-4, math.sqrt(5e-4 * 5e-5), 5e-5])


def test_the_preset_has_the_papers_shapes() -> None:
    assert PRESETS["paper"] == DNeRFPaperConfig() == find_method("d-nerf").load_presets()["paper"]
    method = find_method("d-nerf").load()(PRESETS["paper"], info())
    assert isinstance(method, PaperDNeRF)
    widths = [(layer.in_features, layer.out_features) for layer in method.deformation.mlp.hidden]
    encoded = 63 + 9
    assert widths == [(encoded, 256)] + [(256, 256)] * 4 + [(256 + encoded, 256)] + [(256, 256)] * 2
    trunk = [(layer.in_features, layer.out_features) for layer in method.canonical.trunk]
    assert trunk == [(63, 256)] + [(256, 256)] * 4 + [(256 + 63, 256)] + [(256, 256)] * 2
    assert (method.ray_spec.rays, method.ray_spec.frames, method.ray_spec.centre_crop_steps) == (500, 1, 500)
    assert scene_at(method, TIMES[0]).options == {"samples": 64, "importance_samples": 128}


def test_a_sequence_that_was_not_learned_is_refused() -> None:
    with pytest.raises(UserError, match="this run learned one sequence; there is no sequence 3"):
        tiny().observe(Observation(sequence=3))


def test_weights_round_trip() -> None:
    first, second = tiny(seed=0), tiny(seed=1)
    second.load_state_dict(first.state_dict())
    camera = Camera(torch.eye(4), 8.0, 8.0, 3.0, 2.0, 6, 4, 2.0, 4.0)
    assert torch.equal(render(scene_at(first, 3.3), camera).rgb, render(scene_at(second, 3.3), camera).rgb)


@pytest.mark.parametrize("density, alive", [("softplus", True), ("relu", False)])
def test_an_emptied_field_can_come_back(density: str, alive: bool) -> None:
    """Why the preset does not take the authors' ReLU."""
    method = tiny(replace(TINY, density=density))
    with torch.no_grad():
        method.canonical.density.bias.fill_(-5.0)
    method.losses(moving_disc(64, 3, torch.Generator().manual_seed(0)), 0)["color"].backward()
    assert any(p.grad is not None and p.grad.any() for p in method.parameters()) == alive
