"""Whole pictures: depth, mask, flow, light."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from foreseen.geometry.cameras import Camera
from foreseen.simulate.camera_rig import CameraRig
from foreseen.simulate.raycast import backdrop, cast
from foreseen.simulate.scene import (
    Body,
    Box,
    Capsule,
    HeightField,
    Light,
    Material,
    Plane,
    Poses,
    Solid,
    Sphere,
    Stage,
)

GREY = Material((0.5, 0.5, 0.5))
SIZE = 48


def camera(azimuth: float = 20.0, elevation: float = 35.0, size: int = SIZE) -> Camera:
    return CameraRig((0.0, 0.0, 0.3), 3.0, 40, (10, 30), 2.2).camera(azimuth, elevation, size)


def spun(axis: tuple[float, float, float], angle: float) -> np.ndarray:
    """Rodrigues' rotation."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def poses(*rows: tuple[np.ndarray, tuple[float, float, float]]) -> Poses:
    return Poses(np.stack([r for r, _ in rows]), np.array([p for _, p in rows], float))


def surface_points(view: Camera, depth: np.ndarray) -> np.ndarray:
    """World points `[H, W, 3]` that a depth map speaks of."""
    rays = view.rays(view.pixel_centres().double())
    forward = view.camera_to_world[:3, 2].double()
    distance = torch.tensor(depth).double() / (rays.directions @ forward)
    return (rays.origins + distance[..., None] * rays.directions).numpy()


def alone(solid: Solid) -> Stage:
    return Stage((), (Body("it", (solid,)),))


def test_depth_of_a_plane_lies_on_it() -> None:
    view = camera()
    tilt = spun((1, 0.3, 0), 0.3)
    picture = cast(Stage((Plane(GREY, position=(0, 0, 0.1), rotation=tilt),), ()), view, None, samples=1)
    points = surface_points(view, picture.depth)[picture.depth > 0]
    assert len(points) > 1000
    assert np.abs((points - (0, 0, 0.1)) @ tilt[:, 2]).max() < 1e-5


PLACE = (spun((1, 2, 3), 0.8), (0.1, -0.2, 0.4))
SOLIDS = {
    "sphere": (Sphere(GREY, radius=0.4), lambda p: np.linalg.norm(p, axis=-1) - 0.4),
    "box": (Box(GREY, half_extents=(0.5, 0.3, 0.2)), lambda p: (np.abs(p) - (0.5, 0.3, 0.2)).max(-1)),
    "capsule": (
        Capsule(GREY, radius=0.15, half_length=0.4),
        lambda p: np.hypot(np.hypot(p[..., 0], p[..., 1]), np.maximum(np.abs(p[..., 2]) - 0.4, 0)) - 0.15,
    ),
}


@pytest.mark.parametrize("name", SOLIDS)
def test_depth_of_a_solid_lies_on_it(name: str) -> None:
    solid, gap = SOLIDS[name]
    view = camera()
    picture = cast(alone(solid), view, poses(PLACE), samples=1)
    local = (surface_points(view, picture.depth) - PLACE[1]) @ PLACE[0]
    seen = picture.mask == 1
    assert seen.sum() > 80
    assert np.abs(gap(local[seen])).max() < 2e-5
    assert (picture.depth[~seen] == 0).all()


def test_the_mask_of_a_sphere_is_its_projection() -> None:
    """A pixel sees the sphere where the angle to its centre is below asin(radius / distance)."""
    view, centre, radius = camera(), np.array([0.2, 0.1, 0.5]), 0.35
    picture = cast(alone(Sphere(GREY, radius=radius)), view, poses((np.eye(3), tuple(centre))), samples=1)
    rays = view.rays(view.pixel_centres().double())
    to = centre - rays.origins.numpy()
    cosine = (rays.directions.numpy() * to).sum(-1) / np.linalg.norm(to, axis=-1)
    edge = np.cos(np.arcsin(radius / np.linalg.norm(to, axis=-1)))
    assert np.array_equal(picture.mask == 1, cosine > edge)


