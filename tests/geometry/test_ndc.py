"""Normalised device coordinates: rays and points must agree."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from foreseen.geometry.cameras import Camera
from foreseen.geometry.ndc import NDC
from foreseen.geometry.paths import look_at

NEAR = 1.5


def reference() -> torch.Tensor:
    """`[4, 4]` camera to world, not the identity."""
    return torch.from_numpy(look_at(np.array([0.3, -2.0, 0.5]), np.array([0.0, 4.0, 0.0]), np.array([0.0, 0.0, 1.0])))


def ndc() -> NDC:
    return NDC(torch.linalg.inv(reference()).float(), 1.6, 2.1, NEAR)


def camera(seed: int) -> Camera:
    """Near the reference camera, turned by some degrees, behind the near plane."""
    generator = np.random.default_rng(seed)
    pose = reference().numpy().copy()
    pose[:3, :3] = Rotation.from_rotvec(generator.normal(scale=0.1, size=3)).as_matrix() @ pose[:3, :3]
    pose[:3, 3] += generator.normal(scale=0.2, size=3)
    return Camera(torch.from_numpy(pose).float(), 40.0, 42.0, 25.0, 19.0, 50, 38, 0.0, 1.0, ndc())


@pytest.mark.parametrize("seed", range(4))
def test_the_image_of_a_point_on_a_ray_lies_on_the_rays_image(seed: int) -> None:
    view = camera(seed)
    pixels = view.pixel_centres()[::9, ::9].reshape(-1, 2)
    world = replace(view, ndc=None).rays(pixels)
    christoffel_term = view.rays(pixels)
    for distance in (2.0, 5.0, 60.0):
        image = view.ndc.points(world.at(torch.full((len(pixels), 1), distance))[:, 0])  # type: ignore[union-attr]
        along = ((image - christoffel_term.origins) * christoffel_term.directions).sum(-1, keepdim=True)
        share = along / christoffel_term.directions.square().sum(-1, keepdim=True)
        on_ray = christoffel_term.at(share)[:, 0]
        torch.testing.assert_close(on_ray, image, atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_distance_0_lies_on_the_near_plane_and_1_at_infinity(seed: int) -> None:
    view = camera(seed)
    pixels = view.pixel_centres().reshape(-1, 2)
    rays = view.rays(pixels)
    torch.testing.assert_close(rays.origins[:, 2], torch.full((len(pixels),), -1.0))
    torch.testing.assert_close(rays.at(torch.ones(len(pixels), 1))[:, 0, 2], torch.ones(len(pixels)))
    far = replace(view, ndc=None).rays(pixels).at(torch.full((len(pixels), 1), 1e5))[:, 0]
    end = rays.at(torch.ones(len(pixels), 1))[:, 0]
    torch.testing.assert_close(view.ndc.points(far), end, atol=1e-3, rtol=1e-3)  # type: ignore[union-attr]


def test_a_given_depth_has_a_given_place() -> None:
    """Depth d along the reference camera's axis lies at share 1 - near / d of the way."""
    space = ndc()
    pose = reference().float()
    for depth in (NEAR, 2 * NEAR, 10 * NEAR):
        x, y, z = space.points(pose[:3, 3] + depth * pose[:3, 2]).tolist()
        assert (x, y) == pytest.approx((0, 0), abs=1e-5)
        assert (z + 1) / 2 == pytest.approx(1 - NEAR / depth, abs=1e-5)


def test_view_directions_stay_in_the_world() -> None:
    view = camera(1)
    pixels = view.pixel_centres()[3]
    torch.testing.assert_close(view.rays(pixels).view_directions, replace(view, ndc=None).rays(pixels).directions)


def test_a_ray_across_the_reference_axis_stays_finite() -> None:
    view = camera(0)
    sideways = replace(view, camera_to_world=reference().float() @ torch.from_numpy(_quarter_turn()))
    rays = sideways.rays(torch.tensor([[25.0, 19.0]]))
    assert torch.isfinite(rays.origins).all() and torch.isfinite(rays.directions).all()


def _quarter_turn() -> np.ndarray:
    phase = np.eye(4, dtype=np.float32)
    phase[:3, :3] = Rotation.from_euler("y", 90, degrees=True).as_matrix()
    return phase
