"""Each scenario does what its page says."""

import numpy as np
import pytest

from foreseen.errors import UserError
from foreseen.simulate import bifurcating_hill, bouncing_balls, oscillating_ball, pendulum, pendulum_and_ball
from foreseen.simulate.run import SCENARIOS, load_scenario
from foreseen.simulate.scenario import SequenceIndex
from foreseen.simulate.scene import HeightField

HILL = bifurcating_hill.SCENARIO.constants
TIMES = np.arange(0, 4, 0.02)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_drawn_start_can_be_solved(name: str) -> None:
    scenario = load_scenario(name)
    for system in scenario.systems:
        for index in range(4):
            for unseen in (False, True):
                rng = np.random.default_rng([index, unseen])
                initial = system.draw(rng, system.constants, SequenceIndex(index, unseen))
                assert set(initial) == set(system.initial)
                motion = system.solve(system.constants, initial, np.arange(3) / scenario.fps)
                assert motion.positions.shape == (3, len(system.bodies(system.constants)), 3)


def surface_distance(block: HeightField, centre: np.ndarray) -> float:
    """Distance from a point to the block's surface, by dense samples of it near the point."""
    nx, ny = block.heights.shape
    x, y = (
        np.linspace(-block.half_extents[0], block.half_extents[0], nx),
        np.linspace(-block.half_extents[1], block.half_extents[1], ny),
    )
    near = np.linspace(-0.12, 0.12, 97)
    px, py = np.meshgrid(centre[0] + near, np.clip(centre[1] + near, y[0], y[-1]), indexing="ij")
    u, v = (px - x[0]) / (x[1] - x[0]), (py - y[0]) / (y[1] - y[0])
    i, j = np.clip(u.astype(int), 0, nx - 2), np.clip(v.astype(int), 0, ny - 2)
    a, b, h = u - i, v - j, block.heights
    z = (1 - a) * ((1 - b) * h[i, j] + b * h[i, j + 1]) + a * ((1 - b) * h[i + 1, j] + b * h[i + 1, j + 1])
    return float(np.sqrt((px - centre[0]) ** 2 + (py - centre[1]) ** 2 + (z - centre[2]) ** 2).min())


@pytest.mark.parametrize(
    ("module", "initial"),
    [
        (oscillating_ball, {"x": 0.4, "y": -0.2, "vx": 0.2, "vy": 0.5}),
        (bifurcating_hill, {"x": 0.79, "velocity": 0.0}),
    ],
)
def test_the_ball_touches_the_ground_that_is_drawn(module, initial) -> None:
    constants = module.SCENARIO.constants
    motion = module.solve(constants, initial, np.arange(0, 2, 0.1))
    block = next(s for s in module.stage(constants, False).static if isinstance(s, HeightField))
    gaps = [surface_distance(block, centre) for centre in motion.positions[:, 0]]
    assert np.allclose(gaps, constants["radius"], atol=2e-3)


@pytest.mark.parametrize(("length", "steepness"), [(0.7, 0.9), (0.6, 1.3)])
def test_the_bob_is_as_clear_of_the_bowl_as_is_reckoned(length: float, steepness: float) -> None:
    constants = pendulum_and_ball.SCENARIO.constants | {"length": length, "steepness": steepness}
    block = next(s for s in pendulum_and_ball.stage(constants, False).static if isinstance(s, HeightField))
    angles = np.linspace(0, 1, 41)
    arc = pendulum.PIVOT + length * np.stack([np.sin(angles), 0 * angles, -np.cos(angles)], -1)
    gap = min(surface_distance(block, centre) for centre in arc) - pendulum.BOB
    assert pendulum_and_ball.bob_clearance(constants) == pytest.approx(gap, abs=3e-3)
    rim = oscillating_ball.bowl(steepness).height(np.array([oscillating_ball.RIM, 0.0])) + constants["radius"]
    assert block.heights.max() < rim == pytest.approx(0.9 - 0.022 - pendulum_and_ball.arm_clearance(constants))


def test_the_hills_top_is_unstable_and_its_valleys_are_not() -> None:
    still = bifurcating_hill.solve(HILL, {"x": 0.0, "velocity": 0.0}, TIMES).positions[:, 0, 0]
    assert np.abs(still).max() < 1e-9
    for side in (-1, 1):
        x = bifurcating_hill.solve(HILL, {"x": side * 1e-4, "velocity": 0.0}, TIMES).positions[:, 0, 0]
        assert side * x[-1] == pytest.approx(HILL["half_width"], abs=0.15)
        near = side * (HILL["half_width"] + 0.02)
        x = bifurcating_hill.solve(HILL, {"x": near, "velocity": 0.0}, TIMES).positions[:, 0, 0]
        assert np.abs(x - side * HILL["half_width"]).max() < 0.021


def test_the_separatrix_parts_the_valleys() -> None:
    for side in (-1.0, 1.0):
        edge = bifurcating_hill.separatrix(HILL, 0.1, side)
        assert bifurcating_hill.final_side(HILL, edge - side * 5e-4, 0.1) == side
        assert bifurcating_hill.final_side(HILL, edge + side * 5e-4, 0.1) == -side