def test_what_stands_in_front_hides_what_is_behind() -> None:
    view = camera(0, 10)
    ball, wall = Sphere(GREY, radius=0.3), Box(GREY, position=(0.3, -0.8, 0.3), half_extents=(0.3, 0.05, 0.6))
    stage = Stage((wall,), (Body("a", (ball,)), Body("b", (ball,))))
    picture = cast(stage, view, poses((np.eye(3), (0, 0, 0.3)), (np.eye(3), (-0.2, 0.7, 0.3))), samples=1)
    free = cast(replace(stage, static=()), view, poses((np.eye(3), (0, 0, 0.3)), (np.eye(3), (9, 9, 9))), samples=1)
    assert set(np.unique(picture.mask)) == {0, 1, 2}
    hidden = (free.mask == 1) & (picture.mask != 1)
    assert hidden.any() and (picture.mask[hidden] == 0).all()
    assert (picture.depth[hidden] < free.depth[hidden]).all()


@pytest.mark.parametrize("name", SOLIDS)
def test_flow_is_where_the_moved_point_projects_to(name: str) -> None:
    """By `Camera.project`, an implementation of its own; and it is the derivative of the projection."""
    view, solid = camera(), SOLIDS[name][0]
    velocity, axis = np.array([0.4, -0.3, 0.5]), (0.2, 1.0, -0.4)

    def after(step: float) -> tuple[np.ndarray, tuple[float, float, float]]:
        return spun(axis, step) @ PLACE[0], tuple(np.array(PLACE[1]) + step * velocity)

    picture = cast(alone(solid), view, poses(PLACE), poses(after(0.1)), samples=1)
    seen, still = picture.mask == 1, picture.mask == 0
    points = surface_points(view, picture.depth)[seen]
    rotation, position = after(0.1)
    moved = (points - PLACE[1]) @ PLACE[0] @ rotation.T + position
    expected = view.project(torch.tensor(moved))[0].numpy() - view.pixel_centres().numpy()[seen]
    assert np.abs(expected).max() > 1
    assert np.allclose(picture.flow[seen], expected, atol=1e-3)
    assert (picture.flow[still] == 0).all()
    spin = np.array(axis) / np.linalg.norm(axis)
    speed = velocity + np.cross(spin, points - PLACE[1])
    small = cast(alone(solid), view, poses(PLACE), poses(after(1e-3)), samples=1).flow[seen] / 1e-3
    ahead, behind = (view.project(torch.tensor(points + s * 1e-4 * speed))[0].numpy() for s in (1, -1))
    assert np.allclose(small, (ahead - behind) / 2e-4, rtol=5e-3, atol=0.1)


def test_a_sphere_throws_its_shadow_where_the_light_says() -> None:
    """Dark where the way to the light passes the sphere, bright well beyond, and softly in between."""
    view, centre, radius = camera(0, 60, 96), np.array([0.0, 0.0, 0.8]), 0.25
    stage = replace(alone(Sphere(GREY, radius=radius)), static=(Plane(GREY),), light=Light(direction=(-1, -0.5, 2)))
    now = poses((np.eye(3), tuple(centre)))
    with_ball, without = cast(stage, view, now, samples=1), cast(stage, view, None, samples=1)
    floor = (with_ball.mask == 0) & (with_ball.depth > 0)
    points = surface_points(view, with_ball.depth)
    light = np.array((-1, -0.5, 2)) / np.linalg.norm((-1, -0.5, 2))
    along = (centre - points) @ light
    apart = np.linalg.norm(centre - points - along[..., None] * light, axis=-1)
    share = with_ball.rgba[..., 0] / without.rgba[..., 0]
    assert (apart[floor] < 0.18).sum() > 50
    assert share[floor & (apart < 0.18)].max() < 0.7
    assert share[floor & (apart > 1.3)].min() == 1
    edge = share[floor & (abs(apart - radius) < 0.03)]
    assert edge.std() > 0.02
    assert share[floor & (apart > 0.4)].min() > 0.85


@pytest.mark.parametrize("thing", [Box(GREY, half_extents=(0.2, 0.2, 0.2)), Capsule(GREY, radius=0.1, half_length=0.2)])
def test_boxes_and_capsules_throw_shadows(thing: Solid) -> None:
    stage = Stage((Plane(GREY),), (Body("it", (thing,)),), Light(direction=(0, 0, 1)))
    view = camera(0, 30)
    picture = cast(stage, view, poses((np.eye(3), (0, 0, 1.0))), samples=1)
    plain = cast(stage, view, None, samples=1)
    under = view.project(torch.tensor([0.0, 0.0, 0.0]))[0].int().tolist()
    assert picture.mask[under[1], under[0]] == 0
    assert picture.rgba[under[1], under[0], 0] < 0.8 * plain.rgba[under[1], under[0], 0]


