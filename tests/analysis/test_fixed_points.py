"""Fixed points against closed forms, and what they are called."""

import math

import numpy as np
import pytest
import torch
from known_systems import double_well, lorenz, oscillator

from foreseen.analysis.fixed_points import classify, find_fixed_points
from foreseen.analysis.true_fixed_points import true_fixed_points
from foreseen.core.dynamical_system import DynamicalSystem, Trajectory
from foreseen.simulate import bifurcating_hill, oscillating_ball, pendulum


def test_the_double_well() -> None:
    left, top, right = find_fixed_points(double_well(drag=0.4))
    assert torch.tensor([p.state.tolist() for p in (left, top, right)]).allclose(
        torch.tensor([[-1.0, 0], [0, 0], [1, 0]]), atol=1e-8
    )
    assert left.kind == right.kind == "stable focus" and left.stability == "stable"
    assert top.kind == "saddle (1 of 2 directions unstable)" and top.stability == "unstable"
    # At the wells l^2 + 0.4 l + 2 = 0, at the top l^2 + 0.4 l - 1 = 0.
    assert complex(left.eigenvalues[0]) == pytest.approx(complex(-0.2, math.sqrt(2 - 0.04)))
    assert top.eigenvalues.real.tolist() == pytest.approx([-0.2 + math.sqrt(1.04), -0.2 - math.sqrt(1.04)])
    assert not any(p.out_of_range for p in (left, top, right))


def test_points_beyond_the_margin_are_left_out_and_those_within_are_marked() -> None:
    near = double_well(starts=[[0.3, 0.0], [0.95, 0.0]], window=1.0)
    assert [round(float(p.state[0]), 6) for p in find_fixed_points(near)] == [1.0]
    assert [p.out_of_range for p in find_fixed_points(near)] == [float(near.box[1][0]) < 1]
    far = double_well(starts=[[0.3, 0.0], [0.5, 0.0]], window=0.5)
    assert find_fixed_points(far) == []


def test_a_law_of_first_order_with_three_components() -> None:
    points = find_fixed_points(lorenz())
    side = math.sqrt(72)
    expected = torch.tensor([[-side, -side, 27], [0, 0, 0], [side, side, 27]], dtype=torch.float64)
    assert torch.stack([p.state for p in points]).allclose(expected, atol=1e-6)
    assert [p.stability for p in points] == ["unstable"] * 3
    assert points[1].kind == "saddle (1 of 3 directions unstable)"


def test_a_bowl_of_two_coordinates() -> None:
    (point,) = find_fixed_points(oscillator(axes=2), starts=11, seed=3)
    assert point.state.abs().max() < 1e-8 and point.kind == "centre"
    assert point.eigenvalues.imag.abs().tolist() == pytest.approx([2.0] * 4)


def test_a_law_that_never_rests_has_none() -> None:
    times = torch.linspace(0, 1, 5, dtype=torch.float64)
    states = times[:, None]
    drift = DynamicalSystem(("y",), lambda y: 1 + y**2, (Trajectory(0, times, states, states[0]),), 1.0)
    assert find_fixed_points(drift) == []


@pytest.mark.parametrize(
    ("eigenvalues", "kind", "stability"),
    [
        ([-1, -2], "stable node", "stable"),
        ([-1 + 2j, -1 - 2j], "stable focus", "stable"),
        ([1, 2], "unstable node", "unstable"),
        ([1 + 2j, 1 - 2j], "unstable focus", "unstable"),
        ([1, -2], "saddle (1 of 2 directions unstable)", "unstable"),
        ([1, -2, 0], "saddle (1 of 3 directions unstable, 1 neutral)", "unstable"),
        ([2j, -2j], "centre", "neutral"),
        ([1e-5 + 2j, 1e-5 - 2j], "centre", "neutral"),
        ([0, 0], "degenerate", "neutral"),
        ([-1, 0], "stable but for 1 neutral directions", "neutral"),
        ([1, 0], "unstable but for 1 neutral directions", "unstable"),
    ],
)
def test_kinds(eigenvalues: list[complex], kind: str, stability: str) -> None:
    assert classify(torch.tensor(eigenvalues, dtype=torch.complex128)) == (kind, stability)


HILL = bifurcating_hill.SCENARIO.systems[0].constants
BOWL = oscillating_ball.SCENARIO.systems[0].constants
SWING = pendulum.SCENARIO.systems[0].constants


def test_the_true_points_are_where_the_simulated_bodies_rest() -> None:
    times = np.array([0.0, 0.3])
    for point, x in zip(
        true_fixed_points("slide-on-double-well", HILL), (-HILL["half_width"], 0.0, HILL["half_width"])
    ):
        resting = bifurcating_hill.solve(HILL, {"x": x, "velocity": 0.0}, times).positions[:, 0]
        assert np.abs(resting - point.position).max() < 1e-9
    (bottom,) = true_fixed_points("slide-in-bowl", BOWL)
    still = {"x": 0.0, "y": 0.0, "vx": 0.0, "vy": 0.0}
    assert np.abs(oscillating_ball.solve(BOWL, still, times).positions[:, 0] - bottom.position).max() < 1e-12
    (hanging,) = true_fixed_points("damped-pendulum", SWING)
    resting = pendulum.solve(SWING, {"angle": 0.0, "velocity": 0.0}, times).positions[:, 0]
    assert np.abs(resting - hanging.position).max() < 1e-12
    assert [len(p.eigenvalues) for p in (bottom, hanging)] == [4, 2]
    assert true_fixed_points("rigid-contacts", {}) == []


def test_the_true_eigenvalues_are_those_of_the_simulated_law() -> None:
    """A bead beside the top leaves it as its eigenvalues say."""
    _, top, _ = true_fixed_points("slide-on-double-well", HILL)
    assert top.stability == "unstable"
    fast, slow = top.eigenvalues.real.tolist()
    time, away = 0.4, 1e-5
    found = bifurcating_hill.solve(HILL, {"x": away, "velocity": 0.0}, np.array([0.0, time])).positions[-1, 0, 0]
    expected = away * (fast * math.exp(slow * time) - slow * math.exp(fast * time)) / (fast - slow)
    assert found == pytest.approx(expected, rel=1e-4)
