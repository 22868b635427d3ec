"""Camera paths: rigid, of the asked length, around the right point and the right way up."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.geometry.ndc import NDC
from foreseen.geometry.paths import fixed, follow, look_at, look_at_point, orbit, spiral, up_direction

PATHS = {
    "orbit": orbit,
    "spiral": spiral,
    "follow": follow,
    "fixed": lambda given, count: fixed(given[0], count),
}
TARGET = np.array([1.0, -2.0, 0.5])
UP = np.array([0.0, 0.6, 0.8])


def camera(pose: np.ndarray, ndc: NDC | None = None) -> Camera:
    near, far = (0.0, 1.0) if ndc is not None else (2.0, 6.0)
    return Camera(torch.from_numpy(pose).float(), 55.0, 50.0, 31.0, 20.0, 64, 40, near, far, ndc)


def dome(count: int = 12, arc: float = 2 * np.pi, seed: int = 0) -> list[Camera]:
    """Upright cameras 4 units from TARGET, at various heights."""
    random = np.random.default_rng(seed)
    first = np.array([1.0, 0.0, 0.0])
    second = np.cross(UP, first)
    cameras = []
    for azimuth in np.linspace(0, arc, count, endpoint=False):
        elevation = random.uniform(0.1, 1.1)
        level = np.cos(azimuth) * first + np.sin(azimuth) * second
        position = TARGET + 4 * (np.cos(elevation) * level + np.sin(elevation) * UP)
        cameras.append(camera(look_at(position, TARGET, UP)))
    return cameras


def row(count: int = 9, ndc: bool = False, spread: float = 0.3) -> list[Camera]:
    """Cameras side by side that look along world z, y down."""
    random = np.random.default_rng(1)
    reference = NDC(torch.eye(4), 1.7, 2.5, near=1.0) if ndc else None
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, 3] = random.uniform(-1, 1, (count, 3)) * [spread, spread, spread / 3]
    return [camera(pose, reference) for pose in poses]


def poses(cameras: list[Camera]) -> np.ndarray:
    return np.stack([c.camera_to_world.double().numpy() for c in cameras])


@pytest.mark.parametrize("name", sorted(PATHS))
@pytest.mark.parametrize("count", [1, 2, 17])
@pytest.mark.parametrize("given", [dome(), row(), dome(1)], ids=["dome", "row", "one"])
def test_every_path_is_rigid_and_keeps_the_lens(name: str, count: int, given: list[Camera]) -> None:
    path = PATHS[name](given, count)
    assert len(path) == count
    rotation = poses(path)[:, :3, :3]
    np.testing.assert_allclose(rotation @ rotation.transpose(0, 2, 1), np.tile(np.eye(3), (count, 1, 1)), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-6)
    np.testing.assert_array_equal(poses(path)[:, 3], np.tile([0, 0, 0, 1], (count, 1)))
    for made in path:
        assert replace(made, camera_to_world=given[0].camera_to_world) == given[0]
        assert made.camera_to_world.dtype == given[0].camera_to_world.dtype


def test_look_at_puts_the_target_in_the_centre_and_up_upwards() -> None:
    made = camera(look_at(np.array([3.0, 1.0, 2.0]), TARGET, UP))
    target = torch.from_numpy(TARGET).float()
    pixel, depth = made.project(torch.stack([target, target + 0.1 * torch.from_numpy(UP).float()]))
    np.testing.assert_allclose(pixel[0], [31, 20], atol=1e-4)
    assert pixel[1, 1] < 20 and abs(pixel[1, 0] - 31) < 1e-3 and depth[0] > 0


@pytest.mark.parametrize("direction", [UP, -UP])
def test_look_at_straight_up_and_down(direction: np.ndarray) -> None:
    pose = look_at(TARGET - 2 * direction, TARGET, UP)
    np.testing.assert_allclose(pose[:3, :3].T @ pose[:3, :3], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(pose[:3, 2], direction, atol=1e-12)


@pytest.mark.parametrize("arc", [2 * np.pi, np.pi / 2])
def test_up_is_found_whatever_the_cameras_pitch(arc: float) -> None:
    np.testing.assert_allclose(up_direction(dome(arc=arc)), UP, atol=1e-5)


def test_up_survives_a_camera_that_is_held_on_its_side() -> None:
    cameras = dome(20)
    rolled = poses(cameras)[3] @ np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    cameras[3] = camera(rolled)
    assert up_direction(cameras) @ UP > np.cos(np.radians(0.1))


def test_up_of_alike_cameras_is_their_own() -> None:
    np.testing.assert_allclose(up_direction(row()), [0, -1, 0], atol=1e-9)
    one = dome(1)
    np.testing.assert_allclose(up_direction(one), -poses(one)[0, :3, 1], atol=1e-6)


def test_the_point_that_cameras_look_at() -> None:
    np.testing.assert_allclose(look_at_point(dome()), TARGET, atol=0.01)


def test_parallel_and_diverging_axes_fall_back_to_the_focus_distance() -> None:
    focus = 1 / (0.25 / 2 + 0.75 / 6)
    cameras = row()
    expected = poses(cameras)[:, :3, 3].mean(0) + np.array([0, 0, focus])
    np.testing.assert_allclose(look_at_point(cameras), expected, atol=1e-5)
    diverging = [camera(look_at(np.array([x, 0, 0.0]), np.array([3 * x, 0, 1.0]), UP)) for x in (-0.5, 0, 0.5)]
    assert look_at_point(diverging)[2] > 1
    np.testing.assert_allclose(look_at_point(row(ndc=True))[2], poses(row())[:, 2, 3].mean() + 4, atol=1e-5)


def test_an_orbit_circles_the_target_at_one_height() -> None:
    given = dome()
    path = poses(orbit(given, 24))
    offsets = path[:, :3, 3] - look_at_point(given)
    assert np.ptp(offsets @ UP) < 1e-4 and np.ptp(np.linalg.norm(offsets, axis=-1)) < 1e-4
    np.testing.assert_allclose(np.cross(path[:, :3, 2], -offsets), 0, atol=1e-4)
    assert (-path[:, :3, 1] @ UP > 0).all(), "upside down"
    steps = np.linalg.norm(np.roll(path[:, :3, 3], -1, 0) - path[:, :3, 3], axis=-1)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-4)
    first = poses(given)[0, :3, 3] - look_at_point(given)
    level = first - first @ UP * UP
    assert offsets[0] @ level > 0.99 * np.linalg.norm(level) * np.linalg.norm(offsets[0] - offsets[0] @ UP * UP)


def test_a_narrow_orbit_swings_both_ways_and_returns() -> None:
    given = dome(6, arc=np.pi / 3)
    offsets = poses(orbit(given, 40, degrees=60))[:, :3, 3] - look_at_point(given)
    level = offsets - (offsets @ UP)[:, None] * UP
    level /= np.linalg.norm(level, axis=-1, keepdims=True)
    rotated = np.degrees(np.arcsin(np.cross(level[0], level) @ UP))
    assert rotated.max() == pytest.approx(30, abs=0.1) and rotated.min() == pytest.approx(-30, abs=0.1)
    assert abs(rotated[-1]) < 6


def test_a_wide_orbit_of_a_forward_facing_scene_is_refused() -> None:
    with pytest.raises(UserError, match=r"an orbit of 360 degrees leaves .* take the spiral, or at most 90 degrees"):
        orbit(row(ndc=True), 5)
    assert len(orbit(row(ndc=True), 5, degrees=30)) == 5


def test_a_spiral_stays_among_the_cameras_and_looks_at_the_focus() -> None:
    given = row()
    path = poses(spiral(given, 60))
    centre = poses(given)[:, :3, 3].mean(0)
    radii = np.quantile(np.abs(poses(given)[:, :3, 3] - centre), 0.9, axis=0)
    reach = np.abs(path[:, :3, 3] - centre).max(0)
    np.testing.assert_allclose(reach, radii, rtol=0.02)
    to_focus = centre + np.array([0, 0, 4.0]) - path[:, :3, 3]
    np.testing.assert_allclose(np.cross(path[:, :3, 2], to_focus), 0, atol=1e-5)
    np.testing.assert_allclose(path[0, :3, 3], spiral(given, 6)[0].camera_to_world[:3, 3], atol=1e-6)


def test_a_spiral_around_one_camera_still_moves() -> None:
    path = poses(spiral(row(1), 16))
    assert 0.1 < np.ptp(path[:, 0, 3]) < 0.5 and np.ptp(path[:, 2, 3]) < 1e-6


def test_following_passes_through_every_pose_and_between_them() -> None:
    given = dome(5)
    np.testing.assert_allclose(poses(follow(given, 5)), poses(given), atol=1e-6)
    finer = poses(follow(given, 9))
    np.testing.assert_allclose(finer[::2], poses(given), atol=1e-6)
    np.testing.assert_allclose(finer[1, :3, 3], poses(given)[:2, :3, 3].mean(0), atol=1e-6)
    half = finer[0, :3, :3].T @ finer[1, :3, :3]
    np.testing.assert_allclose(half @ half, finer[0, :3, :3].T @ finer[2, :3, :3], atol=1e-5)


def test_a_fixed_path_is_the_camera_itself() -> None:
    given = dome(3)
    assert all(c is given[1] for c in fixed(given[1], 4))


@pytest.mark.parametrize("name", sorted(PATHS))
def test_nothing_to_go_by_is_refused(name: str) -> None:
    if name != "fixed":
        with pytest.raises(UserError, match="needs at least one camera"):
            PATHS[name]([], 3)
    with pytest.raises(UserError, match="a camera path of 0 pictures is empty: ask for 1 or more"):
        PATHS[name](dome(2), 0)
