"""Gaussians that ride with parts, under Node-RF's `fast` preset and under Gaussian ODE."""

from dataclasses import replace

import pytest
import torch

from film_training import fit, psnr
from foreseen.batches.images import ImageSampler
from foreseen.core.method import scene_at
from foreseen.core.observation import Observation
from foreseen.data.types import Frame
from foreseen.dynamics.config import LawConfig
from foreseen.errors import UserError
from foreseen.geometry.rotations import rotation_matrix
from foreseen.methods import METHODS
from foreseen.methods.rigid_ode.config import PRESETS, RigidODEConfig
from foreseen.methods.rigid_ode.gaussian_look import OUTSIDE, GaussianLook
from foreseen.methods.rigid_ode.method import MovingPartsMethod
from foreseen.methods.rigid_ode.parts import PartsState
from foreseen.render import render
from foreseen.scenes import Gaussians
from foreseen.splatting.cloud import C0
from foreseen.splatting.config import CloudConfig
from foreseen.training.optimizer import total_loss
from moving_balls import LEFT, RIGHT, camera, frames, info

TIMES = tuple(2.0 + i / 15 for i in range(16))
CLOUD = CloudConfig(
    budget=700, degree=0, start_points=400, start_opacity=0.5, refine_every=20, refine_from=20, reset_every=0,
    means_lr=2e-3, means_lr_final=2e-4, color_lr=2e-2, ssim_weight=0.0,
)  # fmt: skip
LAW = LawConfig(widths=(8,), lengths=(0.4,), rounds=2, members=2, law_at=(0.5, 0.95))
CONFIGS = {
    "fast": RigidODEConfig(appearance="gaussians", cloud=CLOUD, cells=16, one=LAW),
    "gaussians": replace(PRESETS["gaussians"], cloud=CLOUD, cells=16, one=LAW),
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    """Two balls that move before four fixed cameras."""
    return frames(tmp_path_factory.mktemp("balls"), [LEFT, RIGHT], TIMES, size=32)


def new(name: str) -> MovingPartsMethod:
    torch.manual_seed(0)
    method = METHODS[name].load()(CONFIGS[name], info(TIMES))
    assert isinstance(method, MovingPartsMethod)
    return method


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def learned(request: pytest.FixtureRequest, seen: list[Frame]) -> MovingPartsMethod:
    """Trained for a moment."""
    method = new(request.param)
    fit(method, seen, 150)
    method.finish()
    return method


def look_of(method: MovingPartsMethod) -> GaussianLook:
    assert isinstance(method.look, GaussianLook)
    return method.look


def state_at(method: MovingPartsMethod, time: float) -> PartsState:
    state = method.evolve(method.observe(Observation()), torch.tensor([time]))
    return PartsState(state.centres[0].detach(), state.turns[0].detach(), state.latent[0])


def test_two_balls_are_learned(learned: MovingPartsMethod, seen: list[Frame]) -> None:
    white = -10 * float(torch.stack([(1 - f.image()).square().mean() for f in seen]).mean().log10())
    assert learned.parts.count == 2 and psnr(learned, seen) > white + 6


def test_gaussians_ride_rigidly(learned: MovingPartsMethod) -> None:
    look = look_of(learned)
    early, late = (state_at(learned, t) for t in (2.1, 2.9))
    owners = look.cloud.owners[: len(look.cloud)]
    assert set(owners.tolist()) == {0, 1}, "nothing rests before a plain background"
    for k in (0, 1):
        before, after = (look.scene(s).means[owners == k] for s in (early, late))
        turned = rotation_matrix(late.turns[k]) @ rotation_matrix(early.turns[k]).T
        expected = (before - early.centres[k]) @ turned.T + late.centres[k]
        torch.testing.assert_close(after, expected, atol=1e-5, rtol=1e-5)


def test_what_moves_and_what_rests_are_told_apart(learned: MovingPartsMethod) -> None:
    state = state_at(learned, 2.4)
    whole, still, moving = learned.scene(state), learned.layer(state, "static"), learned.layer(state, "dynamic")
    assert isinstance(whole, Gaussians) and isinstance(still, Gaussians) and isinstance(moving, Gaussians)
    assert len(still.means) == 0 and torch.equal(moving.means, whole.means), "nothing rests before a plain background"
    look = look_of(learned)
    owners = look.cloud.owners.clone()
    try:
        look.cloud.owners[:7] = len(look.halves)
        still, moving = learned.layer(state, "static"), learned.layer(state, "dynamic")
        assert len(still.means) == 7 and len(moving.means) == len(whole.means) - 7
        assert torch.equal(still.means, look.cloud.means[:7])
    finally:
        look.cloud.owners.copy_(owners)


def test_a_part_that_turns_looks_as_if_the_camera_went_round_it(learned: MovingPartsMethod) -> None:
    """Means and shapes turn together."""
    look = look_of(learned)
    turn = torch.tensor([0.3, -0.8, 0.5])
    away = torch.full((1, 3), 1e4)
    at_rest, turned = (
        PartsState(torch.cat([torch.zeros(1, 3), away]), torch.stack([t, torch.zeros(3)]), torch.zeros(1))
        for t in (torch.zeros(3), turn)
    )
    there = camera(0.4, size=48)
    round_it = torch.eye(4)
    round_it[:3, :3] = rotation_matrix(turn).T
    moved = replace(there, camera_to_world=round_it @ there.camera_to_world)
    with torch.no_grad():
        look.cloud.log_scales[:, 0] += 1.0  # no longer round
        light = look.light.clone()
        look.light.zero_()  # which would stay behind
        first, second = render(look.scene(turned), there).rgb, render(look.scene(at_rest), moved).rgb
        look.cloud.log_scales[:, 0] -= 1.0
        look.light.copy_(light)
    assert (1 - first).abs().max() > 0.5
    torch.testing.assert_close(first, second, atol=1e-3, rtol=0)


def test_light_does_not_turn_with_a_part(learned: MovingPartsMethod) -> None:
    look = look_of(learned)
    saved = look.light.clone()
    state = PartsState(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(1))
    half = replace(state, turns=torch.tensor([[0.0, 0.0, torch.pi], [0.0, 0.0, 0.0]]))
    mine = look.cloud.owners[: len(look.cloud)] == 0
    try:
        with torch.no_grad():
            look.light.zero_()
            plain = look.scene(state).harmonics
            look.light[0, 0] = -1.0  # the first harmonic falls with y
            lit, turned = look.scene(state), look.scene(half)
            black = torch.zeros_like(plain)
            black[:, 0] = -0.5 / C0
            before, after = (((s.harmonics - black) / (plain - black))[mine, 0] for s in (lit, turned))
            up = torch.nn.functional.normalize(look.cloud.means[: len(look.cloud)][mine], dim=-1)[:, 1]
    finally:
        with torch.no_grad():
            look.light.copy_(saved)
    torch.testing.assert_close(before, (1 + 0.4886 * up)[:, None].expand_as(before), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(after, (1 - 0.4886 * up)[:, None].expand_as(before), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(lit.harmonics[~mine], plain[~mine])


def test_gaussians_stay_with_their_part_as_they_come_and_go(learned: MovingPartsMethod) -> None:
    look = look_of(learned)
    n = len(look.cloud)
    owners = look.cloud.owners[:n]
    assert n != 400, "the cloud changed"
    assert (look.cloud.means[:n].abs() <= 1.05 * OUTSIDE * look.halves[owners]).all()
    colors = look.cloud.color[:n, 0].detach()
    red, blue = sorted((colors[owners == k].mean(0) for k in (0, 1)), key=lambda c: float(c[2] - c[0]))
    assert red[0] > red[2] + 0.5 and blue[2] > blue[0] + 0.5


def test_strays_are_dropped(learned: MovingPartsMethod) -> None:
    look = look_of(learned)
    saved = {name: tensor.clone() for name, tensor in look.state_dict().items()}
    n = len(look.cloud)
    with torch.no_grad():
        look.cloud.means[3] = 10.0
    look.drop_strays()
    assert len(look.cloud) == n - 1 and (look.cloud.means[: n - 1] < 5).all()
    look.load_state_dict(saved)
    look.take_written()


def test_gradients_reach_poses_and_gaussians(learned: MovingPartsMethod, seen: list[Frame]) -> None:
    """Balls do not turn; parts of another shape do."""
    learned.zero_grad()
    assert learned.parts.round.all()
    learned.parts.round.zero_()
    batch = ImageSampler(seen, ["balls"], learned.info, 0).batch(learned.batch_spec(0), 0)
    total_loss(learned.losses(batch, 0)).backward()
    learned.parts.round.fill_(True)
    for parameter in (learned.parts.centres, learned.parts.turns, look_of(learned).cloud.log_scales):
        assert parameter.grad is not None and parameter.grad.any()
    learned.zero_grad()


def test_a_state_dict_fits_a_method_without_a_warm_start(learned: MovingPartsMethod) -> None:
    name = "rigid-ode" if isinstance(learned.config, RigidODEConfig) else "gaussian-ode"
    other, saved = new(name), learned.state_dict()
    other.load_state_dict(saved)
    for time in (2.4, 3.3):
        first, second = (render(m.eval().at_time(time), camera(0.2, size=16)).rgb for m in (learned, other))
        assert torch.equal(first, second)


def test_past_the_window_parts_move_on(learned: MovingPartsMethod) -> None:
    last, later = (state_at(learned, t).centres for t in (3.0, 3.2))
    assert ((last - later).norm(dim=-1) > 1e-2).all()
    assert render(scene_at(learned, 20.0), camera(0.1, size=16)).rgb.isfinite().all()


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_without_parts_there_is_nothing_to_ride_with(name: str, seen: list[Frame]) -> None:
    with pytest.raises(UserError, match="no moving part was told apart"):
        new(name).warm_start([f for f in seen if f.time == TIMES[0]] * 6, [None])


def test_several_sequences_have_voxels_only() -> None:
    with pytest.raises(UserError, match="several sequences with voxels only"):
        METHODS["rigid-ode"].load()(CONFIGS["rigid-ode"], replace(info(TIMES), times=(TIMES, TIMES)))


def test_saved_gaussians_belong_to_parts_that_there_are() -> None:
    """Owners from K + 1 on are shadows, of which there are none without a light."""
    method = new("gaussian-ode")
    look, other = (method.like(torch.ones(2, 3), {}) for _ in range(2))
    look.cloud.plant(torch.zeros(1, 3), torch.ones(1, 3), torch.ones(1), 0.5, owner=3)
    with pytest.raises(UserError, match="Gaussians: owners: 3 is not in 0 to 2"):
        other.load_state_dict(look.state_dict())
    look.shadows.growth.fill_(1.0)
    other.load_state_dict(look.state_dict())
