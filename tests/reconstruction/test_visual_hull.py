"""Visual hulls: of a part in its own frame, of the static scene, and segment by segment of time."""

import numpy as np
import pytest

from foreseen.reconstruction.config import HullConfig
from foreseen.reconstruction.silhouettes import SilhouetteView, find_silhouettes
from foreseen.reconstruction.visual_hull import hull_by_time, part_hull, static_hull
from moving_balls import BOUNDS, LEFT, WHITE, Ball, camera, picture

CELLS = 24
CONFIG = HullConfig()


def rig(balls: list[Ball], cameras: int = 6, times: int = 12) -> list[SilhouetteView]:
    """Fixed cameras all around that see every time, before white."""
    views = []
    for i in range(cameras):
        at = camera(2 * np.pi * i / cameras, height=0.5 + 0.5 * (i % 3))
        views += [SilhouetteView(at, float(t), picture(at, balls, t)) for t in np.linspace(0, 1, times)]
    return views


def carved(views: list[SilhouetteView], half: float) -> np.ndarray:
    masks = find_silhouettes(views, WHITE, CONFIG.silhouettes)
    assert masks is not None
    centres = np.array([LEFT[0](v.time) for v in views])
    return part_hull(views, masks, centres, np.broadcast_to(np.eye(3), (len(views), 3, 3)), half, CELLS, CONFIG)


def cells(half: float) -> np.ndarray:
    """Distance of each cell's centre from the box's."""
    line = ((np.arange(CELLS) + 0.5) / CELLS * 2 - 1) * half
    return np.linalg.norm(np.stack(np.meshgrid(line, line, line, indexing="ij")), axis=0)


def test_a_ball_is_carved_out_of_its_box() -> None:
    radius = LEFT[1]
    open_cells = carved(rig([LEFT]), half=2 * radius)
    away = cells(2 * radius)
    assert open_cells[away < 0.9 * radius].all(), "the ball itself stays"
    assert not open_cells[away > 1.8 * radius].any(), "what is around it goes"


def test_a_quarter_of_the_views_may_be_wrong() -> None:
    views = rig([LEFT])
    blind = [SilhouetteView(v.camera, v.time, np.ones_like(v.image)) if i % 5 == 0 else v for i, v in enumerate(views)]
    radius = LEFT[1]
    assert carved(blind, 2 * radius)[cells(2 * radius) < 0.9 * radius].all()


def test_a_static_object_may_be_missing_in_one_camera() -> None:
    rests: Ball = (lambda t: (0.8, -0.6, 0.2), 0.5)
    views = rig([rests, LEFT])
    first = views[0].camera.camera_to_world
    cut = [
        SilhouetteView(v.camera, v.time, picture(v.camera, [LEFT], v.time))
        if v.camera.camera_to_world.equal(first)
        else v
        for v in views
    ]
    masks = find_silhouettes(cut, WHITE, CONFIG.silhouettes)
    assert masks is not None
    still = static_hull(cut, masks, BOUNDS, CELLS, CONFIG)
    at = tuple(((np.array([0.8, -0.6, 0.2]) - BOUNDS[0]) / (BOUNDS[1] - BOUNDS[0]) * CELLS).astype(int))
    assert still[at] and still.mean() < 0.2


def test_a_moving_ball_is_in_the_hull_of_its_own_segment_of_time() -> None:
    boxes = 4
    may_be = hull_by_time(rig([LEFT], times=24), WHITE, BOUNDS, CELLS, boxes, CONFIG)
    assert may_be.shape == (boxes, CELLS, CELLS, CELLS) and may_be.mean() < 0.3
    for box in range(boxes):
        place = np.array(LEFT[0]((box + 0.5) / boxes))
        at = tuple(((place - BOUNDS[0]) / (BOUNDS[1] - BOUNDS[0]) * CELLS).astype(int))
        assert may_be[box][at]
    assert not (may_be[0] & may_be[-1]).all() and (may_be[0] != may_be[-1]).any()


@pytest.mark.parametrize("reason", ["room", "moving cameras"])
def test_without_a_uniform_background_the_hull_is_everywhere(reason: str) -> None:
    random = np.random.default_rng(0)
    views = rig([LEFT], cameras=3)
    noise = {v.camera: random.uniform(0.2, 0.8, v.image.shape).astype(np.float32) for v in views}
    filled = [
        SilhouetteView(
            v.camera, v.time, noise[v.camera] if reason == "room" else random.uniform(0.2, 0.8, v.image.shape)
        )
        for v in views
    ]
    assert hull_by_time(filled, WHITE, BOUNDS, 8, 2, CONFIG).all()
