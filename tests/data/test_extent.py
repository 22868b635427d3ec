"""Near, far and bounds from cameras alone."""

import numpy as np
import pytest
import torch
from tiny_files import ring_pose

from foreseen.data.extent import MIN_NEAR_SHARE, extent_from_cameras
from foreseen.geometry.cameras import Camera
from foreseen.geometry.paths import look_at

FOCAL = 100.0


def camera(pose: np.ndarray, focal: float = FOCAL) -> Camera:
    return Camera(torch.from_numpy(pose).float(), focal, focal, 50, 40, 100, 80, 0.0, 1.0)


def looking(position: list[float], target: list[float], focal: float = FOCAL) -> Camera:
    return camera(look_at(np.array(position), np.array(target), np.array([0.0, 0, 1])), focal)


def ring(count: int, radius: float = 4.0, shift: tuple = (0, 0, 0)) -> list[Camera]:
    poses = [ring_pose(a, radius) for a in 2 * np.pi * np.arange(count) / count]
    for pose in poses:
        pose[:, 1:3] *= -1
        pose[:3, 3] += shift
    return [camera(pose) for pose in poses]


def test_a_ring_gives_a_cube_as_large_as_the_view() -> None:
    extent = extent_from_cameras(ring(8, shift=(3, -2, 1)))
    middle = np.array([3.0, -2, 1])
    assert np.allclose(extent.bounds, [middle - 2, middle + 2], atol=1e-2)  # 4 * 50 px / 100 px
    assert extent.near == pytest.approx(np.hypot(4 / np.sqrt(2) - 2, 4 / np.sqrt(2) - 2), abs=0.02)
    assert extent.far == pytest.approx(np.sqrt(2 * (4 / np.sqrt(2) + 2) ** 2 + 2**2), abs=0.02)


def test_it_grows_with_the_scene() -> None:
    small, large = extent_from_cameras(ring(8)), extent_from_cameras(ring(8, radius=400.0))
    assert large.near == pytest.approx(100 * small.near, rel=1e-3)
    assert np.allclose(large.bounds, 100 * small.bounds, atol=0.1)


def test_one_far_camera_and_a_close_up_do_not_decide() -> None:
    typical, aim = extent_from_cameras(ring(8)), [0.0, 0, 0]
    odd = extent_from_cameras([*ring(8), looking([40, 0, 0], aim), looking([0, 4, 0.1], aim, 10 * FOCAL)])
    assert np.allclose(odd.bounds, typical.bounds, atol=0.05)
    assert odd.far > 40  # its rays reach the box all the same


def test_every_camera_meets_the_box_between_near_and_far() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        cameras = [looking(list(5 * rng.normal(size=3)), list(0.2 * rng.normal(size=3))) for _ in range(12)]
        extent = extent_from_cameras(cameras)
        corners = torch.cartesian_prod(*extent.bounds.T)
        distances = torch.stack([(corners - c.position).norm(dim=-1) for c in cameras])
        assert 0 < extent.near <= distances.min() and distances.max() <= extent.far + 1e-4


@pytest.mark.parametrize("count", [1, 4])
def test_parallel_cameras_look_at_the_height_of_the_origin(count: int) -> None:
    pose = np.diag([1.0, -1, -1, 1])  # down the z axis, from above
    cameras = []
    for index in range(count):
        pose[:3, 3] = [0.1 * index, 0, 7]
        cameras.append(camera(pose.copy()))
    extent = extent_from_cameras(cameras)
    assert extent.bounds.mean(0)[2] == pytest.approx(0, abs=0.05)
    assert 0 < extent.near < 7 < extent.far


def test_a_camera_in_the_origin_and_cameras_that_look_outwards_still_get_a_range() -> None:
    inside = [looking([0.1 * np.cos(a), 0.1 * np.sin(a), 0], [np.cos(a), np.sin(a), 0]) for a in np.arange(6.0)]
    for cameras in ([looking([0, 0, 0], [1, 0, 0])], inside):
        extent = extent_from_cameras(cameras)
        assert 0 < extent.near < extent.far < 100
        assert (extent.bounds[0] < extent.bounds[1]).all()
        distance = torch.stack([(extent.bounds.mean(0) - c.position).norm() for c in cameras]).median()
        assert extent.near >= MIN_NEAR_SHARE * float(distance) - 1e-6


def test_the_sentence_says_what_was_taken() -> None:
    assert extent_from_cameras(ring(4)).sentence() == (
        "near, far and bounds are not stated; taken from where the cameras look:"
        " near 2, far 6.63, bounds (-2, -2, -2) to (2, 2, 2)"
    )
