"""D-NeRF over several sequences, told apart by how they begin, and that one sequence is as it was."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from changed_info import changed
from foreseen.batches.rays import RaySampler
from foreseen.core.method import Method, scene_at
from foreseen.core.observation import Observation
from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.fields.packed import ray_losses, single_box_field, voxel_tv_loss
from foreseen.methods.d_nerf.config import DNeRFFastConfig, DNeRFPaperConfig
from foreseen.methods.d_nerf.fast import FastDNeRF
from foreseen.methods.d_nerf.losses import color_loss
from foreseen.methods.d_nerf.model import build
from foreseen.methods.d_nerf.paper import PaperDNeRF
from foreseen.methods.d_nerf.time_conditioning import TimeCondition, TimeConditionedMethod
from foreseen.reconstruction.silhouettes import SilhouetteView
from foreseen.reconstruction.visual_hull import hull_by_time
from foreseen.render import render, render_rays
from foreseen.render.occupancy import OccupancyGrid
from foreseen.runs.run import Forecast
from foreseen.scenes import ComposedField, RadianceField
from moving_balls import BOUNDS, Ball, camera, frames, info

FAST = replace(
    DNeRFFastConfig(),
    rays=256,
    samples=16384,
    levels=(6, 16),
    width=16,
    deformation_layers=2,
    position_levels=2,
    time_levels=2,
    ray_steps=48,
    grid_resolution=12,
    time_boxes=4,
    refresh_every=4,
    refresh_after=8,
    refresh_share=0.1,
    network_lr=0.01,
)
PAPER = replace(
    DNeRFPaperConfig(),
    width=32, layers=3, skip=1, position_levels=4, time_levels=2, direction_levels=2,
    rays=64, samples=16, importance_samples=16, lr=5e-3,
)  # fmt: skip
CONFIGS = (FAST, PAPER)
TIMES = tuple(round(2.3 + 0.1 * i, 3) for i in range(12))
LATER = tuple(round(5.0 + 0.1 * i, 3) for i in range(8))
NAMES = ("down", "up")
SPEED = 1.5


def path(height: float, speed: float) -> Ball:
    """Crosses along y from `height`, at `speed` a unit of time; the window is 1.1 long."""
    return (lambda share: (0.0, height + speed * 1.1 * share, 0.2), 0.5)


def beginning(height: float, speed: float, times: Sequence[float]) -> PoseLabels:
    """Truth of such a ball."""
    time_since_start = torch.tensor(times, dtype=torch.float64) - times[0]
    positions = torch.zeros(len(times), 1, 3, dtype=torch.float64)
    velocities = positions.clone()
    positions[:, 0, 1], positions[:, 0, 2], velocities[:, 0, 1] = height + speed * time_since_start, 0.2, speed
    rotated = torch.eye(3, dtype=torch.float64).expand(len(times), 1, 3, 3)
    return PoseLabels(("ball",), time_since_start + times[0], positions, velocities, rotated)


def two() -> SceneInfo:
    return changed(info(TIMES), times=(TIMES, LATER), names=NAMES, bodies=(("ball",), ("ball",)))


LABELS = (beginning(-0.9, SPEED, TIMES), beginning(0.9, -SPEED, LATER))


def new(config: DNeRFFastConfig | DNeRFPaperConfig) -> FastDNeRF | PaperDNeRF:
    torch.manual_seed(0)
    method = build(config, two())
    assert isinstance(method, FastDNeRF | PaperDNeRF)
    return method


def told(config: DNeRFFastConfig | DNeRFPaperConfig) -> FastDNeRF | PaperDNeRF:
    """With the labels kept, and a deformation that moves points."""
    method = new(config)
    TimeConditionedMethod.warm_start(method, (), LABELS)  # without frames: nothing is closed
    if isinstance(method, FastDNeRF):
        with torch.no_grad():
            method.deformation.output.weight.mul_(30)
            method.canonical.values.uniform_(0.0, 0.5)
    return method


def train(method: Method, sampler: RaySampler, steps: int) -> list[float]:
    """The colour errors on the way."""
    optimizer = torch.optim.Adam(method.parameter_groups(0.0))
    errors = []
    for step in range(steps):
        method.before_step(step, step / steps)
        terms = method.losses(sampler.batch(method.batch_spec(step), step), step)
        optimizer.zero_grad()
        torch.stack([v for k, v in terms.items() if not k.startswith("_")]).sum().backward()
        optimizer.step()
        errors.append(terms["color"].item())
    return errors


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    """Both sequences; the second has other times, and is shorter."""
    found = []
    for name, times, height, speed in (("down", TIMES, -0.9, SPEED), ("up", LATER, 0.9, -SPEED * 0.7 / 1.1)):
        made = frames(tmp_path_factory.mktemp(name), [path(height, speed)], times)
        found += [replace(frame, sequence=name) for frame in made]
    return found


KEYS = {
    FAST: (
        "budget.per_ray canonical.index canonical.layout canonical.values deformation.hidden.0.bias "
        "deformation.hidden.0.weight deformation.hidden.1.bias deformation.hidden.1.weight deformation.output.bias "
        "deformation.output.weight occupancy.density origin"
    ),
    PAPER: (
        "canonical.color.bias canonical.color.weight canonical.density.bias canonical.density.weight "
        "canonical.feature.bias canonical.feature.weight canonical.trunk.0.bias canonical.trunk.0.weight "
        "canonical.trunk.1.bias canonical.trunk.1.weight canonical.trunk.2.bias canonical.trunk.2.weight "
        "canonical.view.bias canonical.view.weight deformation.mlp.hidden.0.bias deformation.mlp.hidden.0.weight "
        "deformation.mlp.hidden.1.bias deformation.mlp.hidden.1.weight deformation.mlp.hidden.2.bias "
        "deformation.mlp.hidden.2.weight deformation.mlp.output.bias deformation.mlp.output.weight"
    ),
}


def alone(method: FastDNeRF | PaperDNeRF, times: torch.Tensor) -> RadianceField | ComposedField:
    """What rays at `times` see, written out by code that knows of one sequence: nobody asks how it began, and nothing
    moves at its first time."""
    u = (times - torch.tensor(TIMES[0])) / (TIMES[-1] - TIMES[0])

    def shifted(net: Any, points: torch.Tensor, mlp: Any, rays: torch.Tensor) -> torch.Tensor:
        time_since_start = u[rays][:, None]
        told = torch.cat([net.encode_position(points), net.encode_time(torch.pi * time_since_start)], dim=-1)
        return points + mlp(told) * (time_since_start != 0)

    known = method.info
    if isinstance(method, PaperDNeRF):
        network, scale = method.canonical, torch.pi / 2  # bounds are -2..2

        def ask(positions: Any, directions: Any, rays: Any) -> tuple[torch.Tensor, torch.Tensor]:
            points = shifted(method.deformation, positions * scale, method.deformation.mlp, rays)
            density, color = network(points, directions)
            return density * scale, color

        options = {"samples": PAPER.samples, "importance_samples": PAPER.importance_samples}
        return RadianceField(ask, known.near, known.far, known.background, options=options)
    voxels = method.canonical

    def query(points: Any, part: Any, rays: Any, view: Any) -> tuple[torch.Tensor, torch.Tensor]:
        features = voxels.features(shifted(method, points, method.deformation, rays), torch.zeros_like(rays))
        return voxels.density(features) * method.scale, voxels.color(features, -view)

    segment = (u * FAST.time_boxes).long().clamp(0, FAST.time_boxes - 1)
    return single_box_field(known, query, segment, method.occupancy, method.step_length)


def looked_at_alone(method: FastDNeRF, before: OccupancyGrid) -> torch.Tensor:
    """The densities of `before` after a look at the one sequence there is."""

    def density(points: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        times = TIMES[0] + (TIMES[-1] - TIMES[0]) * (box + torch.rand(len(box))) / FAST.time_boxes
        scene = alone(method, times)
        assert isinstance(scene, ComposedField)
        return scene.query(points, box, torch.arange(len(box)), torch.zeros_like(points))[0]

    before.refresh(density, 4 * FAST.refresh_share, 0.8)
    return before.density


def gradients(method: Method, terms: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    loss = torch.stack([v for k, v in terms.items() if not k.startswith("_")]).sum()
    return list(torch.autograd.grad(loss, list(method.parameters()), materialize_grads=True))


@pytest.mark.parametrize("config", CONFIGS)
def test_one_sequence_is_learned_as_by_code_that_knows_of_one(
    config: DNeRFFastConfig | DNeRFPaperConfig, tmp_path: Path
) -> None:
    captured = frames(tmp_path, [(lambda t: (0.5 * t - 0.2, 0.4 * t, 0.1), 0.6)], TIMES)
    torch.manual_seed(0)
    method = build(config, info(TIMES))
    assert isinstance(method, FastDNeRF | PaperDNeRF)
    method.warm_start(captured, [None])
    assert sorted(method.state_dict()) == KEYS[config].split() and method.observes == ("sequence",)
    if isinstance(method, FastDNeRF):
        c = FAST.hulls
        views = [SilhouetteView.of(frame, TIMES[0], TIMES[-1] - TIMES[0], c.silhouettes) for frame in captured]
        hull = hull_by_time(views, method.info.background, BOUNDS, FAST.grid_resolution, FAST.time_boxes, c)
        assert torch.equal(method.occupancy.density < 0, ~torch.from_numpy(hull))
    sampler = RaySampler(captured, ["balls"], method.info, seed=0)
    optimizer = torch.optim.Adam(method.parameter_groups(0.0))
    errors, appearances = [], 0
    # Both ways begin every step at the same weights and draw the same numbers: what differs is how sums are rounded,
    # which 25 steps of Adam would make visible and one step does not.
    for step in range(25):
        before, drawn = deepcopy(getattr(method, "occupancy", None)), torch.get_rng_state()
        method.before_step(step, step / 25)
        if isinstance(method, FastDNeRF) and not torch.equal(before.density, method.occupancy.density):
            with torch.random.fork_rng():
                torch.set_rng_state(drawn)
                alike = looked_at_alone(method, before)  # times there are rounded once more
            torch.testing.assert_close(method.occupancy.density, alike, atol=1e-5, rtol=1e-3)
            appearances += 1
        batch, drawn = sampler.batch(method.batch_spec(step), step), torch.get_rng_state()
        terms = method.losses(batch, step)
        with torch.random.fork_rng():
            torch.set_rng_state(drawn)
            seen = render_rays(alone(method, batch.times), batch.rays, stratified=True)
            if isinstance(method, FastDNeRF):
                rough = FAST.tv_weight * FAST.tv_weight_decay ** (step / 25)
                weight = FAST.background_opacity_weight
                expected = ray_losses(seen, batch, method.info.background, weight, FAST.packed)
                expected |= voxel_tv_loss(method.canonical, rough, step, FAST.packed)
            else:
                expected = color_loss(seen.rgb, batch.colors)
        torch.testing.assert_close(terms, expected, atol=1e-9, rtol=1e-4)
        found = gradients(method, terms)
        for one, other in zip(found, gradients(method, expected)):
            torch.testing.assert_close(one, other, atol=1e-4 * float(other.abs().max()), rtol=1e-3)
        for parameter, gradient in zip(method.parameters(), found):
            parameter.grad = gradient
        optimizer.step()
        errors.append(terms["color"].item())
    assert errors[-1] < 0.5 * errors[0]  # it falls to a sixth
    assert appearances == (4 if config is FAST else 0)
    eye = camera(0.1, size=12)
    picture = render(scene_at(method, 4.2), eye).rgb
    torch.testing.assert_close(picture, render(alone(method, torch.full((144,), 4.2)), eye).rgb, atol=1e-4, rtol=0)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_beginning_is_in_units_of_bounds_and_window(config: DNeRFFastConfig | DNeRFPaperConfig) -> None:
    method = told(config)
    # Bounds are -2..2, the longest window is 1.1 long.
    expected = torch.tensor([[0, -0.45, 0.1, 0, SPEED * 1.1 / 2, 0], [0, 0.45, 0.1, 0, -SPEED * 1.1 / 2, 0]])
    torch.testing.assert_close(method.initial, expected)
    assert method.observes == ("sequence", "initial")


@pytest.mark.parametrize("config", CONFIGS)
def test_time_counts_from_the_sequences_own_beginning(
    config: DNeRFFastConfig | DNeRFPaperConfig, seen: list[Frame]
) -> None:
    method = told(config)
    batch = RaySampler(seen, NAMES, method.info, seed=0).batch(replace(method.ray_spec, frames=0), 600)
    at = method.time_conditions(batch)
    starts = torch.tensor([TIMES[0], LATER[0]])[batch.sequences]
    torch.testing.assert_close(at.time_since_start, (batch.times - starts) / 1.1)
    assert torch.equal(at.initial, method.initial[batch.sequences]) and len(batch.sequences.unique()) == 2
    assert float(at.time_since_start.min()) == 0 and float(at.time_since_start.max()) == pytest.approx(1)


@pytest.mark.parametrize("config", CONFIGS)
def test_beginnings_move_points_and_nothing_is_held_at_the_first_time(
    config: DNeRFFastConfig | DNeRFPaperConfig,
) -> None:
    method, points = told(config), torch.rand(20, 3) * 2 - 1
    shifts = []
    for which in (0, 1):
        at = TimeCondition(torch.zeros(20), method.initial[which].expand(20, -1))
        if isinstance(method, FastDNeRF):
            shifts.append(method._displaced(points, at) - points)
        else:
            shifts.append(method.deformation(points, at.time_since_start, at.initial))
    assert (shifts[0].norm(dim=-1) > 0).all() and ((shifts[0] - shifts[1]).norm(dim=-1) > 1e-4).all()


@pytest.mark.parametrize("config", CONFIGS)
def test_a_new_sequence_that_begins_as_a_learned_one_looks_as_it(config: DNeRFFastConfig | DNeRFPaperConfig) -> None:
    method = told(config)
    moved = replace(LABELS[1], times=LABELS[1].times + 40.0)
    known = Forecast(method, Observation(sequence=1))
    new_one = Forecast(method, Observation(initial=moved.at(0)))
    other = Forecast(method, Observation(sequence=0))
    eye, time_since_start = camera(0.2, size=8), 0.3
    picture = known.render(eye, LATER[0] + time_since_start).rgb
    torch.testing.assert_close(new_one.render(eye, LATER[0] + time_since_start + 40).rgb, picture, atol=1e-4, rtol=0)
    assert (other.render(eye, TIMES[0] + time_since_start).rgb - picture).abs().max() > 1e-4
    state = method.evolve(method.observe(Observation(sequence=1)), torch.tensor([9.0, 5.0, -1.0]))
    assert torch.equal(state.time, torch.tensor([9.0, 5.0, -1.0])) and state.initial.shape == (3, 6)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_checkpoint_restores_the_beginnings(config: DNeRFFastConfig | DNeRFPaperConfig) -> None:
    method, other = told(config), new(config)
    saved = {k: v.clone() for k, v in method.state_dict().items()}
    other.load_state_dict(saved)
    assert torch.equal(other.initial, method.initial) and method.initial.any()
    eye = camera(0.2, size=8)
    assert torch.equal(render(scene_at(method, 5.2), eye).rgb, render(scene_at(other, 5.2), eye).rgb)


@pytest.mark.parametrize("config", CONFIGS)
def test_gradients_reach_every_parameter(config: DNeRFFastConfig | DNeRFPaperConfig, seen: list[Frame]) -> None:
    method = told(config)
    sampler = RaySampler(seen, NAMES, method.info, seed=0)
    terms = method.losses(sampler.batch(replace(method.ray_spec, rays=128, frames=0), 0), 0)
    torch.stack([v for k, v in terms.items() if not k.startswith("_")]).sum().backward()
    assert [n for n, p in method.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_curriculum_lasts_until_the_longest_sequence_is_there() -> None:
    method = new(replace(PAPER, curriculum_steps=100))
    assert isinstance(method, PaperDNeRF)
    assert method.curriculum_times(80) == 9 and method.curriculum_times(100) == len(TIMES)
    assert method.before_step(0, 0.0) is not None and method.batch_spec(0).time_indices == (0, 1, 2)


def test_it_learns_both_and_where_a_ball_is_depends_on_how_it_began(seen: list[Frame]) -> None:
    method = new(FAST)
    labels = (LABELS[0], beginning(0.9, -SPEED, LATER))
    method.warm_start(seen, labels)
    errors = train(method, RaySampler(seen, NAMES, method.info, seed=0), 250)
    assert np.mean(errors[-20:]) < 0.3 * np.mean(errors[:5])
    eye, rows = camera(0.0, height=0.5, size=24), torch.arange(24.0)
    height = []
    for index, start in enumerate((TIMES[0], LATER[0])):
        picture = Forecast(method.eval(), Observation(sequence=index)).render(eye, start).rgb
        there = (1 - picture).sum((1, 2))
        height.append(float((rows * there).sum() / there.sum()))
    assert abs(height[0] - height[1]) > 4  # balls begin 1.8 apart: 10 pixels of 24


def test_what_is_empty_at_all_times_of_all_sequences_is_closed(seen: list[Frame]) -> None:
    method = new(FAST)
    assert isinstance(method, FastDNeRF)
    method.warm_start(seen, LABELS)
    closed = method.occupancy.density < 0
    assert 0.5 < float(closed.float().mean()) < 1 and all(torch.equal(closed[0], box) for box in closed)
    for y in np.linspace(-0.9, 0.7, 9):  # wherever a ball was
        cell = ((torch.tensor([0.0, y, 0.2]) + 2) / 4 * FAST.grid_resolution).long()
        assert not closed[0, cell[0], cell[1], cell[2]]


def test_one_camera_that_stands_still_closes_nothing(seen: list[Frame]) -> None:
    method = new(FAST)
    assert isinstance(method, FastDNeRF)
    method.warm_start([frame for frame in seen if frame.camera_id == "0"], LABELS)
    assert not (method.occupancy.density < 0).any() and method.initial.any()


def test_a_look_at_one_sequence_does_not_undo_what_was_found_of_another() -> None:
    method = told(FAST)
    assert isinstance(method, FastDNeRF)
    between = method._sample_initial_conditions(500)
    low, high = method.initial.amin(0), method.initial.amax(0)
    assert (between >= low - 1e-6).all() and (between <= high + 1e-6).all() and len(between.unique(dim=0)) > 100
    with torch.no_grad():
        method.canonical.values.fill_(-20.0)
        method.occupancy.density.fill_(1.0)
    method.before_step(12, 0.1)
    looked = method.occupancy.density[method.occupancy.density < 1]
    torch.testing.assert_close(looked, torch.full_like(looked, 0.8**0.5))


@pytest.mark.parametrize("config", CONFIGS)
def test_what_it_cannot_learn_is_refused(config: DNeRFFastConfig | DNeRFPaperConfig) -> None:
    silent = changed(two(), bodies=(("ball",), ()))
    with pytest.raises(
        UserError, match=r"'up' has no ground truth at its training times: take it out of the folder, or give a folder"
    ):
        build(config, silent)
    with pytest.raises(UserError, match="several sequences of equally many bodies, and these have 1 or 2: give a"):
        build(config, changed(two(), bodies=(("ball",), ("ball", "rod"))))
    with pytest.raises(UserError, match="this run learned 2 sequences; there is no sequence 2"):
        new(config).observe(Observation(sequence=2))
    pair = LABELS[0].at(0)
    twice = replace(pair, positions=pair.positions.repeat(1, 2, 1), velocities=pair.velocities.repeat(1, 2, 1))
    with pytest.raises(UserError, match="a new sequence has 2 bodies, and this run learned sequences of 1: give one"):
        new(config).observe(Observation(initial=twice))
