"""The browser's cameras and ours are the same: axioms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from foreseen.geometry.cameras import Camera
from foreseen.viewer.cameras import ViewerCamera, look_distance, vertical_fov, view_of

numbers = st.floats(-3, 3)
rotations = st.tuples(numbers, numbers, numbers)


def camera(rotation: tuple[float, ...], position: tuple[float, ...], width: int = 64, height: int = 48) -> Camera:
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.from_numpy(Rotation.from_rotvec(rotation).as_matrix())
    pose[:3, 3] = torch.tensor(position)
    return Camera(pose, 70.0, 70.0, width / 2, height / 2, width, height, 0.1, 10.0)


@given(rotations, rotations)
def test_there_and_back_is_the_same_camera(rotation: tuple[float, ...], position: tuple[float, ...]) -> None:
    before = camera(rotation, position)
    after = view_of(before).camera((64, 48), before)
    assert torch.allclose(after.camera_to_world, before.camera_to_world, atol=1e-9)
    for name in ("fx", "fy", "cx", "cy"):
        assert getattr(after, name) == pytest.approx(getattr(before, name))
    assert (after.near, after.far) == (before.near, before.far)


@given(rotations, rotations, st.floats(0.2, 2.5))
def test_the_edge_of_the_picture_is_half_the_field_of_view_away(
    rotation: tuple[float, ...], position: tuple[float, ...], fov: float
) -> None:
    template = camera((0, 0, 0), (0, 0, 0))
    view = ViewerCamera(tuple(Rotation.from_rotvec(rotation).as_quat(scalar_first=True)), position, fov)
    seen = view.camera((200, 100), template)
    assert vertical_fov(seen) == pytest.approx(fov)
    rays = seen.rays(torch.tensor([[100.0, 0.0], [100.0, 50.0], [100.0, 100.0]], dtype=torch.float64)).directions
    assert float((rays[0] @ rays[1]).clamp(-1, 1).acos()) == pytest.approx(fov / 2, abs=1e-6)
    assert float((rays[1] @ rays[2]).clamp(-1, 1).acos()) == pytest.approx(fov / 2, abs=1e-6)


@given(rotations, rotations)
def test_axes_are_opencv(rotation: tuple[float, ...], position: tuple[float, ...]) -> None:
    view = ViewerCamera(tuple(Rotation.from_rotvec(rotation).as_quat(scalar_first=True)), position, 1.0)
    seen = view.camera((64, 48), camera((0, 0, 0), (0, 0, 0)))
    x, y, z = Rotation.from_rotvec(rotation).as_matrix().T
    pixel, depth = seen.project(torch.tensor(np.array(position) + 2 * z + 0.1 * x + 0.2 * y))
    assert float(depth) == pytest.approx(2.0)
    assert pixel[0] > 32 and pixel[1] > 24  # to the right, and below


def test_viser_reads_poses_as_we_do() -> None:
    transforms = pytest.importorskip("viser.transforms", reason="viser comes with the extra [view]")
    one = camera((0.3, -0.8, 0.5), (1.0, 2.0, 3.0))
    assert np.allclose(transforms.SO3(np.array(view_of(one).wxyz)).as_matrix(), one.camera_to_world[:3, :3])


def test_near_views_are_one_for_the_eye() -> None:
    view = view_of(camera((0.3, -0.8, 0.5), (1.0, 2.0, 3.0)))
    minus = ViewerCamera(tuple(-x for x in view.wxyz), view.position, view.fov)
    assert view.near(minus, 1.0)
    assert not view.near(ViewerCamera(view.wxyz, (1.01, 2.0, 3.0), view.fov), 1.0)
    assert not view.near(ViewerCamera(view.wxyz, view.position, view.fov + 0.01), 1.0)
    rotated = Rotation.from_quat(view.wxyz, scalar_first=True) * Rotation.from_rotvec([0.01, 0, 0])
    assert not view.near(ViewerCamera(tuple(rotated.as_quat(scalar_first=True)), view.position, view.fov), 1.0)


def test_the_mouse_turns_around_what_lies_before_the_camera() -> None:
    one = camera((0, 0, 0), (0.0, 0.0, 1.0))
    assert look_distance(one, np.array([0.4, 0.0, 3.5])) == pytest.approx(2.5)
    assert look_distance(one, np.array([0.0, 0.0, -3.0])) == pytest.approx(4.0)  # behind: as far away
    assert look_distance(one, np.array([0.0, 0.0, 1.0])) > 0
    assert math.isfinite(look_distance(one, np.array([0.0, 0.0, 1.0])))
