"""Shadows of moving balls: told from bodies, explained by one light, and shown where that says."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from foreseen.core.scene_info import SceneInfo
from foreseen.methods.rigid_ode.config import GaussianPartsConfig, RigidODEConfig
from foreseen.methods.rigid_ode.gaussian_appearance import GaussianAppearance
from foreseen.methods.rigid_ode.parts import RigidPartsState
from foreseen.methods.rigid_ode.shadows import Shadows
from foreseen.nn.splines import UniformBSpline
from foreseen.reconstruction.config import ReconstructionConfig
from foreseen.reconstruction.reconstruct import Reconstruction, reconstruct
from foreseen.reconstruction.shadow_light import ShadowLight, has_enough_shadows, shadow_pixels
from foreseen.reconstruction.silhouettes import SilhouetteView, find_silhouettes
from foreseen.render import render
from foreseen.scenes.voxel_scene import FAR_AWAY
from foreseen.splatting.config import CloudConfig
from moving_balls import BOUNDS, LEFT, RIGHT, WHITE, Ball, camera, info, picture

CONTROLS, CELLS, NEGLIGIBLE_RESIDUAL, GREY = 8, 24, -1.4, 0.6
LIGHT = np.array([0.3, 1.0, -0.1])
"""Towards the light."""
NORMAL = np.array([0.0, 1.0, 0.0])
TIMES = np.linspace(0, 1, 14)
CONFIG = ReconstructionConfig()


def shaded_picture(at_angle: float, balls: list[Ball], time: float) -> SilhouetteView:
    """Balls before white, whose shadows are grey on a floor that nothing else shows."""
    at = camera(at_angle, height=1.5, size=64)
    image = picture(at, balls, time)
    rays = at.rays(at.pixel_centres())
    origin, direction = rays.origins.numpy(), rays.directions.numpy()
    steps = (NEGLIGIBLE_RESIDUAL - origin @ NORMAL) / (direction @ NORMAL)
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
    return SilhouetteView(at, time, image)


@pytest.fixture(scope="module")
def views() -> list[SilhouetteView]:
    return [shaded_picture(angle, [LEFT, RIGHT], t) for angle in (-1.0, -0.3, 0.4, 1.1, 2.6) for t in TIMES]


@pytest.fixture(scope="module")
def found(views: list[SilhouetteView]) -> Reconstruction:
    torch.manual_seed(0)
    return reconstruct(views, BOUNDS, WHITE, CONTROLS, CELLS, CONFIG, is_surface=True)


def centres_of(found: Reconstruction, times: np.ndarray) -> np.ndarray:
    basis = UniformBSpline(CONTROLS).basis(torch.from_numpy(times)).numpy()
    return np.stack([basis @ part.controls for part in found.parts], axis=1)


def test_shadows_are_told_from_bodies(views: list[SilhouetteView]) -> None:
    masks = find_silhouettes(views, WHITE, CONFIG.hulls.silhouettes)
    assert masks is not None
    dark = shadow_pixels(views, masks, CONFIG.shadows)
    assert has_enough_shadows(dark, masks, CONFIG.shadows) and not has_enough_shadows(
        [shade & False for shade in dark], masks, CONFIG.shadows
    )
    grey = [(np.abs(view.image - GREY) < 1e-6).all(-1) for view in views]
    assert not any((shade & ~own).any() for shade, own in zip(dark, grey))
    assert sum(shade.sum() for shade in dark) > 0.85 * sum(own.sum() for own in grey)


def test_shadows_are_no_parts_and_one_light_explains_them(found: Reconstruction) -> None:
    """The light foretells where each ball's shadow falls."""
    assert len(found.parts) == 2 and found.shadow_light is not None and found.shadow_light.agreement > 0.8
    shadows = Shadows(GaussianPartsConfig().shadow_edge)
    shadows.set_light(found.shadow_light)
    for path, radius in (LEFT, RIGHT):
        for time in (0.1, 0.5, 0.9):
            centre = np.array(path(time))
            truth = centre - LIGHT * (centre @ NORMAL - NEGLIGIBLE_RESIDUAL) / (LIGHT @ NORMAL)
            place, size = shadows.project_to_plane(torch.from_numpy(centre[None]).float())
            assert np.linalg.norm(place[0].numpy() - truth) < 0.4 * radius
            assert abs(float(size) - 1) < 0.2


