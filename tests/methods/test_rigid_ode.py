"""rigid-ode on one sequence: it finds the parts, learns them, and predicts past the window."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from changed_info import changed
from foreseen.batches.rays import RaySampler
from foreseen.core.method import scene_at, take
from foreseen.core.observation import Observation
from foreseen.core.scene_info import SceneInfo
from foreseen.data.types import Frame
from foreseen.dynamics.config import DynamicsConfig, SelectionConfig
from foreseen.errors import UserError
from foreseen.methods.rigid_ode.config import RigidODEConfig
from foreseen.methods.rigid_ode.model import build
from foreseen.methods.rigid_ode.parts import RigidParts, RigidPartsState
from foreseen.methods.rigid_ode.single_sequence import RigidODE
from foreseen.methods.rigid_ode.voxel_appearance import VoxelAppearance
from foreseen.render import render, render_rays
from moving_balls import LEFT, RIGHT, camera, frames, info

TIMES = tuple(round(2.3 + 0.1 * i, 3) for i in range(16))
"""None of them, and neither end, is a float32."""
SMALL = replace(
    RigidODEConfig(),
    rays=256,
    samples=8192,
    plane_rays=256,
    plane_samples=8192,
    part_levels=(6, 16),
    static_levels=(6, 16),
    plane_resolutions=(8, 16),
    channels=4,
    width=16,
    part_samples=16,
    static_samples=32,
    grid_resolution=16,
    refresh_every=4,
    latent_boxes=4,
    plane_lr=0.05,
    network_lr=0.01,
    dynamics=DynamicsConfig(widths=(8,), shooting_lengths=(0.4,), iterations=2, ensemble_size=2, fit_at=(0.5, 0.95)),
)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    """Two balls that move before four fixed cameras."""
    return frames(tmp_path_factory.mktemp("balls"), [LEFT, RIGHT], TIMES, size=32)


def new(config: RigidODEConfig = SMALL, scene: SceneInfo | None = None) -> RigidODE:
    torch.manual_seed(0)
    method = build(config, scene or info(TIMES))
    assert isinstance(method, RigidODE)
    return method


def train(method: RigidODE, seen: list[Frame], steps: int) -> list[float]:
    """The trainer's loop in short; squared colour errors."""
    sampler = RaySampler(seen, ["balls"], method.info, seed=0)
    optimizer = torch.optim.Adam(method.parameter_groups(0.0))
    errors = []
    for step in range(steps):
        method.before_step(step, step / steps)
        for group, new_group in zip(optimizer.param_groups, method.parameter_groups(step / steps)):
            group["lr"] = new_group["lr"]
        terms = method.losses(sampler.batch(method.batch_spec(step), step), step)
        optimizer.zero_grad()
        torch.stack([v for k, v in terms.items() if not k.startswith("_")]).sum().backward()
        optimizer.step()
        errors.append(terms["color"].item())
    return errors


@pytest.fixture(scope="module")
def started(seen: list[Frame]) -> dict[str, Tensor]:
    """The state dict after the warm start."""
    method = new()
    assert method.warm_start(seen, [None]) == "2 moving parts found from silhouettes."
    return method.state_dict()


def with_parts(started: dict[str, Tensor]) -> RigidODE:
    """As after the warm start."""
    method = new()
    method.load_state_dict(started)
    return method


@pytest.fixture(scope="module")
def history(started: dict[str, Tensor], seen: list[Frame]) -> tuple[RigidODE, list[float]]:
    """Trained for a moment, with what the loss was."""
    method = with_parts(started)
    return method, train(method, seen, 60)


@pytest.fixture(scope="module")
def learned(history: tuple[RigidODE, list[float]]) -> RigidODE:
    """Trained for a moment."""
    return history[0]


def tensors(state: RigidPartsState) -> list[Tensor]:
    return [state.centres, state.rotations, state.latent]


def test_the_parts_are_found_and_the_loss_falls(history: tuple[RigidODE, list[float]]) -> None:
    method, errors = history
    assert method.parts.count == 2 and method.appearance.occupancy.density.shape == (3, 16, 16, 16)
    assert np.mean(errors[-5:]) < 0.5 * np.mean(errors[:5])


def test_parts_are_where_the_balls_are(learned: RigidODE) -> None:
    centres = learned.evolve(learned.observe(Observation()), torch.tensor(TIMES)).centres
    u = (np.array(TIMES) - TIMES[0]) / (TIMES[-1] - TIMES[0])
    for path, radius in (LEFT, RIGHT):
        truth = torch.tensor(np.array([path(t) for t in u]), dtype=torch.float32)
        assert (centres - truth[:, None]).norm(dim=-1).amax(0).min() < radius


