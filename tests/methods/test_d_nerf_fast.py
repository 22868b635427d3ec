"""D-NeRF's `fast` preset: canonical time, learning, and what lies outside the window."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from foreseen.batches.rays import RaySampler
from foreseen.core.method import scene_at
from foreseen.core.observation import Observation
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.methods.d_nerf.config import DNeRFFastConfig
from foreseen.methods.d_nerf.fast import FastDNeRF
from foreseen.methods.d_nerf.model import build
from foreseen.methods.d_nerf.time_conditioning import TimeCondition
from foreseen.render import render, render_rays
from moving_balls import camera, frames, info

TIMES = tuple(round(2.3 + 0.1 * i, 3) for i in range(12))
SMALL = replace(
    DNeRFFastConfig(),
    rays=256, samples=16384, levels=(6, 16), width=16, deformation_layers=2, position_levels=2,
    time_levels=2, ray_steps=48, grid_resolution=12, time_boxes=4, refresh_every=4, refresh_after=8, refresh_share=0.1,
    network_lr=0.01,
)  # fmt: skip


SLOW = (lambda t: (0.5 * t - 0.2, 0.4 * t, 0.1), 0.6)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    return frames(tmp_path_factory.mktemp("balls"), [SLOW], TIMES)


def new(config: DNeRFFastConfig = SMALL) -> FastDNeRF:
    torch.manual_seed(0)
    method = build(config, info(TIMES))
    assert isinstance(method, FastDNeRF)
    return method


def roused() -> FastDNeRF:
    """With a deformation that moves points by about a tenth of the scene."""
    method = new()
    with torch.no_grad():
        method.deformation.output.weight.mul_(30)
    return method


def at(time_since_start: torch.Tensor) -> TimeCondition:
    """Moments of one sequence."""
    return TimeCondition(time_since_start, torch.zeros(len(time_since_start), 0))


def sampler_of(method: FastDNeRF, seen: list[Frame]) -> RaySampler:
    return RaySampler(seen, ["balls"], method.info, seed=0)


def test_no_point_moves_at_the_first_time_and_points_move_at_others() -> None:
    method = roused()
    points = torch.rand(50, 3) * 2 - 1
    assert torch.equal(method._displaced(points, at(torch.zeros(50))), points)
    assert ((method._displaced(points, at(torch.full((50,), 0.4))) - points).norm(dim=-1) > 1e-3).all()
    mixed = method._displaced(points[:2], at(torch.tensor([0.0, 0.4])))
    torch.testing.assert_close(mixed[1:], method._displaced(points[1:2], at(torch.tensor([0.4]))))


def test_the_scene_at_the_first_time_is_the_canonical_field() -> None:
    method = roused()
    with torch.no_grad():
        method.canonical.values.uniform_(0.0, 0.5)
    scene = method.scene(method.observe(Observation()))
    points, view = torch.rand(20, 3) * 2 - 1, torch.nn.functional.normalize(torch.randn(20, 3), dim=-1)
    zeros = torch.zeros(20, dtype=torch.int64)
    density, color = scene.query(points, zeros, zeros, view)
    features = method.canonical.features(points, zeros)
    spacing = 2 * 2 / 15
    torch.testing.assert_close(density * spacing, method.canonical.density(features), msg="the half size is 2")
    torch.testing.assert_close(color, method.canonical.color(features, -view))
    later = scene_at(method, TIMES[-1]).query(points, zeros, zeros, view)[0]
    assert not torch.allclose(later, density)


def test_the_state_is_the_time_and_times_in_any_order() -> None:
    method = new()
    times = torch.tensor([3.0, 40.0, -1.0, 2.3])
    assert torch.equal(method.evolve(method.observe(Observation()), times).time, times)
    assert method.observe(Observation()).time == torch.tensor(TIMES[0])


def test_times_outside_the_window_read_the_nearest_occupancy() -> None:
    method = roused()
    cells = [int(scene_at(method, t).cells) for t in (-5.0, TIMES[0], 2.9, TIMES[-1], 40.0)]
    assert cells == [0, 0, 2, 3, 3]
    assert render(scene_at(method, 40.0), camera(0.1, size=12)).rgb.isfinite().all()


def test_every_ray_has_its_own_time() -> None:
    method = roused()
    with torch.no_grad():
        method.canonical.values.uniform_(0.0, 0.5)
    eye = camera(0.0, size=10)
    rays = eye.rays(eye.pixel_centres().reshape(-1, 2))
    pictures = [render_rays(scene_at(method, t), rays).rgb for t in (2.3, 3.2)]
    which = torch.arange(len(rays.origins)) % 2
    u = (torch.tensor([2.3, 3.2]) - method.origin) / method.length
    mixed = render_rays(method._compose(at(u[which]), lambda ray: ray), rays).rgb
    assert (pictures[0] - pictures[1]).abs().max() > 1e-3
    torch.testing.assert_close(mixed, torch.where(which[:, None] == 0, *pictures), atol=1e-5, rtol=0)


def test_gradients_reach_every_parameter(seen: list[Frame]) -> None:
    method = roused()
    terms = method.losses(sampler_of(method, seen).batch(method.batch_spec(0), 0), 0)
    torch.stack([v for k, v in terms.items() if not k.startswith("_")]).sum().backward()
    assert [n for n, p in method.named_parameters() if p.grad is None or not p.grad.any()] == []
    grouped = {id(p) for g in method.parameter_groups(0.0) for p in g["params"]}
    assert grouped == {id(p) for p in method.parameters()}


def test_it_learns_and_empties_the_space(seen: list[Frame]) -> None:
    method = new()
    sampler, optimizer = sampler_of(method, seen), torch.optim.Adam(method.parameter_groups(0.0))
    errors = []
    for step in range(110):
        method.before_step(step, step / 110)
        terms = method.losses(sampler.batch(method.batch_spec(step), step), step)
        optimizer.zero_grad()
        torch.stack([v for k, v in terms.items() if not k.startswith("_")]).sum().backward()
        optimizer.step()
        errors.append(terms["color"].item())
        assert math.isfinite(errors[-1])
    # Densities are high by then: rays that ended too early would have lost the ball again.
    assert np.mean(errors[-10:]) < 0.2 * np.mean(errors[:5])
    assert (method.occupancy.occupied < 0.9).all()
    other = new()
    other.load_state_dict(method.state_dict())
    eye = camera(0.2, size=16)
    assert torch.equal(render(scene_at(method, 3.0), eye).rgb, render(scene_at(other, 3.0), eye).rgb)
    assert other.budget.rays() == method.budget.rays()


def test_rates_fall_over_the_budget() -> None:
    method = new()
    rates = [[g["lr"] for g in method.parameter_groups(p)] for p in (0.0, 0.5, 1.0)]
    assert rates[0] == [SMALL.voxel_lr, SMALL.network_lr]
    assert rates[2] == pytest.approx([0.05 * r for r in rates[0]])
    assert rates[1][0] == pytest.approx(math.sqrt(rates[0][0] * rates[2][0]))


def test_a_sequence_that_was_not_learned_is_refused() -> None:
    with pytest.raises(UserError, match="this run learned one sequence; there is no sequence 3"):
        new().observe(Observation(sequence=3))


def test_a_single_time_is_a_scene_at_rest() -> None:
    method = build(SMALL, info(TIMES[:1]))
    assert method.length == 1 and render(scene_at(method, TIMES[0]), camera(0.1, size=8)).rgb.isfinite().all()
