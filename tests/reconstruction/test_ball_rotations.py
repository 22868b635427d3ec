"""Textured balls that rotate: rotation estimated from pictures, rendered, and extrapolated past the window."""

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
from foreseen.reconstruction.ball_configs import RotationConfig
from foreseen.reconstruction.ball_rotations import find_rotations, find_spin
from foreseen.reconstruction.ball_views import BallViews
from moving_balls import camera

RADIUS, SIZE = 0.45, 96
SPIN = np.array([1.1, 5.3, -0.7])
"""[rad per window]"""
TIMES = np.linspace(0, 1, 48)
CONFIG = RotationConfig()
LIGHT = np.array([0.2, 0.95, 0.25])


def rotated(vectors: np.ndarray, spin: np.ndarray) -> np.ndarray:
    """`vectors` `[..., 3]` rotated by the rotation vector `spin` `[3]`."""
    angle = np.linalg.norm(spin) + 1e-12
    axis = spin / angle
    along = (vectors @ axis)[..., None] * axis
    return along + np.cos(angle) * (vectors - along) + np.sin(angle) * np.cross(axis, vectors)


def texture(directions: np.ndarray) -> np.ndarray:
    """Brightness at directions `[..., 3]` of the ball's own frame: patches without symmetry."""
    waves = np.random.default_rng(3).normal(size=(6, 3)) * 3.5
    return 0.5 + 0.4 * np.tanh(1.5 * np.sin(directions @ waves.T + np.arange(6)).sum(-1))


def centre(time: float) -> np.ndarray:
    return np.array([0.8 * time - 0.4, 0.3 * np.sin(2 * time), 0.1])


def capture(folder: Path, rotations: Callable[[float], np.ndarray], textured: bool = True) -> list[Frame]:
    """Frames of a ball that is lit from above; `rotations(time)`: its rotation vector."""
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
        color = texture(rotated(normal, -rotations(time))) if textured else 0.6
        image = np.where(inside > 0, shade * color, 1.0)
        path = folder / f"{i:03}.png"
        Image.fromarray((255 * image).round().astype(np.uint8)).convert("RGB").save(path)
        found.append(Frame("ball", at, str(i % 3), float(time), path))
    return found


def seen_in(frames: list[Frame], config: RotationConfig = CONFIG) -> BallViews:
    centres = np.stack([centre(t) for t in TIMES])[:, None]
    return BallViews.of(frames, TIMES, centres, np.array([RADIUS]), config)[0]


def angles_between(found: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """[rad]; of quaternions, real part first, relative to the first one."""
    rotations = Rotation.from_quat(found[:, [1, 2, 3, 0]])
    true = Rotation.from_rotvec(vectors)
    return np.asarray(((rotations * rotations[0].inv()) * (true * true[0].inv()).inv()).magnitude())


def test_a_steady_spin_is_estimated(tmp_path: Path) -> None:
    found = find_spin(seen_in(capture(tmp_path, lambda time: SPIN * time)))
    assert found is not None
    np.testing.assert_allclose(found, SPIN, atol=0.1)


def test_a_rotation_that_reverses_is_tracked(tmp_path: Path) -> None:
    def rotations(time: float) -> np.ndarray:
        return SPIN * (0.5 - abs(time - 0.5))

    seen = seen_in(capture(tmp_path, rotations))
    assert find_spin(seen) is None
    found = find_rotations(seen, TIMES)
    assert found is not None
    error = angles_between(found, np.stack([rotations(t) for t in TIMES]))
    assert error.max() < 0.25 and np.median(error) < 0.12, "of a rotation of 2.7 rad"


@pytest.mark.parametrize("how", ["no rotation", "no texture"])
def test_no_rotation_is_found_without_rotation_or_texture(tmp_path: Path, how: str) -> None:
    spin = 0 * SPIN if how == "no rotation" else SPIN
    assert find_rotations(seen_in(capture(tmp_path, lambda t: spin * t, textured=how == "no rotation")), TIMES) is None


def test_no_rotation_is_found_of_a_ball_out_of_view(tmp_path: Path) -> None:
    frames = capture(tmp_path, lambda time: SPIN * time)
    away = np.stack([centre(t) for t in TIMES])[:, None] + [50.0, 0, 0]
    assert find_rotations(BallViews.of(frames, TIMES, away, np.array([RADIUS]), CONFIG)[0], TIMES) is None


def test_of_long_sequences_times_are_left_out(tmp_path: Path) -> None:
    seen = seen_in(capture(tmp_path, lambda time: SPIN * time), RotationConfig(max_frames=20))
    assert seen.times.tolist() == TIMES[::3].astype(np.float32).tolist()
    found = find_spin(seen)
    assert found is not None
    np.testing.assert_allclose(found, SPIN, atol=0.4)


def test_rotations_are_extrapolated_past_the_window() -> None:
    orientation_track = OrientationTrack(2, 33)
    true = Rotation.from_rotvec(orientation_track.times().numpy()[:, None] * SPIN)
    orientation_track.learn(1, torch.from_numpy(true.as_quat()[:, [3, 0, 1, 2]]))
    times = torch.tensor([-0.7, 0.0, 0.013, 0.5, 1.0, 1.8])
    found = orientation_track.at(times)
    assert (found[:, 0] == torch.tensor([1.0, 0.0, 0.0, 0.0])).all() and orientation_track.valid.tolist() == [
        False,
        True,
    ]
    expected = Rotation.from_rotvec(times.numpy()[:, None] * SPIN)
    assert ((Rotation.from_quat(found[:, 1, [1, 2, 3, 0]].numpy()) * expected.inv()).magnitude() < 1e-3).all()


def test_rotations_of_balls_are_no_part_of_the_pose_vectors() -> None:
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
    assert (state.rotations[:, 1] == 0).all(), "its rotation is unknown"
    pose_vectors = parts.pose_vectors(basis)
    assert (pose_vectors.unflatten(-1, (2, 6))[..., 3:] == 0).all()
    later = parts.from_pose_vectors(pose_vectors, times + 3)
    both = rotation_matrix(own[-1]) @ rotation_matrix((times[:, None] + 3) * spin)
    torch.testing.assert_close(rotation_matrix(later.rotations[:, 0]), both, atol=1e-5, rtol=0)
    torch.testing.assert_close(later.centres, state.centres)
    state.rotations.square().sum().backward()
    assert parts.rotations.grad is not None
    assert (parts.rotations.grad[:, 0] != 0).any() and (parts.rotations.grad[:, 1] == 0).all()