def test_a_picture_of_a_training_time_shows_what_was_seen(learned: RigidODE, seen: list[Frame]) -> None:
    frame = seen[len(seen) // 2]
    error = (render(scene_at(learned, frame.time), frame.camera).rgb - frame.image()).square().mean()
    assert error < 0.02 < (1 - frame.image()).square().mean()


def test_what_moves_and_what_rests_are_seen_alone(learned: RigidODE) -> None:
    state = take(learned.evolve(learned.observe(Observation()), torch.tensor([2.9])), 0)
    there, white = camera(0.2, size=32), torch.ones(3)
    whole = render(learned.scene(state), there)
    still, moving = (render(learned.layer(state, w), there) for w in ("static", "dynamic"))
    balls = whole.opacity > 0.5
    assert balls.any() and moving.opacity[balls].mean() > 0.8 > 0.2 > still.opacity[balls].mean()
    beside = ~(torch.nn.functional.max_pool2d(balls[None, None].float(), 9, 1, 4)[0, 0] > 0)
    torch.testing.assert_close(moving.rgb[beside], white.expand(int(beside.sum()), 3), atol=0.05, rtol=0)
    nothing = new()
    assert nothing.parts.count == 0
    assert nothing.layer(take(nothing.evolve(None, torch.tensor([2.9])), 0), "dynamic") is None


def test_times_in_any_order(learned: RigidODE) -> None:
    state = learned.observe(Observation())
    times = torch.tensor([3.8, 9.0, 2.35, 1.0, 4.5, 2.35, 2.3])
    order = times.argsort()
    for mixed, sorted_ in zip(tensors(learned.evolve(state, times)), tensors(learned.evolve(state, times[order]))):
        assert len(mixed) == 7
        torch.testing.assert_close(mixed[order], sorted_)
        assert torch.equal(mixed[2], mixed[5])


def test_every_training_time_is_inside_the_window(learned: RigidODE, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one, too, though as a float32 it may be later than it was."""

    def fail(*_: object) -> Tensor:
        raise AssertionError("an observed time was foretold")

    monkeypatch.setattr(learned.motion, "extrapolate", fail)
    assert learned.motion.fitted
    state = learned.observe(Observation())
    at_frames = learned.evolve(state, torch.tensor(TIMES))
    torch.testing.assert_close(at_frames.centres, learned.parts.at(learned.basis).centres, atol=1e-5, rtol=0)
    torch.testing.assert_close(at_frames.centres[-1:], state.centres, atol=1e-5, rtol=0)


def test_times_past_the_window_move_on(learned: RigidODE) -> None:
    state = learned.evolve(learned.observe(Observation()), torch.tensor([3.8, 3.9, 4.0, 2.2, 2.1]))
    assert all(x.isfinite().all() for x in tensors(state))
    assert ((state.centres[1:3] - state.centres[:2]).norm(dim=-1) > 1e-3).all()
    assert ((state.centres[3] - state.centres[4]).norm(dim=-1) > 1e-3).all()
    far = render(scene_at(learned, 50.0), camera(0.3, size=16))
    assert far.rgb.isfinite().all()


def test_futures_part_after_the_window_only(learned: RigidODE) -> None:
    """And the first of them is the forecast."""
    assert learned.motion.dynamics.fitted
    state, times = learned.observe(Observation()), torch.tensor([4.4, 2.9, 1.9, 4.1])
    found = learned.ensemble(state, times)
    assert found is not None and found.shape == (3, 4, 2, 3)
    torch.testing.assert_close(found[0], learned.evolve(state, times).centres, atol=1e-5, rtol=1e-5)
    assert torch.equal(found[1, 1], found[0, 1])
    assert all((found[1, i] - found[0, i]).abs().max() > 1e-6 for i in (0, 2, 3))


def test_without_a_law_parts_stay_where_they_were_last_seen(started: dict[str, Tensor]) -> None:
    method = with_parts(started)
    assert not method.motion.fitted
    centres = method.evolve(method.observe(Observation()), torch.tensor([3.8, 7.0, -2.0, 2.3])).centres
    torch.testing.assert_close(centres[0], centres[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(centres[2], centres[3], atol=1e-5, rtol=0)


def test_the_law_is_fitted_once_a_stage(started: dict[str, Tensor]) -> None:
    method = with_parts(started)
    said = [method.before_step(step, progress) for step, progress in enumerate((0, 0.3, 0.5, 0.6, 0.94, 0.95, 1.0))]
    assert [line is not None for line in said] == [False, False, True, False, False, True, False]
    assert "dynamics on" in str(said[2]) and int(method.fit_stage) == 2
    rates = {g["name"]: g["lr"] for g in method.parameter_groups(0.96)}
    assert rates["centres"] == rates["rotations"] == 0 < rates["voxels"]


def test_a_run_of_few_steps_ends_with_a_law(started: dict[str, Tensor]) -> None:
    method = with_parts(started)
    assert "dynamics on" in str(method.finish()) and method.motion.fitted
    assert method.finish() is None, "once is enough"


def test_no_law_at_all_is_said(started: dict[str, Tensor]) -> None:
    method = with_parts(started)
    method.motion.config = replace(method.motion.config, selection=SelectionConfig(max_misfit=-1.0))
    said = "no dynamics predict the end of the observed window: after it the parts move on at constant velocity."
    assert method.fit_dynamics() == said and method.motion.fitted
    assert method.system() is None and method.ensemble(method.observe(Observation()), torch.tensor([4.0])) is None


def test_impacts_lead_the_parts_on_where_they_foretell_best(
    started: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `Motion` weighs is tested with it; here the parts go where impacts say, with no spread and no system."""
    method = with_parts(started)
    monkeypatch.setattr(
        "foreseen.dynamics.sequence_dynamics.SequenceDynamics._impacts_forecast_better",
        lambda motion, poses, balls, *_: not (motion.balls.fit(poses, balls)),
    )
    assert method.fit_dynamics().startswith("impacts predict the observed window: ") and method.motion.uses_impacts
    times = torch.tensor([4.5, 4.2, 4.5])
    found = method.evolve(method.observe(Observation()), times).centres
    expected = method.motion.balls.impacts.extrapolate((times.double() - method.start) / method.window)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)
    assert method.system() is None and method.ensemble(method.observe(Observation()), times) is None
    other = new()
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.evolve(other.observe(Observation()), times).centres, found)


