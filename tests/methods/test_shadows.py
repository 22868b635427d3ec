"""Shadows of moving balls: told from bodies, explained by one light, and shown where that says."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from foreseen.core.scene_info import SceneInfo
from foreseen.methods.rigid_ode.gaussian_look import GaussianLook
from foreseen.methods.rigid_ode.parts import PartsState
from foreseen.methods.rigid_ode.shadows import Shadows
from foreseen.nn.splines import UniformBSpline
from foreseen.reconstruction.findings import Findings, explore
from foreseen.reconstruction.hulls import View, silhouettes
from foreseen.reconstruction.light import Lamp, are_enough, shadow_pixels
from foreseen.render import render
from foreseen.scenes.voxel_scene import AWAY
from foreseen.splatting.config import CloudConfig
from moving_balls import BOUNDS, LEFT, RIGHT, WHITE, Ball, camera, info, picture

CONTROLS, CELLS, FLOOR, GREY = 8, 24, -1.4, 0.6
LIGHT = np.array([0.3, 1.0, -0.1])
"""Towards the light."""
NORMAL = np.array([0.0, 1.0, 0.0])
TIMES = np.linspace(0, 1, 14)


def shaded_picture(at_angle: float, balls: list[Ball], time: float) -> View:
    """Balls before white, whose shadows are grey on a floor that nothing else shows."""
    at = camera(at_angle, height=1.5, size=64)
    image = picture(at, balls, time)
    rays = at.rays(at.pixel_centres())
    origin, direction = rays.origins.numpy(), rays.directions.numpy()
    steps = (FLOOR - origin @ NORMAL) / (direction @ NORMAL)
    points = origin + steps[..., None] * direction
    toward = LIGHT / np.linalg.norm(LIGHT)
    dark = np.zeros(image.shape[:2], bool)
    for path, radius in balls:
        to = np.array(path(time)) - points
        along = to @ toward
        beside = np.sqrt(np.maximum((to**2).sum(-1) - along**2, 0))
        dark |= (beside < radius) & (along > 0) & (steps > 0)
    floor = dark & (image == 1).all(-1)
    image[floor] = GREY
    return View(at, time, image)


@pytest.fixture(scope="module")
def views() -> list[View]:
    return [shaded_picture(angle, [LEFT, RIGHT], t) for angle in (-1.0, -0.3, 0.4, 1.1, 2.6) for t in TIMES]


@pytest.fixture(scope="module")
def found(views: list[View]) -> Findings:
    torch.manual_seed(0)
    return explore(views, BOUNDS, WHITE, CONTROLS, CELLS, solid=True)


def centres_of(found: Findings, times: np.ndarray) -> np.ndarray:
    basis = UniformBSpline(CONTROLS).basis(torch.from_numpy(times)).numpy()
    return np.stack([basis @ part.controls for part in found.parts], axis=1)


def test_shadows_are_told_from_bodies(views: list[View]) -> None:
    masks = silhouettes(views, WHITE)
    assert masks is not None
    dark = shadow_pixels(views, masks)
    assert are_enough(dark, masks) and not are_enough([shade & False for shade in dark], masks)
    grey = [(np.abs(view.image - GREY) < 1e-6).all(-1) for view in views]
    assert not any((shade & ~own).any() for shade, own in zip(dark, grey))
    assert sum(shade.sum() for shade in dark) > 0.85 * sum(own.sum() for own in grey)


def test_shadows_are_no_parts_and_one_light_explains_them(found: Findings) -> None:
    """The light foretells where each ball's shadow falls."""
    assert len(found.parts) == 2 and found.lamp is not None and found.lamp.agreement > 0.8
    shadows = Shadows()
    shadows.light_up(found.lamp)
    for path, radius in (LEFT, RIGHT):
        for time in (0.1, 0.5, 0.9):
            centre = np.array(path(time))
            truth = centre - LIGHT * (centre @ NORMAL - FLOOR) / (LIGHT @ NORMAL)
            place, size = shadows.on_plane(torch.from_numpy(centre[None]).float())
            assert np.linalg.norm(place[0].numpy() - truth) < 0.4 * radius
            assert abs(float(size) - 1) < 0.2


def test_bodies_are_found_better_than_with_their_shadows(views: list[View], found: Findings) -> None:
    errors = []
    for parts in (found, explore(views, BOUNDS, WHITE, CONTROLS, CELLS)):
        places = centres_of(parts, TIMES)
        truth = [np.array([path(t) for t in TIMES]) for path, _ in (LEFT, RIGHT)]
        errors.append(max(np.linalg.norm(places - t[:, None], axis=-1).mean(0).min() for t in truth))
    assert errors[0] < 0.1 and errors[0] <= errors[1]


def test_without_shadows_there_is_no_light() -> None:
    plain = [
        View(at, t, picture(at, [LEFT, RIGHT], t))
        for at in (camera(a, height=1.5) for a in (-1.0, -0.3, 0.4, 1.1))
        for t in TIMES
    ]
    found = explore(plain, BOUNDS, WHITE, CONTROLS, CELLS, solid=True)
    assert found.lamp is None and len(found.parts) == 2


def lit(light: tuple[float, ...]) -> Shadows:
    shadows = Shadows()
    shadows.light_up(Lamp(np.array(light), np.array([0.0, 0.0, 1.0, -1.0]), 1.0, 1.0))
    return shadows


