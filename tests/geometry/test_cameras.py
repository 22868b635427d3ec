"""Cameras by their axioms."""

import math
from dataclasses import replace

import pytest
import torch

from foreseen.geometry.cameras import Camera
from foreseen.geometry.rotations import rotation_matrix


def camera(seed: int = 0, **changes: object) -> Camera:
    """A camera of odd intrinsics somewhere in space."""
    generator = torch.Generator().manual_seed(seed)
    pose = torch.eye(4)
    pose[:3, :3] = rotation_matrix(2 * torch.randn(3, generator=generator))
    pose[:3, 3] = torch.randn(3, generator=generator)
    return replace(Camera(pose, 61.0, 57.0, 23.5, 14.25, 48, 30, 0.5, 9.0), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_points_along_a_ray_project_to_its_pixel(seed: int) -> None:
    view = camera(seed)
    pixels = view.pixel_centres()[::7, ::5]
    points = view.rays(pixels).at(torch.tensor([0.7, 3.0, 8.0]).expand(*pixels.shape[:-1], 3))
    seen, depth = view.project(points)
    torch.testing.assert_close(seen, pixels[..., None, :].expand_as(seen), atol=2e-3, rtol=0)
    assert (depth > 0).all()


def test_depth_is_measured_along_z_and_distance_along_the_ray() -> None:
    view = camera()
    pixel = torch.tensor([[2.5, 27.5]])
    rays = view.rays(pixel)
    torch.testing.assert_close(rays.directions.norm(dim=-1), torch.ones(1))
    _, depth = view.project(rays.at(torch.tensor([[4.0]]))[0])
    x, y = (2.5 - 23.5) / 61, (27.5 - 14.25) / 57
    assert depth.item() == pytest.approx(4 / math.sqrt(1 + x * x + y * y), rel=1e-5)


def test_axes_are_right_down_forward() -> None:
    view = camera(camera_to_world=torch.eye(4))
    seen, depth = view.project(torch.tensor([[1.0, 0.0, 5.0], [0.0, 1.0, 5.0], [0.0, 0.0, -5.0]]))
    assert seen[0, 0] > view.cx and seen[0, 1] == pytest.approx(view.cy)
    assert seen[1, 1] > view.cy and seen[1, 0] == pytest.approx(view.cx)
    assert depth[2] < 0


def test_all_rays_start_at_the_camera() -> None:
    view = camera(3)
    rays = view.rays(view.pixel_centres())
    torch.testing.assert_close(rays.origins, view.position.expand_as(rays.origins))
    torch.testing.assert_close(rays.directions, rays.view_directions)


def test_pixel_centres_are_ordered_by_rows() -> None:
    centres = camera().pixel_centres()
    assert centres.shape == (30, 48, 2)
    assert centres[0, 0].tolist() == [0.5, 0.5] and centres[29, 3].tolist() == [3.5, 29.5]


@pytest.mark.parametrize("factor", [2, 3, 4, 7])
def test_a_smaller_picture_shows_the_same(factor: int) -> None:
    """Also where the size is no multiple: what lay at a share of the width stays at that share."""
    view = camera()
    small = view.downscale(factor)
    assert (small.width, small.height) == (48 // factor, 30 // factor)
    point = view.rays(torch.tensor([[31.0, 9.0]])).at(torch.tensor([[5.0]]))[0]
    (large_pixel, large_depth), (small_pixel, small_depth) = view.project(point), small.project(point)
    torch.testing.assert_close(large_depth, small_depth)
    shares = small_pixel / torch.tensor([small.width, small.height])
    torch.testing.assert_close(shares, large_pixel / torch.tensor([48, 30]))


def test_downscaling_by_one_changes_nothing() -> None:
    view = camera()
    small = view.downscale(1)
    assert (small.fx, small.fy, small.cx, small.cy) == (view.fx, view.fy, view.cx, view.cy)


def test_a_point_in_the_cameras_plane_projects_to_something_finite() -> None:
    seen, depth = camera(camera_to_world=torch.eye(4)).project(torch.tensor([1.0, 1.0, 0.0]))
    assert torch.isfinite(seen).all() and depth == 0
