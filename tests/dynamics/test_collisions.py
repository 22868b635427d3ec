"""Solutions from event to event, against closed forms and conserved quantities."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from foreseen.dynamics.collisions import WIDTH, CollisionWorld, pair_time, roll_out, wall_time
from foreseen.dynamics.impacts_config import CollisionConfig

LIMITS = CollisionConfig()
FLOOR = ((0.0, 0.0, 1.0), 0.0)
BOX = (FLOOR, *(((x, y, 0.0), -1.0) for x, y in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))))


def world(count: int, walls: tuple = (), gravity: tuple = (0.0, 0.0, -10.0), **more: object) -> CollisionWorld:
    radii = np.full(count, 0.1) + 0.02 * np.arange(count)
    plain = CollisionWorld(
        radii, radii**3, np.ones(count), np.ones(count, bool), np.array(gravity), 0.0, 0.0, 1.0,
        np.array([n for n, _ in walls], dtype=float).reshape(-1, 3), np.array([o for _, o in walls], dtype=float),
        np.ones(len(walls)), 1e-3, LIMITS.level_slope, LIMITS.search_step, LIMITS.max_events,
    )  # fmt: skip
    return plain._replace(**more)


def state(*rows: tuple) -> np.ndarray:
    out = np.zeros((len(rows), WIDTH))
    for k, row in enumerate(rows):
        out[k, : len(row)] = row
    return out


def four_balls(seed: int) -> np.ndarray:
    """Four balls in the box, apart, that fly and spin."""
    rng = np.random.default_rng(seed)
    places = np.array([[-0.5, -0.5, 0.4], [0.5, -0.4, 0.6], [-0.4, 0.5, 0.9], [0.5, 0.5, 0.3]])
    return np.concatenate([places, rng.uniform(-3, 3, (4, 6))], axis=1)


def energy(states: np.ndarray, w: CollisionWorld) -> np.ndarray:
    """Of T states: kinetic, of the spin (2/5 m r^2), and potential."""
    v, spin = np.square(states[..., 3:6]).sum(-1), np.square(states[..., 6:]).sum(-1)
    height = states[..., :3] @ w.gravity
    return (w.masses * (0.5 * v + 0.2 * w.radii**2 * spin - height)).sum(-1)


def test_free_fall_is_exact() -> None:
    times = np.linspace(0, 3, 31)
    states, hits = roll_out(state((1, 2, 3, 4, 5, 6)), times, world(1))
    t = times[:, None]
    np.testing.assert_allclose(states[:, 0, :3], [1, 2, 3] + t * [4, 5, 6] + 0.5 * t**2 * [0, 0, -10], atol=1e-12)
    np.testing.assert_allclose(states[:, 0, 3:6], [4, 5, 6] + t * [0, 0, -10], atol=1e-12)
    assert not hits.any()


@pytest.mark.parametrize("drag", [1e-6, 0.02, 1.5, 40.0])
def test_drag_is_that_of_the_differential_equation(drag: float) -> None:
    times = np.linspace(0, 2, 9)
    states, _ = roll_out(state((0, 0, 0, 3, -1, 5)), times, world(1, drag=drag))

    def rate(_: float, y: np.ndarray) -> np.ndarray:
        return np.concatenate([y[3:], [0, 0, -10] - drag * y[3:]])

    true = solve_ivp(rate, (0, 2), [0, 0, 0, 3, -1, 5], t_eval=times, rtol=1e-11, atol=1e-12, method="LSODA").y.T
    np.testing.assert_allclose(states[:, 0, :6], true, atol=1e-7)


@pytest.mark.parametrize("seed", range(40))
def test_the_time_of_a_wall_is_the_first_downward_zero(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, v, a, drag = rng.uniform(0, 2), rng.uniform(-3, 3), rng.uniform(-4, 4), rng.choice([0.0, 1e-4, 0.5, 5.0])
    computed = wall_time(height, v, a, drag, 4.0)
    t = np.linspace(0, 4, 400_001)
    s, r = (t, t**2 / 2) if drag == 0 else (-np.expm1(-drag * t) / drag, (t + np.expm1(-drag * t) / drag) / drag)
    below = np.flatnonzero(height + v * s + a * r < -1e-9)
    if len(below):
        assert computed == pytest.approx(t[below[0]], abs=2e-4)
    else:
        assert computed == math.inf


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("pulled", [False, True])
def test_the_time_of_a_pair_is_the_first_touch(seed: int, pulled: bool) -> None:
    rng = np.random.default_rng(seed)
    x, drag = rng.normal(size=3), float(rng.choice([0.0, 0.7]))
    x *= 1.2 / np.linalg.norm(x)
    v, a = -2 * x + rng.normal(size=3), rng.normal(size=3) * pulled
    computed = pair_time(x, v, a, 0.5, drag, 2.0, LIMITS.search_step)
    t = np.linspace(0, 2, 200_001)[:, None]
    s, r = (t, t**2 / 2) if drag == 0 else (-np.expm1(-drag * t) / drag, (t + np.expm1(-drag * t) / drag) / drag)
    near = np.flatnonzero(np.linalg.norm(x + v * s + a * r, axis=1) < 0.5)
    assert computed == (pytest.approx(t[near[0], 0], abs=1e-4) if len(near) else math.inf)


@pytest.mark.parametrize("friction", [0.0, 0.3, 2.0])
def test_two_balls_conserve_momentum_and_angular_momentum(friction: float) -> None:
    w = world(2, gravity=(0, 0, 0), restitution=0.6, friction=friction)
    start = state((0, 0, 0, 1, 0.2, 0, 3, -2, 9), (1, 0.1, 0.05, -1, 0, 0.3, 1, 5, -4))
    states, hits = roll_out(start, np.array([0.0, 2.0]), w)
    assert hits[0, 1] == hits[1, 0] == 1

    def moments(states: np.ndarray) -> np.ndarray:
        push = w.masses[:, None] * states[:, 3:6]
        spin = 0.4 * (w.masses * w.radii**2)[:, None] * states[:, 6:]
        return np.concatenate([push.sum(0), (np.cross(states[:, :3], push) + spin).sum(0)])

    np.testing.assert_allclose(moments(states[1]), moments(start), atol=1e-15)


def test_equal_balls_swap_velocities_head_on() -> None:
    w = world(2, gravity=(0, 0, 0))._replace(radii=np.full(2, 0.1), masses=np.ones(2))
    states, _ = roll_out(state((0, 0, 0, 2, 0, 0), (1.2, 0, 0)), np.array([1.0]), w)
    np.testing.assert_allclose(states[0, :, :6], [[1, 0, 0, 0, 0, 0], [2.2, 0, 0, 2, 0, 0]], atol=1e-12)


def test_a_lossless_wall_mirrors_the_path() -> None:
    """Without loss, the path after the impact is the mirrored path."""
    normal = np.array([0.6, 0.0, 0.8])
    w = world(1, ((tuple(normal), -0.5),), gravity=(0, 0, 0))
    start, times = state((0.3, 0.2, 0.4, -3, 1, -2)), np.linspace(0, 2, 21)
    states, hits = roll_out(start, times, w)
    straight = start[0, :3] + times[:, None] * start[0, 3:6]
    depth = straight @ normal + 0.5 - 0.1
    mirrored = np.where(depth[:, None] < 0, straight - 2 * depth[:, None] * normal, straight)
    assert hits[0, 1] == 1
    np.testing.assert_allclose(states[:, 0, :3], mirrored, atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_energy_is_conserved_without_loss_and_never_gained(seed: int) -> None:
    times = np.linspace(0, 5, 201)
    lossless = world(4, BOX)
    states, hits = roll_out(four_balls(seed), times, lossless)
    assert hits.sum() > 20
    np.testing.assert_allclose(energy(states, lossless), energy(states[:1], lossless)[0], rtol=1e-9)
    lossy = world(4, BOX, restitution=0.8, bounces=np.full(5, 0.7), friction=0.3, drag=0.1)
    states, _ = roll_out(four_balls(seed), times, lossy)
    assert np.diff(energy(states, lossy)).max() < 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_balls_stay_in_the_box_and_out_of_one_another(seed: int) -> None:
    w = world(4, BOX, restitution=0.8, bounces=np.full(5, 0.7), friction=0.3)
    states, _ = roll_out(four_balls(seed), np.linspace(0, 30, 901), w)
    depth = states[..., :3] @ w.normals.T - w.offsets - w.radii[:, None]
    assert depth.min() > -1e-9
    for j, k in zip(*np.triu_indices(4, 1)):
        gap = np.linalg.norm(states[:, j, :3] - states[:, k, :3], axis=-1)
        assert gap.min() > w.radii[j] + w.radii[k] - 1e-8


def test_a_bouncing_ball_comes_to_rest_and_rolls_on() -> None:
    """A sliding solid sphere loses 2/7 of its speed until it rolls."""
    w = world(1, (FLOOR,), bounces=np.array([0.6]), friction=0.5)
    states, hits = roll_out(state((0, 0, 0.6, 2, 0, 0)), np.array([0.0, 5.0, 6.0]), w)
    assert 5 < hits[0, 1] < 40
    np.testing.assert_allclose(states[1:, 0, 2], 0.1, atol=1e-12)
    np.testing.assert_allclose(states[1:, 0, 3], 10 / 7, atol=1e-9)
    assert states[2, 0, 0] - states[1, 0, 0] == pytest.approx(10 / 7)


@pytest.mark.parametrize(("slope", "rolls"), [(0.005, False), (0.1, True)])
def test_nothing_rolls_down_a_nearly_level_slope(slope: float, rolls: bool) -> None:
    normal = (math.sin(slope), 0.0, math.cos(slope))
    states, _ = roll_out(state(tuple(0.1 * x for x in normal)), np.array([3.0]), world(1, ((normal, 0.0),)))
    way = 0.5 * 9 * 10 * math.sin(slope) if rolls else 0.0
    assert np.linalg.norm(states[0, 0, :3] - 0.1 * np.array(normal)) == pytest.approx(way, abs=1e-6)


def test_a_ball_at_rest_is_hit_and_flies_again() -> None:
    w = world(2, (FLOOR,), bounces=np.array([0.5]))
    start = state((0, 0, 0.1), (0.03, 0, 0.5, 0, 0, -5))
    states, hits = roll_out(start, np.linspace(0, 0.5, 51), w)
    assert hits[0, 1] >= 1 and hits[0, 2] >= 2
    assert states[-1, 0, 0] < -0.01 < 0.03 < states[-1, 1, 0]


def test_shadows_touch_nothing_and_feel_no_gravity() -> None:
    w = world(2, (FLOOR,))._replace(collides=np.array([True, False]), weights=np.array([1.0, 0.0]))
    states, hits = roll_out(state((0, 0, 0.5, 1), (0.1, 0, 0.02, 1)), np.array([2.0]), w)
    np.testing.assert_allclose(states[0, 1, :6], [2.1, 0, 0.02, 1, 0, 0], atol=1e-12)
    assert hits[0, 2] > 0 and not hits[1].any() and not hits[:, 1].any()


def test_requested_times_do_not_change_the_solution() -> None:
    w = world(4, BOX, restitution=0.8, bounces=np.full(5, 0.7), friction=0.3)
    many, _ = roll_out(four_balls(1), np.linspace(0, 2, 201), w)
    few, _ = roll_out(four_balls(1), np.array([0.0, 1.0, 1.0, 2.0]), w)
    np.testing.assert_allclose(few, many[[0, 100, 100, 200]], atol=1e-6)


def test_a_ball_caught_between_two_walls_stops() -> None:
    """Endless events do not hang."""
    walls = (((1.0, 0.0, 0.0), -0.1), ((-1.0, 0.0, 0.0), -0.1))
    states, hits = roll_out(state((0, 0, 0, 1, 0, 0)), np.array([0.0, 1.0, 2.0]), world(1, walls))
    assert hits.sum() <= LIMITS.max_events and np.isfinite(states).all() and abs(states[-1, 0, 0]) < 1e-9
