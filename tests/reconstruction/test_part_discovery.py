"""Moving parts from silhouettes of rendered balls, whose positions are known."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from foreseen.geometry.rotations import rotation_matrix
from foreseen.nn.splines import UniformBSpline
from foreseen.reconstruction.config import ReconstructionConfig
from foreseen.reconstruction.hull_tracks import track_parts
from foreseen.reconstruction.reconstruct import reconstruct
from foreseen.reconstruction.silhouettes import SilhouetteView, find_silhouettes
from foreseen.reconstruction.spline_fitting import fit_spline
from foreseen.reconstruction.visual_hull import VisualHull, group_views
from moving_balls import BOUNDS, COLOURS, LEFT, RIGHT, SIZE, WHITE, Ball, Path, camera, picture

CONTROLS, CELLS = 8, 24
CONFIG = ReconstructionConfig()


def rig(balls: Sequence[Ball], cameras: int = 5, times: int = 16, room: bool = False) -> list[SilhouetteView]:
    """Fixed cameras that all see every time; `room` puts a wall with a pattern behind."""
    random = np.random.default_rng(0)
    views = []
    for i in range(cameras):
        at = camera(2 * i / max(cameras - 1, 1) - 1, height=0.5 + 0.5 * (i % 3))
        wall = random.uniform(0.3, 0.7, (SIZE, SIZE, 3)).astype(np.float32) if room else None
        views += [SilhouetteView(at, t, picture(at, balls, t, wall)) for t in np.linspace(0, 1, times)]
    return views


def monocular(balls: Sequence[Ball], times: int = 60) -> list[SilhouetteView]:
    """One camera a time, each from another place, before white."""
    random = np.random.default_rng(1)
    views = []
    for t in np.linspace(0, 1, times):
        at = camera(random.uniform(-np.pi, np.pi), random.uniform(-1, 4))
        views.append(SilhouetteView(at, t, picture(at, balls, t)))
    return views


def furthest(controls: np.ndarray, path: Path) -> float:
    """Largest distance between a found trajectory and the true one."""
    times = torch.linspace(0, 1, 41, dtype=torch.float64)
    found = UniformBSpline(len(controls)).basis(times).numpy() @ controls
    return float(np.linalg.norm(found - np.array([path(t) for t in times.tolist()]), axis=-1).max())


def assert_found(views: list[SilhouetteView], balls: Sequence[Ball], share: float, upright: bool = True) -> None:
    """Every ball is a part that never strays from it by more than `share` of its radius."""
    parts = reconstruct(views, BOUNDS, WHITE, CONTROLS, CELLS, CONFIG).parts
    assert len(parts) == len(balls)
    for path, radius in balls:
        error, part = min(((furthest(p.controls, path), p) for p in parts), key=lambda pair: pair[0])
        assert error < share * radius
        assert 0.8 * radius < part.radius < 1.8 * radius
        assert not upright or np.abs(part.rotations).max() < 1, "a ball hardly seems to rotate"


@pytest.mark.parametrize("room", [False, True])
def test_two_balls_before_fixed_cameras(room: bool) -> None:
    assert_found(rig([LEFT, RIGHT], room=room), [LEFT, RIGHT], share=0.35)


def test_two_balls_before_one_moving_camera() -> None:
    """Motion blurs the hull of five consecutive pictures; the rays of all pictures correct it."""
    assert_found(monocular([LEFT, RIGHT]), [LEFT, RIGHT], share=0.5)


def test_balls_that_touch_are_tracked() -> None:
    """Only their positions: the cells of a joint component are cut in two, and each half seems to have a direction."""
    first: Ball = (lambda t: (1.2 * (2 * t - 1), 0.0, 0.0), 0.35)
    second: Ball = (lambda t: (-1.2 * (2 * t - 1), 0.62, 0.0), 0.35)
    assert_found(rig([first, second], times=24), [first, second], share=0.6, upright=False)


def test_one_ball_beside_a_static_one() -> None:
    """Four cameras: some see only one of the balls."""
    rests: Ball = (lambda t: (1.0, -0.8, 0.2), 0.4)
    found = reconstruct(rig([LEFT, rests], cameras=4), BOUNDS, WHITE, CONTROLS, CELLS, CONFIG)
    assert len(found.parts) == 1
    assert furthest(found.parts[0].controls, LEFT[0]) < 0.35 * 0.35
    grid = (np.array([1.0, -0.8, 0.2]) + 2) / 4 * CELLS
    assert found.static_occupancy[tuple(grid.astype(int))], "the static ball is missing in the static hull"
    assert 0 < found.static_occupancy.mean() < 0.3


def test_the_number_of_parts_is_limited() -> None:
    assert len(reconstruct(rig([LEFT, RIGHT]), BOUNDS, WHITE, CONTROLS, CELLS, replace(CONFIG, max_parts=1)).parts) == 1


@pytest.mark.parametrize("views", [rig([(lambda t: (0.0, 0.0, 0.0), 0.5)]), rig([])], ids=["a ball", "nothing"])
def test_a_static_scene_has_no_parts(views: list[SilhouetteView]) -> None:
    assert reconstruct(views, BOUNDS, WHITE, CONTROLS, CELLS, CONFIG).parts == []


def test_without_silhouettes_matter_may_be_anywhere() -> None:
    """Moving cameras in a room: no picture shows the same wall twice."""
    random = np.random.default_rng(0)
    views = [
        SilhouetteView(v.camera, v.time, random.uniform(0.2, 0.8, v.image.shape).astype(np.float32))
        for v in monocular([LEFT])
    ]
    assert find_silhouettes(views, WHITE, CONFIG.hulls.silhouettes) is None
    found = reconstruct(views, BOUNDS, WHITE, CONTROLS, CELLS, CONFIG)
    assert found.parts == [] and found.static_occupancy.all()


def test_silhouettes_are_the_moving_pixels() -> None:
    for room in (False, True):
        views = rig([LEFT], cameras=2, times=12, room=room)
        masks = find_silhouettes(views, WHITE, CONFIG.hulls.silhouettes)
        assert masks is not None and masks.uniform_background != room
        for view, mask, occluders in zip(views, masks.moving, masks.occluders):
            truth = (np.abs(view.image - COLOURS[0]) < 1e-3).all(-1)
            assert (mask != truth).mean() < 0.01
            assert not occluders.any()


def test_a_ball_that_hardly_moves_before_a_uniform_background_is_no_background() -> None:
    """A ball that stands still for most of the time, and leaves."""
    at, gone = camera(0.0), (lambda t: (0.0 if t < 0.7 else 9.0, 0.0, 0.0), 0.4)
    views = [SilhouetteView(at, t, picture(at, [gone], t)) for t in np.linspace(0, 1, 10)]
    masks = find_silhouettes(views, WHITE, CONFIG.hulls.silhouettes)
    assert masks is not None
    for view, moving in zip(views, masks.moving):
        assert (moving == (view.image != 1).any(-1)).all()


def test_windows_of_synchronised_cameras_are_instants_and_others_do_not_straddle_gaps() -> None:
    views = rig([LEFT], cameras=4, times=6)
    assert [{views[i].time for i in w} for w in group_views(views, CONFIG.hulls)] == [{t} for t in np.linspace(0, 1, 6)]
    alone = monocular([LEFT], times=40)
    gap = [v for v in alone if not 0.4 < v.time < 0.6]
    found = group_views(gap, CONFIG.hulls)
    assert found and all(len(w) == 5 for w in found)
    assert not any(gap[w[0]].time < 0.4 and gap[w[-1]].time > 0.6 for w in found)


def test_no_hulls_give_no_tracks() -> None:
    assert track_parts([], 4.0, CONFIG) == []


def blob(centre: float, label: int) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.stack(np.meshgrid(*[np.linspace(-0.1, 0.1, 4)] * 3), -1).reshape(-1, 3)
    return offsets + np.array([centre, 0, 0]), np.full(64, label)


def test_tracks_follow_predictions_if_components_swap_their_ids() -> None:
    hulls = []
    for i in range(12):
        pieces = [blob(-1 + 0.18 * i, i % 2), blob(1 - 0.18 * i + 0.05, 1 - i % 2)]
        points, labels = (np.concatenate(x) for x in zip(*pieces))
        points[64:, 1] += 0.5
        hulls.append(VisualHull(i / 11, points, labels, np.zeros_like(points)))
    ys = sorted(np.array(t.centres)[:, 1].round(6).tolist() for t in track_parts(hulls, 4.0, CONFIG))
    assert ys == [[0.0] * 12, [0.5] * 12]


def test_splines_meet_the_points_and_bridge_gaps() -> None:
    times = np.concatenate([np.linspace(0, 0.4, 20), np.linspace(0.6, 1, 20)])
    curve = lambda t: np.stack([np.sin(3 * t), t**2], -1)  # noqa: E731
    controls = fit_spline(times, curve(times), CONTROLS, smoothness=0.3, curvature_weight=1e-3)
    line = np.linspace(0, 1, 50)
    found = UniformBSpline(CONTROLS).basis(torch.from_numpy(line)).numpy() @ controls
    assert np.abs(found - curve(line)).max() < 0.05


def test_a_long_part_rotates_with_its_axis() -> None:
    """A rod that swings under a pivot: the frame of its part rotates by as much as the rod."""

    def joint(length: float) -> Path:
        return lambda t: (length * np.sin(2 * t - 1), length * np.cos(2 * t - 1) - 1.5, 0.2)

    rod = [(joint(length), 0.25) for length in (0.9, 1.15, 1.4, 1.65, 1.9)]
    parts = reconstruct(rig(rod, times=24), BOUNDS, WHITE, CONTROLS, CELLS, CONFIG).parts
    assert len(parts) == 1
    times = torch.tensor([0.15, 0.5, 0.85], dtype=torch.float64)
    vectors = torch.from_numpy(UniformBSpline(CONTROLS).basis(times).numpy() @ parts[0].rotations)
    first, _, last = rotation_matrix(vectors)
    rotated = last @ first.T
    angle = torch.arccos(((rotated.trace() - 1) / 2).clamp(-1, 1)).item()
    assert angle == pytest.approx(1.4, abs=0.2)
    # From the x axis at its left to the right it rotates clockwise as seen along z: y points down.
    assert (rotated[0, 1] - rotated[1, 0]).item() == pytest.approx(2 * np.sin(1.4), abs=0.3)