def test_a_lamp_that_is_near_makes_large_shadows() -> None:
    """A lamp at height 3 over a floor at -1, a ball at 1: similar triangles say 2; the sun says 1."""
    centres = torch.tensor([[0.5, 0.0, 1.0]])
    place, size = lit((0.0, 0.0, 1.0, 1 / 3)).on_plane(centres)
    torch.testing.assert_close(place, torch.tensor([[1.0, 0.0, -1.0]]))
    torch.testing.assert_close(size, torch.tensor([2.0]))
    place, size = lit((0.0, 0.0, 1.0, 0.0)).on_plane(centres)
    torch.testing.assert_close(place, torch.tensor([[0.5, 0.0, -1.0]]))
    torch.testing.assert_close(size, torch.tensor([1.0]))
    below, _ = lit((0.0, 0.0, 1.0, 0.0)).on_plane(torch.tensor([[0.0, 0.0, -2.0]]))
    assert (below == AWAY).all()


def test_what_lies_behind_another_part_is_covered() -> None:
    shadows = lit((0.0, 0.0, 1.0, 0.0))
    centres, radii = torch.tensor([[0.0, 0.0, 1.0], [5.0, 0.0, 1.0]]), torch.tensor([0.3, 0.3])
    points = torch.tensor([[0.0, 0.1, 0.0], [0.0, 0.1, 2.0], [0.0, 0.6, 0.0], [5.0, 0.0, 0.8], [0.0, 0.0, 0.9]])
    owners = torch.tensor([2, 2, 2, 1, 0])
    found = shadows.covered(points, owners, centres, radii)
    assert found[0] > 0.9, "straight below"
    assert (found[1:3] < 0.1).all(), "above, and beside"
    assert (found[3:] < 0.1).all(), "no part shades itself"


@pytest.fixture(scope="module")
def look(views: list[View], found: Findings) -> GaussianLook:
    scene: SceneInfo = info(tuple(TIMES.tolist()))
    made = GaussianLook(CloudConfig(budget=3000, start_points=2500, degree=0), 0.0, scene, found.halves())
    places = torch.from_numpy(centres_of(found, np.array([v.time for v in views]))).float()
    still = torch.zeros_like(places)
    made.begin(found, PartsState(places, still, torch.zeros(len(places), 1)), views)
    return made


def test_gaussians_show_the_shadow_of_a_part_wherever_it_is(look: GaussianLook) -> None:
    """Where it never was, too."""
    assert look.shadows.known and set(look.cloud.owners[: len(look.cloud)].tolist()) == {0, 1, 3, 4}
    centres = torch.tensor([[0.0, 0.9, 0.6], [AWAY] * 3])
    scene = look.scene(PartsState(centres, torch.zeros(2, 3), torch.zeros(1)))
    at = camera(0.0, height=2.5, size=64)
    truth = centres[0].numpy() - LIGHT * (float(centres[0, 1]) - FLOOR)
    pixels, _ = at.project(torch.tensor(truth)[None].float())
    column, row = pixels[0].round().long().tolist()
    seen = render(scene, at).rgb[row - 1 : row + 2, column - 1 : column + 2].mean((0, 1))
    assert (seen < 0.85).all() and seen.max() - seen.min() < 0.1, "grey"


def test_a_part_in_another_ones_shadow_is_darker(look: GaussianLook) -> None:
    above = torch.tensor(LIGHT / np.linalg.norm(LIGHT)).float()
    apart = PartsState(torch.tensor([[0.0, 0, 0], [1.5, 0, 1.5]]), torch.zeros(2, 3), torch.zeros(1))
    under = PartsState(torch.stack([torch.zeros(3), 1.2 * above]), torch.zeros(2, 3), torch.zeros(1))
    mine = look.cloud.owners[: len(look.cloud)] == 0
    bright, dark = (0.5 + 0.2820948 * look.scene(s).harmonics[mine, 0].detach() for s in (apart, under))
    assert (dark <= bright + 1e-6).all() and dark.mean() < 0.9 * bright.mean()
    share = float(dark.sum() / bright.sum())
    assert math.isclose(share, 1 - 1 / (1 + math.e), abs_tol=0.1), "as far as each is lit by that light"


def test_shadows_on_things_at_rest_darken_these_and_have_no_gaussians_of_their_own(
    views: list[View], found: Findings
) -> None:
    assert found.masks is not None
    everywhere = replace(found.masks, screen=[np.ones_like(mask) for mask in found.masks.screen])
    made = GaussianLook(CloudConfig(budget=3000, start_points=500, degree=0), 0.0, info((0.0, 1.0)), found.halves())
    places = torch.from_numpy(centres_of(found, np.array([v.time for v in views]))).float()
    states = PartsState(places, torch.zeros_like(places), torch.zeros(len(places), 1))
    made.begin(replace(found, masks=everywhere), states, views)
    assert made.shadows.known and made.cloud.owners[: len(made.cloud)].max() < 3


def test_the_ends_of_long_shadows_stay(views: list[View], found: Findings) -> None:
    """The sun 20 degrees above the floor: shadows are three times as long as wide."""
    assert found.lamp is not None
    low = replace(
        found.lamp, light=np.array([math.cos(0.35), math.sin(0.35), 0.0, 0.0]), plane=np.array([0, 1.0, 0, -1])
    )
    made = GaussianLook(CloudConfig(budget=3000, start_points=2500, degree=0), 0.0, info((0.0, 1.0)), found.halves())
    places = torch.from_numpy(centres_of(found, np.array([v.time for v in views]))).float()
    states = PartsState(places, torch.zeros_like(places), torch.zeros(len(places), 1))
    made.begin(replace(found, lamp=low), states, views)
    count, reach = len(made.cloud), made.cloud.means[: len(made.cloud), 0].abs().max()
    assert reach > 1.5 * made.halves.max(), "shadows are longer than boxes"
    made.drop_strays()
    assert len(made.cloud) == count
