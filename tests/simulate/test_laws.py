"""The laws of motion against what is known of them."""

import numpy as np
import pytest
from scipy.special import ellipk

from foreseen.simulate import bifurcating_hill, oscillating_ball, pendulum
from foreseen.simulate.equations import slide, swing

GRAVITY, LENGTH = 9.81, 0.5
TIMES = np.linspace(0, 6, 601)


def pendulum_energy(angle: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    return 0.5 * (LENGTH * velocity) ** 2 - GRAVITY * LENGTH * np.cos(angle)


def test_an_undamped_pendulum_keeps_its_energy() -> None:
    energy = pendulum_energy(*swing(2.5, 1.0, TIMES, gravity=GRAVITY, length=LENGTH, damping=0.0))
    assert np.abs(energy - energy[0]).max() < 1e-8


def test_a_damped_pendulum_loses_energy_at_the_rate_of_its_friction() -> None:
    angle, velocity = swing(0.7, 0.0, TIMES, gravity=GRAVITY, length=LENGTH, damping=0.3)
    rate = np.gradient(pendulum_energy(angle, velocity), TIMES)[1:-1]
    assert np.allclose(rate, -0.3 * (LENGTH * velocity[1:-1]) ** 2, atol=1e-3)


@pytest.mark.parametrize("start", [0.01, 0.7, 2.0])
def test_the_pendulum_has_the_textbook_period(start: float) -> None:
    """4 sqrt(l/g) K(sin^2(start/2)); 2 pi sqrt(l/g) for small angles."""
    period = 4 * np.sqrt(LENGTH / GRAVITY) * ellipk(np.sin(start / 2) ** 2)
    times = np.array([0, period / 2, period])
    angle, velocity = swing(start, 0.0, times, gravity=GRAVITY, length=LENGTH, damping=0)
    assert np.allclose(angle, [start, -start, start], atol=1e-6)
    assert np.allclose(velocity, 0, atol=1e-5)
    if start < 0.1:
        assert period == pytest.approx(2 * np.pi * np.sqrt(LENGTH / GRAVITY), rel=1e-4)


def test_the_bob_hangs_on_its_rod() -> None:
    constants = pendulum.SCENARIO.constants
    motion = pendulum.solve(constants, {"angle": 0.6, "velocity": 1.0}, TIMES)
    centre, rotation = motion.positions[:, 0], motion.rotations[:, 0]
    assert np.allclose(centre + constants["length"] * rotation[:, :, 2], pendulum.PIVOT, atol=1e-12)
    assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-12)
    assert np.allclose(np.linalg.det(rotation), 1)
    assert np.allclose(motion.velocities[1:-1, 0], np.gradient(centre, TIMES, axis=0)[1:-1], atol=2e-3)


BOWL = oscillating_ball.bowl(0.9)
HILL = bifurcating_hill.ground(bifurcating_hill.SCENARIO.constants)


@pytest.mark.parametrize(("surface", "start", "push"), [(BOWL, (0.4, 0.1), (-0.3, 0.6)), (HILL, (0.7, 0), (0.2, 0))])
def test_a_slide_keeps_to_the_surface_and_its_energy(surface, start, push) -> None:
    places, velocities = slide(surface, np.array(start), np.array(push), TIMES, gravity=GRAVITY, drag=0.0)
    assert np.allclose(places[:, 2], [surface.height(q) for q in places[:, :2]], atol=1e-12)
    energy = 0.5 * (velocities**2).sum(1) + GRAVITY * places[:, 2]
    assert np.abs(energy - energy[0]).max() < 1e-7
    times = np.linspace(0, 0.5, 2001)
    places, velocities = slide(surface, np.array(start), np.array(push), times, gravity=GRAVITY, drag=0.3)
    assert np.allclose(velocities[1:-1], np.gradient(places, times, axis=0)[1:-1], atol=1e-3)


@pytest.mark.parametrize("surface", [BOWL, HILL])
def test_the_surfaces_derivatives(surface) -> None:
    q, step = np.array([0.31, -0.2]), 1e-5
    for k, e in enumerate(np.eye(2) * step):
        slope = (surface.height(q + e) - surface.height(q - e)) / (2 * step)
        assert slope == pytest.approx(surface.gradient(q)[k])
        difference = (surface.gradient(q + e) - surface.gradient(q - e)) / (2 * step)
        assert np.allclose(difference, surface.hessian(q)[k], rtol=1e-6, atol=1e-8)


def test_the_hill_obeys_the_bead_on_a_wire() -> None:
    """x'' = -(g h' + h' h'' x'^2) / (1 + h'^2) - drag x', with x'' from differences."""
    times = np.linspace(0, 1, 4001)
    places, velocities = slide(HILL, np.array([0.7, 0]), np.array([0.1, 0]), times, gravity=GRAVITY, drag=0.8)
    x, v = places[:, 0], velocities[:, 0]
    h1 = np.array([HILL.gradient(np.array([a, 0]))[0] for a in x])
    h2 = np.array([HILL.hessian(np.array([a, 0]))[0, 0] for a in x])
    expected = -(GRAVITY * h1 + h1 * h2 * v**2) / (1 + h1**2) - 0.8 * v
    assert np.allclose(np.gradient(v, times)[1:-1], expected[1:-1], atol=5e-3)


def test_small_oscillations_in_the_bowl_have_the_known_period() -> None:
    """Near the bottom of k r^2: x'' = -2 k g x."""
    period = 2 * np.pi / np.sqrt(2 * 0.9 * GRAVITY)
    places, _ = slide(BOWL, np.array([1e-3, 0]), np.zeros(2), np.array([0, period]), gravity=GRAVITY, drag=0.0)
    assert places[1, 0] == pytest.approx(1e-3, rel=1e-4)