def test_faces_towards_the_light_are_brighter() -> None:
    picture = cast(alone(Sphere(GREY, radius=0.5)), camera(0, 0), poses((np.eye(3), (0, 0, 0.3))), samples=1)
    ball = np.argwhere(picture.mask == 1)
    upper = picture.rgba[ball[:, 0].min() + 3, SIZE // 2 - 3, 0]
    lower = picture.rgba[ball[:, 0].max() - 3, SIZE // 2 + 3, 0]
    assert upper > 1.3 * lower


def test_a_checker_alternates_and_fades_far_away() -> None:
    paint = Material((0.8, 0.8, 0.8), (0.2, 0.2, 0.2), 0.5)
    view = camera(0, 90 - 1e-3, 64)
    picture = cast(Stage((Plane(paint),), (), Light(sun=0, sky=1)), view, None, samples=1)
    pixels, _ = view.project(torch.tensor([[0.25, 0.25, 0.0], [-0.25, 0.25, 0.0], [-0.25, -0.25, 0.0]]))
    bright, dark, again = (picture.rgba[int(y), int(x), 0] for x, y in pixels.tolist())
    assert bright == again > 1.5 * dark
    tiny = cast(Stage((Plane(replace(paint, tile_size=0.001)),), (), Light(sun=0, sky=1)), view, None, samples=1)
    assert np.ptp(tiny.rgba[..., 0]) < 0.05


def test_alpha_is_the_share_of_rays_that_hit() -> None:
    view, now = camera(), poses((np.eye(3), (0.0, 0.0, 0.3)))
    picture = cast(alone(Sphere(GREY, radius=0.4)), view, now, samples=5)
    alpha = picture.rgba[..., 3]
    assert alpha.min() == 0 and alpha.max() == 1
    assert ((alpha > 0) & (alpha < 1)).sum() > 20
    focal, away = view.fx, np.linalg.norm(view.position.numpy() - (0, 0, 0.3))
    disc = np.pi * (focal * 0.4 / np.sqrt(away**2 - 0.4**2)) ** 2
    assert alpha.sum() == pytest.approx(disc, rel=0.01)
    assert picture.image(True).shape == (SIZE, SIZE, 4) and picture.image(False).shape == (SIZE, SIZE, 3)


def test_the_shared_backdrop_changes_nothing() -> None:
    """A stage whose still things come as a body that stays put is traced in full: the same picture."""
    grid = 0.1 + 0.3 * np.linspace(-1, 1, 9)[:, None] ** 2 * np.ones((1, 9))
    still = (
        HeightField(
            Material((0.3, 0.5, 0.2)), position=(-0.6, 0.2, 0), heights=grid, half_extents=(0.4, 0.4), base=0.0
        ),
        Box(GREY, position=(0.6, 0.3, 0.2), rotation=spun((0, 0, 1), 0.5), half_extents=(0.2, 0.1, 0.2)),
        Capsule(GREY, position=(0.2, 0.6, 0.3), radius=0.05, half_length=0.25),
        Plane(Material((0.6, 0.6, 0.6), (0.3, 0.3, 0.3), 0.3)),
    )
    ball = Body("ball", (Sphere(GREY, radius=0.2), Capsule(GREY, position=(0, 0, 0.4), radius=0.02, half_length=0.4)))
    here, home = (spun((0, 1, 0), 0.4), (0.1, 0.2, 0.35)), (np.eye(3), (0, 0, 0))
    view = camera()
    shared = Stage(still, (ball,))
    quick = cast(shared, view, poses(here), samples=2, still=backdrop(shared, view, 2))
    full = cast(Stage((), (ball, Body("still", still))), view, poses(here, home), samples=2)
    assert np.abs(quick.rgba - full.rgba).max() < 2e-3
    assert np.array_equal(quick.mask, np.where(full.mask == 1, 1, 0))
    assert np.allclose(quick.depth, full.depth, atol=1e-5)
