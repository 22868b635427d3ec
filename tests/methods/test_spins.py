"""Painted balls that spin: told from pictures, shown spinning, and led on past the window."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from foreseen.data.types import Frame
from foreseen.methods.moving_parts.parts import Parts
from foreseen.methods.moving_parts.spins import Sightings, find_spin
from foreseen.nn.splines import UniformBSpline
from moving_balls import camera

RADIUS, SIZE = 0.45, 96
SPIN = np.array([1.1, 5.3, -0.7])
"""[rad in the window]"""
TIMES = np.linspace(0, 1, 48)
LIGHT = np.array([0.2, 0.95, 0.25])


def turned(vectors: np.ndarray, spin: np.ndarray) -> np.ndarray:
    """`vectors` `[..., 3]` turned by the rotation vector `spin` `[3]`."""
    angle = np.linalg.norm(spin) + 1e-12
    axis = spin / angle
    along = (vectors @ axis)[..., None] * axis
    return along + np.cos(angle) * (vectors - along) + np.sin(angle) * np.cross(axis, vectors)


def paint(directions: np.ndarray) -> np.ndarray:
    """Of a ball's own side `[..., 3]`: patches of no symmetry."""
    waves = np.random.default_rng(3).normal(size=(6, 3)) * 3.5
    return 0.5 + 0.4 * np.tanh(1.5 * np.sin(directions @ waves.T + np.arange(6)).sum(-1))


def centre(time: float) -> np.ndarray:
    return np.array([0.8 * time - 0.4, 0.3 * np.sin(2 * time), 0.1])


def film(folder: Path, turns: Callable[[float], np.ndarray], painted: bool = True) -> list[Frame]:
    """A ball that is lit from above; `turns`: of a time, a rotation vector."""
    found = []
    for i, time in enumerate(TIMES):
        at = camera((-0.5, 0.1, 0.8)[i % 3], size=SIZE)
        rays = at.rays(at.pixel_centres())
        origin, direction = rays.origins.double().numpy(), rays.directions.double().numpy()
        to = origin - centre(time)
        along = -(to * direction).sum(-1)
        inside = RADIUS**2 - (to**2).sum(-1) + along**2
        normal = (to + (along - np.sqrt(np.maximum(inside, 0)))[..., None] * direction) / RADIUS
        shade = 0.35 + 0.65 * np.maximum(normal @ LIGHT, 0)
        color = paint(turned(normal, -turns(time))) if painted else 0.6
        image = np.where(inside > 0, shade * color, 1.0)
        path = folder / f"{i:03}.png"
        Image.fromarray((255 * image).round().astype(np.uint8)).convert("RGB").save(path)
        found.append(Frame("ball", at, str(i % 3), float(time), path))
    return found


def spin_of(frames: list[Frame]) -> np.ndarray | None:
    centres = np.stack([centre(t) for t in TIMES])[:, None]
    return find_spin(Sightings.of(frames, TIMES, centres, np.array([RADIUS]))[0])


def test_a_steady_spin_is_told(tmp_path: Path) -> None:
    found = spin_of(film(tmp_path, lambda time: SPIN * time))
    assert found is not None
    np.testing.assert_allclose(found, SPIN, atol=0.1)


@pytest.mark.parametrize("how", ["rests", "no paint", "turns back"])
def test_no_spin_is_told_where_there_is_none(tmp_path: Path, how: str) -> None:
    turns = {"rests": 0 * SPIN, "no paint": SPIN, "turns back": SPIN}[how]
    back = how == "turns back"
    frames = film(tmp_path, lambda t: turns * (0.5 - abs(t - 0.5) if back else t), painted=how != "no paint")
    assert spin_of(frames) is None


def test_parts_spin_on_and_the_law_hears_nothing_of_it() -> None:
    parts = Parts(2, 8)
    with torch.no_grad():
        parts.turns.normal_()
        parts.spins.copy_(torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]]))
    parts.round[:] = True
    parts.spinning[0] = True
    times = torch.tensor([0.0, 0.4, 1.0])
    basis = UniformBSpline(8).basis(times)
    state = parts.at(basis)
    expected = torch.zeros(3, 2, 3)
    expected[:, 0, 1] = 2 * times
    torch.testing.assert_close(state.turns, expected)
    numbers = parts.numbers(basis)
    assert (numbers.unflatten(-1, (2, 6))[..., 3:] == 0).all()
    later = parts.from_numbers(numbers, times + 3)
    torch.testing.assert_close(later.turns[:, 0, 1], 2 * (times + 3))
    torch.testing.assert_close(later.centres, state.centres)
    state.turns.sum().backward()
    assert (parts.spins.grad[0] != 0).all() and (parts.spins.grad[1] == 0).all()