def test_a_state_dict_fits_a_method_without_a_warm_start(learned: RigidODE) -> None:
    other = new()
    saved = learned.state_dict()
    other.load_state_dict(saved)
    for time in (2.9, 4.4):
        first, second = (render(scene_at(m, time), camera(0.2, size=16)).rgb for m in (learned, other))
        assert torch.equal(first, second)
    assert other.appearance.budget.rays() == learned.appearance.budget.rays()


def test_every_ray_sees_its_own_time(learned: RigidODE) -> None:
    at = camera(0.0, size=12)
    rays = at.rays(at.pixel_centres().reshape(-1, 2))
    state = learned.evolve(learned.observe(Observation()), torch.tensor([2.5, 3.4]))
    pictures = [
        render_rays(learned.scene(RigidPartsState(*(x[i] for x in tensors(state)))), rays).rgb for i in range(2)
    ]
    which = torch.arange(len(rays.origins)) % 2
    mixed = render_rays(learned.appearance.scene_of(state, which), rays).rgb
    expected = torch.where(which[:, None] == 0, *pictures)
    assert (pictures[0] - pictures[1]).abs().max() > 0.1
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=0)


def test_gradients_reach_every_parameter(learned: RigidODE, seen: list[Frame]) -> None:
    learned.zero_grad()
    turning = learned.parts.is_round.clone()
    learned.parts.is_round.zero_()  # balls do not turn; parts of another shape do
    batch = RaySampler(seen, ["balls"], learned.info, 0).batch(learned.batch_spec(0), 0)
    torch.stack([v for k, v in learned.losses(batch, 0).items() if not k.startswith("_")]).sum().backward()
    trained = [p for g in learned.parameter_groups(0.0) for p in g["params"]]
    silent = [n for n, p in learned.named_parameters() if any(p is q for q in trained) and p.grad is None]
    assert silent == ["parts.latent"]
    assert learned.parts.centres.grad is not None and learned.parts.centres.grad.any()
    assert learned.parts.rotations.grad is not None and learned.parts.rotations.grad.any()
    learned.parts.is_round.copy_(turning)
    learned.zero_grad()


def appearance_without_parts(seen: list[Frame]) -> list[Frame]:
    """The same pictures by cameras that never stand still, on a background that is not the stated one."""
    moved = []
    for i, f in enumerate(seen):
        pose = f.camera.camera_to_world.clone()
        pose[0, 3] += 1e-3 * i
        moved.append(replace(f, calibration=replace(f.camera, camera_to_world=pose)))
    return moved