def test_seen_sequences_of_the_hill_end_in_both_valleys_from_both_sides() -> None:
    ends = set()
    for index in range(8):
        initial = bifurcating_hill.draw(np.random.default_rng(index), HILL, SequenceIndex(index, False))
        ends.add((np.sign(initial["x"]), bifurcating_hill.final_side(HILL, initial["x"], initial["velocity"])))
    assert ends == {(-1, -1), (-1, 1), (1, -1), (1, 1)}


def balls(**changes: float) -> dict[str, float]:
    """Three balls at rest, apart, high enough to move freely."""
    start = dict.fromkeys(bouncing_balls.SCENARIO.initial, 0.0)
    start |= {"x1": -0.3, "x2": 0.0, "x3": 0.3, "z1": 0.5, "z2": 0.5, "z3": 0.5}
    return start | changes


def solve_balls(initial: dict[str, float], times: np.ndarray, **constants: float):
    return bouncing_balls.solve(bouncing_balls.SCENARIO.constants | constants, initial, times)


def test_balls_neither_sink_into_the_tray_nor_into_one_another() -> None:
    constants, radii = bouncing_balls.SCENARIO.constants, np.array(bouncing_balls.RADII)
    for seed in range(4):
        initial = bouncing_balls.draw(np.random.default_rng(seed), constants, SequenceIndex(0, False))
        centres = solve_balls(initial, np.arange(0, 4, 0.005)).positions
        assert (centres[..., 2] - radii).min() > -0.01
        assert (bouncing_balls.HALF - radii - np.abs(centres[..., :2]).max(-1)).min() > -0.01
        for a, b in ((0, 1), (0, 2), (1, 2)):
            gap = np.linalg.norm(centres[:, a] - centres[:, b], axis=-1) - radii[a] - radii[b]
            assert gap.min() > -0.01


def test_a_ball_falls_freely_and_bounces_back_with_the_restitution() -> None:
    times = np.arange(0, 0.9, 0.001)
    motion = solve_balls(balls(), times, restitution=0.8)
    z, v = motion.positions[:, 0, 2], motion.velocities[:, 0, 2]
    before = int(np.argmax(z < bouncing_balls.RADII[0] + 0.005))
    assert np.allclose(z[:before], 0.5 - 0.5 * 9.81 * times[:before] ** 2, atol=2e-3)
    assert v[before:].max() / -v.min() == pytest.approx(0.8, abs=0.04)


def test_balls_that_meet_head_on_keep_their_momentum_and_turn_by_friction() -> None:
    apart = balls(x1=-0.3, y1=0.03, vx1=1.5, x2=0.1, x3=0.1, y3=-0.4)
    motion = solve_balls(apart, np.arange(0, 0.25, 0.005), gravity=1e-9)
    masses = np.array(bouncing_balls.RADII) ** 3
    momentum = np.einsum("b,tbi->ti", masses, motion.velocities)
    assert np.allclose(momentum, momentum[0], atol=1e-5)
    assert motion.velocities[-1, 1, 0] > 0.5
    assert (motion.state["angular_velocity"][-1, :2, 2] < -0.05).all()


def test_rotations_follow_the_angular_velocity() -> None:
    initial = bouncing_balls.draw(np.random.default_rng(1), {}, SequenceIndex(0, False))
    times = np.arange(0, 2, 0.001)
    motion = solve_balls(initial, times)
    change = np.einsum("tbij,tbkj->tbik", motion.rotations[1:], motion.rotations[:-1])
    rotation = np.stack([change[..., 2, 1] - change[..., 1, 2], change[..., 0, 2] - change[..., 2, 0],
                     change[..., 1, 0] - change[..., 0, 1]], -1) / 2 / 0.001  # fmt: skip
    assert np.median(np.abs(rotation - motion.state["angular_velocity"][1:])) < 0.02
    assert np.abs(motion.state["angular_velocity"]).max() > 1


@pytest.mark.parametrize(
    ("solve", "message"),
    [
        (lambda: solve_balls(balls(x1=0.5), TIMES), "ball 1 starts in a wall"),
        (lambda: solve_balls(balls(x2=-0.2), TIMES), "balls 1 and 2 start inside each other"),
        (lambda: solve_balls(balls(), TIMES, restitution=1.0), "restitution=1 must lie in 0.05..0.99"),
        (
            lambda: bifurcating_hill.solve(HILL, {"x": 0.8, "velocity": 5.0}, TIMES),
            "the bead leaves the ground",
        ),
        (lambda: bifurcating_hill.stage(HILL | {"radius": 0.3}, True), "radius=0.3 is too big"),
        (lambda: bifurcating_hill.stage(HILL | {"valley": 0.05}, True), "the valley lies under the floor"),
        (
            lambda: oscillating_ball.solve(
                oscillating_ball.SCENARIO.constants, {"x": 0.5, "y": 0, "vx": 3.0, "vy": 0}, TIMES
            ),
            "the ball leaves the bowl",
        ),
        (
            lambda: pendulum.solve(pendulum.SCENARIO.constants | {"length": 3.0}, {"angle": 0.5, "velocity": 0}, TIMES),
            "length=3 leaves the picture",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(solve, message: str) -> None:
    with pytest.raises(UserError, match=message):
        solve()


def test_no_bead_is_drawn_that_flies_off_the_hill() -> None:
    for index in range(2, 1002, 4):
        initial = bifurcating_hill.draw(np.random.default_rng([0, 0, index]), HILL, SequenceIndex(index, False))
        bifurcating_hill.solve(HILL, initial, np.linspace(0, 0.3, 4))