def test_bodies_are_found_better_than_with_their_shadows(views: list[SilhouetteView], found: Reconstruction) -> None:
    errors = []
    for parts in (found, reconstruct(views, BOUNDS, WHITE, CONTROLS, CELLS, CONFIG)):
        places = centres_of(parts, TIMES)
        truth = [np.array([path(t) for t in TIMES]) for path, _ in (LEFT, RIGHT)]
        errors.append(max(np.linalg.norm(places - t[:, None], axis=-1).mean(0).min() for t in truth))
    assert errors[0] < 0.1 and errors[0] <= errors[1]


def test_without_shadows_there_is_no_light() -> None:
    plain = [
        SilhouetteView(at, t, picture(at, [LEFT, RIGHT], t))
        for at in (camera(a, height=1.5) for a in (-1.0, -0.3, 0.4, 1.1))
        for t in TIMES
    ]
    found = reconstruct(plain, BOUNDS, WHITE, CONTROLS, CELLS, CONFIG, is_surface=True)
    assert found.shadow_light is None and len(found.parts) == 2


def lit(light: tuple[float, ...]) -> Shadows:
    shadows = Shadows(GaussianPartsConfig().shadow_edge)
    shadows.set_light(ShadowLight(np.array(light), np.array([0.0, 0.0, 1.0, -1.0]), 1.0, 1.0))
    return shadows


def test_a_lamp_that_is_near_makes_large_shadows() -> None:
    """A lamp at height 3 over a floor at -1, a ball at 1: similar triangles say 2; the sun says 1."""
    centres = torch.tensor([[0.5, 0.0, 1.0]])
    place, size = lit((0.0, 0.0, 1.0, 1 / 3)).project_to_plane(centres)
    torch.testing.assert_close(place, torch.tensor([[1.0, 0.0, -1.0]]))
    torch.testing.assert_close(size, torch.tensor([2.0]))
    place, size = lit((0.0, 0.0, 1.0, 0.0)).project_to_plane(centres)
    torch.testing.assert_close(place, torch.tensor([[0.5, 0.0, -1.0]]))
    torch.testing.assert_close(size, torch.tensor([1.0]))
    below, _ = lit((0.0, 0.0, 1.0, 0.0)).project_to_plane(torch.tensor([[0.0, 0.0, -2.0]]))
    assert (below == FAR_AWAY).all()


def test_what_lies_behind_another_part_is_covered() -> None:
    shadows = lit((0.0, 0.0, 1.0, 0.0))
    centres, radii = torch.tensor([[0.0, 0.0, 1.0], [5.0, 0.0, 1.0]]), torch.tensor([0.3, 0.3])
    points = torch.tensor([[0.0, 0.1, 0.0], [0.0, 0.1, 2.0], [0.0, 0.6, 0.0], [5.0, 0.0, 0.8], [0.0, 0.0, 0.9]])
    part_ids = torch.tensor([2, 2, 2, 1, 0])
    found = shadows.covered(points, part_ids, centres, radii)
    assert found[0] > 0.9, "straight below"
    assert (found[1:3] < 0.1).all(), "above, and beside"
    assert (found[3:] < 0.1).all(), "no part shades itself"


def cloud_of(points: int) -> RigidODEConfig:
    cloud = CloudConfig(budget=3000, start_points=points, degree=0)
    return RigidODEConfig(appearance="gaussians", cloud=cloud, background_opacity_weight=0.0)


@pytest.fixture(scope="module")
def appearance(views: list[SilhouetteView], found: Reconstruction) -> GaussianAppearance:
    scene: SceneInfo = info(tuple(TIMES.tolist()))
    made = GaussianAppearance(cloud_of(2500), scene, found.half_extents())
    places = torch.from_numpy(centres_of(found, np.array([v.time for v in views]))).float()
    still = torch.zeros_like(places)
    made.initialize(found, RigidPartsState(places, still, torch.zeros(len(places), 1)), views)
    return made


