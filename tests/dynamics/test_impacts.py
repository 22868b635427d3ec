"""Dynamics of impacts, fitted to paths: of our own solver, of a physics engine, and of what is no ball."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from foreseen.dynamics.ball_motion import BallParameters
from foreseen.dynamics.collisions import WIDTH, CollisionWorld, roll_out
from foreseen.dynamics.impacts import ImpactDynamics, PathSmoother
from foreseen.dynamics.impacts_config import CollisionConfig, ImpactsConfig
from foreseen.dynamics.sequence_dynamics import SequenceDynamics
from foreseen.errors import UserError
from foreseen.methods.rigid_ode.config import RigidODEConfig
from foreseen.nn.splines import smoothing
from foreseen.simulate.bouncing_balls import RADII, SCENARIO
from foreseen.simulate.scenario import SequenceIndex

FRAMES, FORECAST_FRAMES, FPS = 60, 24, 30
CONFIG = replace(RigidODEConfig().dynamics, widths=(12,), iterations=4, ensemble_size=2)
LIMITS = CollisionConfig()
NORMALS = np.array([[0, 0, 1.0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
SIZES = torch.tensor([0.15, 0.12, 0.135], dtype=torch.float64)
STARTS = np.array([
    [-0.30, -0.2, 0.60, 0.9, 0.5, 0.3], [0.30, -0.3, 0.75, -0.7, 0.4, 0.0], [0.05, 0.35, 0.50, 0.5, -0.9, 0.4],
])  # fmt: skip


def box(restitution: float = 0.85, friction: float = 0.0, drag: float = 0.0) -> CollisionWorld:
    """In seconds and metres."""
    radii = SIZES.numpy()
    return CollisionWorld(
        radii, radii**3, np.ones(3), np.ones(3, bool), np.array([0, 0, -9.81]), drag, friction, restitution, NORMALS,
        np.array([0, -0.6, -0.6, -0.6, -0.6]), np.full(5, restitution),
        1e-3, LIMITS.level_slope, LIMITS.search_step, LIMITS.max_events,
    )  # fmt: skip


@cache
def paths(world_of: str = "box") -> Tensor:
    """`[FRAMES + FORECAST_FRAMES, 3, 3]`, of our own solver."""
    world = {"box": box(), "rough": box(0.8, 0.2, 0.1)}[world_of]
    start = np.concatenate([STARTS, np.zeros((3, WIDTH - 6))], axis=1)
    states, hits = roll_out(start, np.arange(FRAMES + FORECAST_FRAMES) / FPS, world)
    assert hits[:, :3].sum() >= 4, "balls meet"
    return torch.from_numpy(states[..., :3])


def window(count: int = FRAMES) -> Tensor:
    return torch.arange(count, dtype=torch.float64) / (count - 1)


def later(count: int = FORECAST_FRAMES) -> Tensor:
    return 1 + torch.arange(1, count + 1, dtype=torch.float64) / (FRAMES - 1)


def fitted(seen: Tensor, radii: Tensor = SIZES, smoother: PathSmoother | None = None) -> ImpactDynamics:
    ode = ImpactDynamics(len(radii), ImpactsConfig())
    assert not ode.fitted
    ode.fit(torch.linspace(0, 1, len(seen), dtype=torch.float64), seen, radii, smoother)
    return ode


@cache
def clean() -> ImpactDynamics:
    return fitted(paths()[:FRAMES])


def noisy(true: Tensor, noise: float, seed: int = 0) -> Tensor:
    return true + noise * torch.randn(true.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def splined(seen: Tensor) -> tuple[Tensor, PathSmoother]:
    """As the trajectories of the preset: one control point per 2.5 frames."""
    controls = round(len(seen) / 2.5)
    weights = smoothing(controls, window(len(seen)), torch.linspace(0, 1, 2 * controls + 1, dtype=torch.float64))
    return torch.einsum("nm,mkd->nkd", weights, seen), PathSmoother(window(len(seen)), weights)


def forecast_error(ode: ImpactDynamics, true: Tensor) -> float:
    """Mean distance of the forecast from the truth [m]."""
    return (ode.extrapolate(later(len(true) - FRAMES)) - true[FRAMES:]).norm(dim=-1).mean().item()


def static_error(true: Tensor) -> float:
    """The same for the last position."""
    return (true[FRAMES - 1] - true[FRAMES:]).norm(dim=-1).mean().item()


def test_constants_are_found_from_clean_paths() -> None:
    ode = clean()
    assert ode.fitted and ode.misfit < 0.01
    seconds = (FRAMES - 1) / FPS
    torch.testing.assert_close(ode.constants[:3] / seconds**2, torch.tensor([0, 0, -9.81]).double(), atol=0.05, rtol=0)
    assert ode.world.restitution == pytest.approx(0.85, abs=0.05)
    assert ode.world.radii == pytest.approx(SIZES.numpy(), rel=0.02)
    floor = ode.world.normals @ [0, 0, 1] > 0.9
    assert floor.sum() == 1 and ode.world.normals[floor][0, 2] > 0.9999
    assert abs(ode.world.offsets[floor][0]) < 2e-3 and ode.world.bounces[floor][0] == pytest.approx(0.85, abs=0.02)
    assert (ode.world.normals[~floor] @ NORMALS[1:].T).max(1).min() > 0.99
    near = np.abs(ode.world.offsets[~floor] + 0.6) < 5e-3
    assert near.sum() >= 2 and np.abs(ode.world.offsets[~floor] + 0.6).max() < 0.06, "one is hit once, at the very end"


def test_clean_paths_are_forecast() -> None:
    assert forecast_error(clean(), paths()) < 0.3 * static_error(paths())


@pytest.mark.parametrize("system", ["box", "rough"])
def test_noisy_splines_of_paths_are_forecast(system: str) -> None:
    """3 mm of noise, impacts smoothed over a quarter of a second, radii that are 15 % too large."""
    seen, smoother = splined(noisy(paths(system)[:FRAMES], 3e-3))
    ode = fitted(seen, 1.15 * SIZES, smoother)
    assert forecast_error(ode, paths(system)) < 0.35 * static_error(paths(system))
    assert ode.world.radii == pytest.approx(SIZES.numpy(), rel=0.06)


@pytest.mark.parametrize("seed", [0, 1])
def test_balls_of_a_physics_engine_are_forecast(seed: int) -> None:
    system = SCENARIO.system(SequenceIndex(0, False), {})
    start = system.draw(np.random.default_rng([seed, 0, 0]), system.constants, SequenceIndex(0, False))
    true = torch.from_numpy(system.solve(system.constants, start, np.arange(FRAMES + 18) / FPS).positions)
    seen, smoother = splined(noisy(true[:FRAMES], 3e-3, seed))
    ode = fitted(seen, 1.15 * torch.tensor(RADII, dtype=torch.float64), smoother)
    assert forecast_error(ode, true) < 0.6 * static_error(true)


def one(height: float, side: float, restitution: float) -> Tensor:
    world = box(restitution)
    world = world._replace(
        radii=world.radii[:1],
        masses=world.masses[:1],
        weights=np.ones(1),
        collides=np.ones(1, bool),
        normals=NORMALS[:1],
        offsets=np.zeros(1),
        bounces=np.full(1, restitution),
    )
    start = np.array([[0, 0, height, side, 0, 0, 0, 0, 0]])
    return torch.from_numpy(roll_out(start, np.arange(FRAMES + FORECAST_FRAMES) / FPS, world)[0][..., :3])


def test_one_ball_keeps_bouncing() -> None:
    true = one(1.0, 0.5, 0.9)
    ode = fitted(noisy(true[:FRAMES], 2e-3), SIZES[:1])
    assert forecast_error(ode, true) < 0.03 and len(ode.world.offsets) == 1


def test_one_ball_that_came_to_rest_stays_there() -> None:
    true = one(0.4, 0.0, 0.4)
    ode = fitted(noisy(true[:FRAMES], 1e-3), SIZES[:1])
    ahead = ode.extrapolate(torch.tensor([1.1, 2.0, 5.0], dtype=torch.float64))
    assert (ahead[:, 0, 2] - 0.15).abs().max() < 0.01
    assert (ahead - true[-1]).norm(dim=-1).max() < 0.05


def test_balls_that_touch_nothing_fly_on() -> None:
    t = torch.arange(FRAMES + FORECAST_FRAMES, dtype=torch.float64)[:, None, None] / FPS
    places = torch.tensor([[0.0, 0, 1], [2, 0, 0], [-2, 0, 0]]).double()
    rates = torch.tensor([[1.0, 0, 3], [0, 2, 9], [0, -1, 5]]).double()
    true = places + rates * t + 0.5 * t**2 * torch.tensor([0, 0, -9.81]).double()
    ode = fitted(true[:FRAMES])
    assert forecast_error(ode, true) < 1e-3 and len(ode.world.offsets) == 0
    before = ode.extrapolate(torch.tensor([-0.5]).double())
    t = -0.5 * (FRAMES - 1) / FPS
    assert (before - places - rates * t - 0.5 * t**2 * torch.tensor([0, 0, -9.81]).double()).norm(dim=-1).max() < 1e-2


def test_a_shadow_touches_nothing() -> None:
    """It moves on the floor below a ball, and through the others."""
    true = paths()
    shadow = true[:, :1] * torch.tensor([1.0, 1.0, 0.0]).double()
    ode = fitted(torch.cat([true, shadow], dim=1)[:FRAMES], torch.cat([SIZES, SIZES[:1]]))
    error = (ode.extrapolate(later())[:, :3] - true[FRAMES:]).norm(dim=-1).mean()
    assert not ode.world.collides[3] and error < 0.35 * static_error(true)
    assert ode.extrapolate(later()).isfinite().all()


def test_swapped_positions_do_not_distort_the_dynamics() -> None:
    seen = noisy(paths()[:FRAMES], 1e-3)
    seen[[20, 21, 44]] = seen[[20, 21, 44]][:, [1, 0, 2]]
    assert forecast_error(fitted(seen), paths()) < 0.35 * static_error(paths())


def test_before_the_window_nothing_leaves_the_box() -> None:
    ode = clean()
    ago = ode.extrapolate(-torch.linspace(0.01, 2, 60, dtype=torch.float64))
    depth = ago.numpy() @ ode.world.normals.T - ode.world.offsets - ode.world.radii[:, None]
    assert depth.min() > -1e-6
    near = ode.extrapolate(torch.tensor([-1e-3, 0.0]).double())
    assert (near - paths()[0]).norm(dim=-1).max() < 0.01


def test_the_order_of_times_does_not_matter_and_times_may_repeat() -> None:
    times = torch.tensor([1.4, -0.2, 1.1, 0.3, 1.4, 1.0], dtype=torch.float64)
    mixed = clean().extrapolate(times)
    alone = torch.cat([clean().extrapolate(times[[i]]) for i in range(len(times))])
    assert torch.equal(mixed[0], mixed[4])
    torch.testing.assert_close(mixed, alone, atol=1e-6, rtol=0)
    assert clean().extrapolate(times[:0]).shape == (0, 3, 3)


def test_times_in_seconds_give_the_same_forecast() -> None:
    true, ode = one(1.0, 0.5, 0.9), ImpactDynamics(1, ImpactsConfig())
    ode.fit(5 + 2 * window(), true[:FRAMES], SIZES[:1])
    assert (ode.extrapolate(5 + 2 * later()) - true[FRAMES:]).norm(dim=-1).max() < 5e-3


def test_a_checkpoint_holds_everything(tmp_path: Path) -> None:
    save_file(clean().state_dict(), tmp_path / "impacts.safetensors")
    other = ImpactDynamics(3, ImpactsConfig())
    other.load_state_dict(load_file(tmp_path / "impacts.safetensors"))
    assert (
        torch.equal(other.extrapolate(later()), clean().extrapolate(later())) and other.describe() == clean().describe()
    )
    save_file(ImpactDynamics(0, ImpactsConfig()).state_dict(), tmp_path / "none.safetensors")
    ImpactDynamics(0, ImpactsConfig()).load_state_dict(load_file(tmp_path / "none.safetensors"))


def test_noise_is_not_fitted() -> None:
    generator = torch.Generator().manual_seed(1)
    ode = fitted(torch.randn(FRAMES, 2, 3, dtype=torch.float64, generator=generator), torch.full((2,), 0.1).double())
    assert not ode.fitted or ode.misfit > 0.3


@pytest.mark.parametrize(("change", "words"), [
    (lambda t, c, r: (t, c[:, :2], r), r"centres \[20, 2, 3\] and radii \[3\] must be \[20, 3, 3\] and \[3\]"),
    (lambda t, c, r: (t, c * float("nan"), r), "centres hold a number that is not finite: leave these times out"),
    (lambda t, c, r: (t.flip(0), c, r), "times must ascend and radii be positive"),
    (lambda t, c, r: (t, c, 0 * r), "times must ascend and radii be positive"),
])  # fmt: skip
def test_bad_input_is_refused_in_one_line(change: object, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        ImpactDynamics(3, ImpactsConfig()).fit(*change(window(20), paths()[:20], SIZES))  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_a_window_that_is_too_short_is_not_fitted() -> None:
    assert not fitted(paths()[:5]).fitted


# Among the models of one sequence.


def poses_of(centres: Tensor, units: Tensor) -> Tensor:
    """With a constant rotation about z."""
    rotations = torch.zeros_like(centres)
    rotations[..., 2] = 2 * torch.linspace(0, 1, len(centres), dtype=torch.float64)[:, None]
    return (torch.cat([centres, rotations], dim=-1) * units[:, None]).flatten(1)


def test_impacts_are_chosen_if_they_predict_best_and_rotations_continue() -> None:
    seen, smoother = splined(noisy(paths()[:FRAMES], 3e-3))
    units = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    motion = SequenceDynamics(CONFIG, 18, 3)
    motion.fit(poses_of(seen, units), BallParameters(SIZES, units, smoother))
    assert motion.fitted and motion.uses_impacts and not motion.dynamics.fitted
    centres, rotations = (motion.extrapolate(later()).unflatten(-1, (3, 6)) / units[:, None]).split(3, dim=-1)
    assert (centres - paths()[FRAMES:]).norm(dim=-1).mean() < 0.35 * static_error(paths())
    torch.testing.assert_close(rotations[..., 2], (2 * later())[:, None].expand(-1, 3), atol=1e-6, rtol=0)
    other = SequenceDynamics(CONFIG, 18, 3)
    other.load_state_dict(motion.state_dict())
    assert torch.equal(other.extrapolate(later()), motion.extrapolate(later()))


def test_a_pendulum_keeps_its_smooth_dynamics() -> None:
    """Although parabolas between walls approximate it."""
    t = 9 * window()
    angle = t.cos()
    centre = torch.stack([3 * angle.sin(), 0 * t, 3 - 3 * angle.cos()], -1)
    poses = torch.cat([centre, 0 * centre], dim=-1)
    motion = SequenceDynamics(CONFIG, 6, 1)
    motion.fit(poses, BallParameters(torch.tensor([0.3]).double(), torch.ones(1).double()))
    assert motion.dynamics.fitted and not motion.uses_impacts
