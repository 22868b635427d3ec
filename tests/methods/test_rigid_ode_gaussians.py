"""Gaussians that are attached to parts: rigid-ode with --appearance gaussians, and its preset `gaussians`."""

from dataclasses import replace

import pytest
import torch

from changed_info import changed
from foreseen.batches.images import ImageSampler
from foreseen.core.method import scene_at
from foreseen.core.observation import Observation
from foreseen.data.types import Frame
from foreseen.dynamics.config import DynamicsConfig
from foreseen.errors import UserError
from foreseen.geometry.rotations import rotation_matrix
from foreseen.methods import METHODS
from foreseen.methods.rigid_ode.config import PRESETS, RigidODEConfig
from foreseen.methods.rigid_ode.gaussian_appearance import GaussianAppearance
from foreseen.methods.rigid_ode.parts import RigidPartsState
from foreseen.methods.rigid_ode.single_sequence import RigidODE
from foreseen.render import render
from foreseen.scenes import Gaussians
from foreseen.splatting.cloud import C0
from foreseen.splatting.config import CloudConfig
from foreseen.training.optimizer import total_loss
from moving_balls import LEFT, RIGHT, camera, frames, info
from render_training_clip import fit, psnr

TIMES = tuple(2.0 + i / 15 for i in range(16))
CLOUD = CloudConfig(
    budget=700, degree=0, start_points=400, start_opacity=0.5, refine_every=20, refine_from=20, reset_every=0,
    means_lr=2e-3, means_lr_final=2e-4, color_lr=2e-2, ssim_weight=0.0,
)  # fmt: skip
DYNAMICS = DynamicsConfig(widths=(8,), shooting_lengths=(0.4,), iterations=2, ensemble_size=2, fit_at=(0.5, 0.95))
CONFIGS = {
    "fast": RigidODEConfig(appearance="gaussians", cloud=CLOUD, grid_resolution=16, dynamics=DYNAMICS),
    "gaussians": replace(PRESETS["gaussians"], cloud=CLOUD, grid_resolution=16, dynamics=DYNAMICS),
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    """Two balls that move before four fixed cameras."""
    return frames(tmp_path_factory.mktemp("balls"), [LEFT, RIGHT], TIMES, size=32)


def new(name: str) -> RigidODE:
    torch.manual_seed(0)
    method = METHODS["rigid-ode"].load()(CONFIGS[name], info(TIMES))
    assert isinstance(method, RigidODE)
    return method


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def learned(request: pytest.FixtureRequest, seen: list[Frame]) -> RigidODE:
    """Trained for a moment."""
    method = new(request.param)
    fit(method, seen, 150)
    method.finish()
    return method


def appearance_of(method: RigidODE) -> GaussianAppearance:
    assert isinstance(method.appearance, GaussianAppearance)
    return method.appearance


def state_at(method: RigidODE, time: float) -> RigidPartsState:
    state = method.evolve(method.observe(Observation()), torch.tensor([time]))
    return RigidPartsState(state.centres[0].detach(), state.rotations[0].detach(), state.latent[0])


def test_two_balls_are_learned(learned: RigidODE, seen: list[Frame]) -> None:
    white = -10 * float(torch.stack([(1 - f.image()).square().mean() for f in seen]).mean().log10())
    assert learned.parts.count == 2 and psnr(learned, seen) > white + 6


def test_gaussians_ride_rigidly(learned: RigidODE) -> None:
    appearance = appearance_of(learned)
    early, late = (state_at(learned, t) for t in (2.1, 2.9))
    part_ids = appearance.cloud.part_ids[: len(appearance.cloud)]
    assert set(part_ids.tolist()) == {0, 1}, "nothing rests before a plain background"
    for k in (0, 1):
        before, after = (appearance.scene(s).means[part_ids == k] for s in (early, late))
        rotated = rotation_matrix(late.rotations[k]) @ rotation_matrix(early.rotations[k]).T
        expected = (before - early.centres[k]) @ rotated.T + late.centres[k]
        torch.testing.assert_close(after, expected, atol=1e-5, rtol=1e-5)


def test_what_moves_and_what_rests_are_told_apart(learned: RigidODE) -> None:
    state = state_at(learned, 2.4)
    whole, still, moving = learned.scene(state), learned.layer(state, "static"), learned.layer(state, "dynamic")
    assert isinstance(whole, Gaussians) and isinstance(still, Gaussians) and isinstance(moving, Gaussians)
    assert len(still.means) == 0 and torch.equal(moving.means, whole.means), "nothing rests before a plain background"
    appearance = appearance_of(learned)
    part_ids = appearance.cloud.part_ids.clone()
    try:
        appearance.cloud.part_ids[:7] = len(appearance.half_extents)
        still, moving = learned.layer(state, "static"), learned.layer(state, "dynamic")
        assert len(still.means) == 7 and len(moving.means) == len(whole.means) - 7
        assert torch.equal(still.means, appearance.cloud.means[:7])
    finally:
        appearance.cloud.part_ids.copy_(part_ids)


def test_a_part_that_turns_looks_as_if_the_camera_went_round_it(learned: RigidODE) -> None:
    """Means and shapes turn together."""
    appearance = appearance_of(learned)
    rotation = torch.tensor([0.3, -0.8, 0.5])
    away = torch.full((1, 3), 1e4)
    to_gaussians, rotated = (
        RigidPartsState(torch.cat([torch.zeros(1, 3), away]), torch.stack([t, torch.zeros(3)]), torch.zeros(1))
        for t in (torch.zeros(3), rotation)
    )
    there = camera(0.4, size=48)
    round_it = torch.eye(4)
    round_it[:3, :3] = rotation_matrix(rotation).T
    moved = replace(there, camera_to_world=round_it @ there.camera_to_world)
    with torch.no_grad():
        appearance.cloud.log_scales[:, 0] += 1.0  # no longer round
        light = appearance.light.clone()
        appearance.light.zero_()  # which would stay behind
        first, second = render(appearance.scene(rotated), there).rgb, render(appearance.scene(to_gaussians), moved).rgb
        appearance.cloud.log_scales[:, 0] -= 1.0
        appearance.light.copy_(light)
    assert (1 - first).abs().max() > 0.5
    torch.testing.assert_close(first, second, atol=1e-3, rtol=0)


def test_light_does_not_turn_with_a_part(learned: RigidODE) -> None:
    appearance = appearance_of(learned)
    saved = appearance.light.clone()
    state = RigidPartsState(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(1))
    half = replace(state, rotations=torch.tensor([[0.0, 0.0, torch.pi], [0.0, 0.0, 0.0]]))
    mine = appearance.cloud.part_ids[: len(appearance.cloud)] == 0
    try:
        with torch.no_grad():
            appearance.light.zero_()
            plain = appearance.scene(state).harmonics
            appearance.light[0, 0] = -1.0  # the first harmonic falls with y
            lit, rotated = appearance.scene(state), appearance.scene(half)
            black = torch.zeros_like(plain)
            black[:, 0] = -0.5 / C0
            before, after = (((s.harmonics - black) / (plain - black))[mine, 0] for s in (lit, rotated))
            up = torch.nn.functional.normalize(appearance.cloud.means[: len(appearance.cloud)][mine], dim=-1)[:, 1]
    finally:
        with torch.no_grad():
            appearance.light.copy_(saved)
    torch.testing.assert_close(before, (1 + 0.4886 * up)[:, None].expand_as(before), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(after, (1 - 0.4886 * up)[:, None].expand_as(before), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(lit.harmonics[~mine], plain[~mine])


def test_gaussians_stay_with_their_part_as_they_come_and_go(learned: RigidODE) -> None:
    appearance = appearance_of(learned)
    n = len(appearance.cloud)
    part_ids = appearance.cloud.part_ids[:n]
    assert n != 400, "the cloud changed"
    assert (
        appearance.cloud.means[:n].abs()
        <= 1.05 * appearance.parts_config.stray_margin * appearance.half_extents[part_ids]
    ).all()
    colors = appearance.cloud.color[:n, 0].detach()
    red, blue = sorted((colors[part_ids == k].mean(0) for k in (0, 1)), key=lambda c: float(c[2] - c[0]))
    assert red[0] > red[2] + 0.5 and blue[2] > blue[0] + 0.5


def test_strays_are_dropped(learned: RigidODE) -> None:
    appearance = appearance_of(learned)
    saved = {name: tensor.clone() for name, tensor in appearance.state_dict().items()}
    n = len(appearance.cloud)
    with torch.no_grad():
        appearance.cloud.means[3] = 10.0
    appearance.remove_strays()
    assert len(appearance.cloud) == n - 1 and (appearance.cloud.means[: n - 1] < 5).all()
    appearance.load_state_dict(saved)
    appearance.pop_written_rows()


def test_gradients_reach_poses_and_gaussians(learned: RigidODE, seen: list[Frame]) -> None:
    """Balls do not turn; parts of another shape do."""
    learned.zero_grad()
    assert learned.parts.is_round.all()
    learned.parts.is_round.zero_()
    batch = ImageSampler(seen, ["balls"], learned.info, 0).batch(learned.batch_spec(0), 0)
    total_loss(learned.losses(batch, 0)).backward()
    learned.parts.is_round.fill_(True)
    for parameter in (learned.parts.centres, learned.parts.rotations, appearance_of(learned).cloud.log_scales):
        assert parameter.grad is not None and parameter.grad.any()
    learned.zero_grad()


def test_a_state_dict_fits_a_method_without_a_warm_start(learned: RigidODE) -> None:
    name = next(name for name, config in CONFIGS.items() if config is learned.config)
    other, saved = new(name), learned.state_dict()
    other.load_state_dict(saved)
    for time in (2.4, 3.3):
        first, second = (render(scene_at(m.eval(), time), camera(0.2, size=16)).rgb for m in (learned, other))
        assert torch.equal(first, second)


def test_past_the_window_parts_move_on(learned: RigidODE) -> None:
    last, later = (state_at(learned, t).centres for t in (3.0, 3.2))
    assert ((last - later).norm(dim=-1) > 1e-2).all()
    assert render(scene_at(learned, 20.0), camera(0.1, size=16)).rgb.isfinite().all()


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_without_parts_there_is_nothing_to_ride_with(name: str, seen: list[Frame]) -> None:
    with pytest.raises(UserError, match="no moving part was found"):
        new(name).warm_start([f for f in seen if f.time == TIMES[0]] * 6, [None])


def test_several_sequences_have_voxels_only() -> None:
    with pytest.raises(UserError, match="several sequences with voxels only"):
        METHODS["rigid-ode"].load()(CONFIGS["gaussians"], changed(info(TIMES), times=(TIMES, TIMES)))


def test_saved_gaussians_belong_to_parts_that_there_are() -> None:
    """Part ids from K + 1 on are shadows, of which there are none without a light."""
    appearance, other = (GaussianAppearance(CONFIGS["gaussians"], info(TIMES), torch.ones(2, 3)) for _ in range(2))
    appearance.cloud.add_points(torch.zeros(1, 3), torch.ones(1, 3), torch.ones(1), 0.5, part_id=3)
    with pytest.raises(UserError, match="Gaussians: part_ids: 3 is not in 0 to 2"):
        other.load_state_dict(appearance.state_dict())
    appearance.shadows.growth.fill_(1.0)
    other.load_state_dict(appearance.state_dict())
