"""Painted balls that spin: told from pictures, shown spinning, and led on past the window."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from foreseen.data.types import Frame
from foreseen.geometry.rotations import quaternion_of, rotation_matrix
from foreseen.methods.rigid_ode.orientation_track import OrientationTrack
from foreseen.methods.rigid_ode.parts import RigidParts
from foreseen.nn.splines import UniformBSpline
from foreseen.reconstruction import ball_rotations
from foreseen.reconstruction.ball_rotations import BallViews, find_rotations, find_spin
from moving_balls import camera

RADIUS, SIZE = 0.45, 96
FIRST_SPIN_SCALE = np.array([1.1, 5.3, -0.7])
"""[rad in the window]"""
TIMES = np.linspace(0, 1, 48)
LIGHT = np.array([0.2, 0.95, 0.25])


def rotated(vectors: np.ndarray, spin: np.ndarray) -> np.ndarray:
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


def film(folder: Path, rotations: Callable[[float], np.ndarray], painted: bool = True) -> list[Frame]:
    """A ball that is lit from above; `rotations`: of a time, a rotation vector."""
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
        color = paint(rotated(normal, -rotations(time))) if painted else 0.6
        image = np.where(inside > 0, shade * color, 1.0)
        path = folder / f"{i:03}.png"
        Image.fromarray((255 * image).round().astype(np.uint8)).convert("RGB").save(path)
        found.append(Frame("ball", at, str(i % 3), float(time), path))
    return found


def seen_in(frames: list[Frame]) -> BallViews:
    centres = np.stack([centre(t) for t in TIMES])[:, None]
    return BallViews.of(frames, TIMES, centres, np.array([RADIUS]))[0]


def angles_between(found: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """[rad]; of quaternions, real part first, relative to the first one."""
    rotations = Rotation.from_quat(found[:, [1, 2, 3, 0]])
    true = Rotation.from_rotvec(vectors)
    return np.asarray(((rotations * rotations[0].inv()) * (true * true[0].inv()).inv()).magnitude())


def test_a_steady_spin_is_told(tmp_path: Path) -> None:
    found = find_spin(seen_in(film(tmp_path, lambda time: FIRST_SPIN_SCALE * time)))
    assert found is not None
    np.testing.assert_allclose(found, FIRST_SPIN_SCALE, atol=0.1)


def test_a_part_is_followed_that_turns_back(tmp_path: Path) -> None:
    def rotations(time: float) -> np.ndarray:
        return FIRST_SPIN_SCALE * (0.5 - abs(time - 0.5))

    seen = seen_in(film(tmp_path, rotations))
    assert find_spin(seen) is None
    found = find_rotations(seen, TIMES)
    assert found is not None
    error = angles_between(found, np.stack([rotations(t) for t in TIMES]))
    assert error.max() < 0.25 and np.median(error) < 0.12, "of a turn of 2.7 rad"


@pytest.mark.parametrize("how", ["rests", "no paint"])
def test_nothing_is_told_where_nothing_is_seen_to_turn(tmp_path: Path, how: str) -> None:
    spin = 0 * FIRST_SPIN_SCALE if how == "rests" else FIRST_SPIN_SCALE
    assert find_rotations(seen_in(film(tmp_path, lambda t: spin * t, painted=how == "rests")), TIMES) is None


def test_a_part_that_is_hardly_seen_tells_nothing(tmp_path: Path) -> None:
    frames = film(tmp_path, lambda time: FIRST_SPIN_SCALE * time)
    away = np.stack([centre(t) for t in TIMES])[:, None] + [50.0, 0, 0]
    assert find_rotations(BallViews.of(frames, TIMES, away, np.array([RADIUS]))[0], TIMES) is None


def test_of_long_films_times_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ball_rotations, "MAX_FRAMES", 20)
    seen = seen_in(film(tmp_path, lambda time: FIRST_SPIN_SCALE * time))
    assert seen.times.tolist() == TIMES[::3].astype(np.float32).tolist()
    found = find_spin(seen)
    assert found is not None
    np.testing.assert_allclose(found, FIRST_SPIN_SCALE, atol=0.4)


def test_what_was_found_is_led_on_beyond_the_window() -> None:
    orientation_track = OrientationTrack(2, 33)
    true = Rotation.from_rotvec(orientation_track.times().numpy()[:, None] * FIRST_SPIN_SCALE)
    orientation_track.learn(1, torch.from_numpy(true.as_quat()[:, [3, 0, 1, 2]]))
    times = torch.tensor([-0.7, 0.0, 0.013, 0.5, 1.0, 1.8])
    found = orientation_track.at(times)
    assert (found[:, 0] == torch.tensor([1.0, 0.0, 0.0, 0.0])).all() and orientation_track.valid.tolist() == [
        False,
        True,
    ]
    expected = Rotation.from_rotvec(times.numpy()[:, None] * FIRST_SPIN_SCALE)
    assert ((Rotation.from_quat(found[:, 1, [1, 2, 3, 0]].numpy()) * expected.inv()).magnitude() < 1e-3).all()


def test_parts_roll_on_and_the_law_hears_nothing_of_it() -> None:
    parts = RigidParts(2, 8)
    with torch.no_grad():
        parts.rotations.normal_(std=0.2)
    parts.is_round[:] = True
    spin = torch.tensor([0.0, 2.0, 0.0])
    parts.orientation_track.learn(0, quaternion_of(parts.orientation_track.times()[:, None] * spin))
    times = torch.tensor([0.0, 0.4, 1.0])
    basis = UniformBSpline(8).basis(times)
    state = parts.at(basis)
    own = torch.einsum("tc,cd->td", basis, parts.rotations[:, 0])
    both = rotation_matrix(own) @ rotation_matrix(times[:, None] * spin)
    torch.testing.assert_close(rotation_matrix(state.rotations[:, 0]), both, atol=1e-5, rtol=0)
    assert (state.rotations[:, 1] == 0).all(), "nothing is known of it"
    pose_vectors = parts.pose_vectors(basis)
    assert (pose_vectors.unflatten(-1, (2, 6))[..., 3:] == 0).all()
    later = parts.from_pose_vectors(pose_vectors, times + 3)
    both = rotation_matrix(own[-1]) @ rotation_matrix((times[:, None] + 3) * spin)
    torch.testing.assert_close(rotation_matrix(later.rotations[:, 0]), both, atol=1e-5, rtol=0)
    torch.testing.assert_close(later.centres, state.centres)
    state.rotations.square().sum().backward()
    assert parts.rotations.grad is not None
    assert (parts.rotations.grad[:, 0] != 0).any() and (parts.rotations.grad[:, 1] == 0).all()