def test_gaussians_show_the_shadow_of_a_part_wherever_it_is(appearance: GaussianAppearance) -> None:
    """Where it never was, too."""
    assert appearance.shadows.has_light and set(appearance.cloud.part_ids[: len(appearance.cloud)].tolist()) == {
        0,
        1,
        3,
        4,
    }
    centres = torch.tensor([[0.0, 0.9, 0.6], [FAR_AWAY] * 3])
    scene = appearance.scene(RigidPartsState(centres, torch.zeros(2, 3), torch.zeros(1)))
    at = camera(0.0, height=2.5, size=64)
    truth = centres[0].numpy() - LIGHT * (float(centres[0, 1]) - NEGLIGIBLE_RESIDUAL)
    pixels, _ = at.project(torch.tensor(truth)[None].float())
    column, row = pixels[0].round().long().tolist()
    seen = render(scene, at).rgb[row - 1 : row + 2, column - 1 : column + 2].mean((0, 1))
    assert (seen < 0.85).all() and seen.max() - seen.min() < 0.1, "grey"


def test_a_part_in_another_ones_shadow_is_darker(appearance: GaussianAppearance) -> None:
    above = torch.tensor(LIGHT / np.linalg.norm(LIGHT)).float()
    apart = RigidPartsState(torch.tensor([[0.0, 0, 0], [1.5, 0, 1.5]]), torch.zeros(2, 3), torch.zeros(1))
    under = RigidPartsState(torch.stack([torch.zeros(3), 1.2 * above]), torch.zeros(2, 3), torch.zeros(1))
    mine = appearance.cloud.part_ids[: len(appearance.cloud)] == 0
    bright, dark = (0.5 + 0.2820948 * appearance.scene(s).harmonics[mine, 0].detach() for s in (apart, under))
    assert (dark <= bright + 1e-6).all() and dark.mean() < 0.9 * bright.mean()
    share = float(dark.sum() / bright.sum())
    assert math.isclose(share, 1 - 1 / (1 + math.e), abs_tol=0.1), "as far as each is lit by that light"


def test_shadows_on_things_at_rest_darken_these_and_have_no_gaussians_of_their_own(
    views: list[SilhouetteView], found: Reconstruction
) -> None:
    assert found.masks is not None
    everywhere = replace(found.masks, occluders=[np.ones_like(mask) for mask in found.masks.occluders])
    made = GaussianAppearance(cloud_of(500), info((0.0, 1.0)), found.half_extents())
    places = torch.from_numpy(centres_of(found, np.array([v.time for v in views]))).float()
    states = RigidPartsState(places, torch.zeros_like(places), torch.zeros(len(places), 1))
    made.initialize(replace(found, masks=everywhere), states, views)
    assert made.shadows.has_light and made.cloud.part_ids[: len(made.cloud)].max() < 3


def test_the_ends_of_long_shadows_stay(views: list[SilhouetteView], found: Reconstruction) -> None:
    """The sun 20 degrees above the floor: shadows are three times as long as wide."""
    assert found.shadow_light is not None
    low = replace(
        found.shadow_light, light=np.array([math.cos(0.35), math.sin(0.35), 0.0, 0.0]), plane=np.array([0, 1.0, 0, -1])
    )
    made = GaussianAppearance(cloud_of(2500), info((0.0, 1.0)), found.half_extents())
    places = torch.from_numpy(centres_of(found, np.array([v.time for v in views]))).float()
    states = RigidPartsState(places, torch.zeros_like(places), torch.zeros(len(places), 1))
    made.initialize(replace(found, shadow_light=low), states, views)
    count, reach = len(made.cloud), made.cloud.means[: len(made.cloud), 0].abs().max()
    assert reach > 1.5 * made.half_extents.max(), "shadows are longer than boxes"
    made.remove_strays()
    assert len(made.cloud) == count