def test_without_parts_the_scene_changes_with_a_latent_number(seen: list[Frame]) -> None:
    method = new(scene=changed(info(TIMES), background=(0.0, 0.0, 0.0)))
    said = method.warm_start(appearance_without_parts(seen), [None])
    assert said == "no moving part was found: the whole scene changes with one latent coordinate."
    latent = method.evolve(method.observe(Observation()), torch.tensor([TIMES[0], 3.05, TIMES[-1]])).latent
    torch.testing.assert_close(latent[:, 0], torch.tensor([-1.0, 0.0, 1.0]), atol=1e-5, rtol=0)
    errors = train(method, seen, 60)
    assert np.mean(errors[-5:]) < 0.5 * np.mean(errors[:5])
    assert method.motion.fitted
    picture = render(scene_at(method, 4.5), camera(0.2, size=16))
    assert picture.rgb.isfinite().all()
    other = new(scene=method.info)
    other.load_state_dict(method.state_dict())
    assert torch.equal(render(scene_at(other, 4.5), camera(0.2, size=16)).rgb, picture.rgb)


def test_the_field_without_parts_is_different_at_different_times(seen: list[Frame]) -> None:
    method = new()
    with torch.no_grad():
        method.appearance.field.planes.data.uniform_(0.1, 1)
    first, second = (render(scene_at(method, t), camera(0.0, size=12)).rgb for t in (TIMES[0], TIMES[-1]))
    assert (first - second).abs().max() > 1e-4  # a thin field: a thousandth, and rounding is a millionth


def test_scenes_in_normalised_device_coordinates_look_for_no_parts(seen: list[Frame]) -> None:
    method = new(scene=replace(info(TIMES), ndc=True))
    assert method.warm_start(seen, [None]).startswith("no moving part") and method.parts.count == 0


def test_what_it_cannot_learn_is_refused() -> None:
    with pytest.raises(UserError, match="rigid-ode learns one sequence, and the data set has 2"):
        RigidODE(SMALL, changed(info(TIMES), times=(TIMES, TIMES)))
    with pytest.raises(UserError, match="rigid-ode needs training frames at 2 times or more; there is 1"):
        new(scene=info(TIMES[:1]))
    with pytest.raises(UserError, match="this run learned one sequence; there is no sequence 3"):
        new().observe(Observation(sequence=3))


def test_two_times_are_enough() -> None:
    method = new(scene=info(TIMES[:2]))
    assert method.fit_dynamics()
    state = method.evolve(method.observe(Observation()), torch.tensor([2.3, 2.35, 2.4, 2.5]))
    assert state.latent.isfinite().all()


def test_the_budget_of_samples_chooses_the_rays() -> None:
    method = new()
    maximum = method.config.rays

    class Result:
        rgb = torch.zeros(10, 3)
        samples = 10

    for _ in range(100):
        method.appearance.budget.note(Result())  # type: ignore[arg-type]
    assert method.batch_spec(0).rays == maximum
    Result.samples = 10 * method.config.samples
    for _ in range(100):
        method.appearance.budget.note(Result())  # type: ignore[arg-type]
    assert method.batch_spec(0).rays == maximum // 8


def test_numbers_of_poses_and_back(learned: RigidODE) -> None:
    basis = learned.basis[[0, 3, -1]]
    with torch.no_grad():
        learned.parts.rotations.add_(0.1)
        state, again = (
            learned.parts.at(basis),
            learned.parts.from_pose_vectors(learned.parts.pose_vectors(basis), torch.zeros(3)),
        )
        learned.parts.rotations.sub_(0.1)
    for a, b in zip(tensors(state), tensors(again)):
        torch.testing.assert_close(a, b)


def saved_of_two_parts() -> dict[str, Tensor]:
    method = new()
    open_cells = torch.ones(3, 16, 16, 16, dtype=torch.bool)
    method.set_parts(
        VoxelAppearance.from_open_cells(SMALL, method.info, torch.ones(2, 3), open_cells),
        RigidParts(2, method.controls),
    )
    return method.state_dict()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "parts.half_extents",
            torch.ones(3, 3),
            r"half_extents and voxels.layout are \[3, 3\] and \[3, 2, 2\], not those of 3",
        ),
        ("appearance.half_extents", torch.ones(4, 3), r"half_extents and voxels.layout are \[4, 3\] and \[3, 2, 2\]"),
        (
            "appearance.half_extents",
            torch.tensor([[1.0], [0.0], [1.0]]).expand(3, 3),
            "appearance: half_extents holds a size that is not a",
        ),
        (
            "appearance.half_extents",
            torch.full((3, 3), torch.nan),
            "appearance: half_extents holds a size that is not a positive number",
        ),
        ("appearance.voxels.layout", torch.ones(2, 2, 2).long(), r"voxels: layout: 1\^3 nodes"),
    ],
)
def test_saved_boxes_are_those_of_the_saved_parts(name: str, value: Tensor, message: str) -> None:
    """The kernels take one box for each part, and one for what rests."""
    saved = saved_of_two_parts()
    new().load_state_dict(saved)
    with pytest.raises(UserError, match=message):
        new().load_state_dict({**saved, name: value})
