"""Where the first Gaussians stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree
from torch import Tensor

from foreseen.core.scene_info import SceneInfo
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.reconstruction.config import HullConfig
from foreseen.reconstruction.silhouettes import Silhouettes, SilhouetteView, find_silhouettes
from foreseen.reconstruction.visual_hull import bounding_box_of_motion, carve_hull, group_views, static_hull
from foreseen.scenes.files.ply_tables import matrix, read_ply
from foreseen.splatting.config import CloudConfig

CELLS = 64
"""Along each axis of the grids that silhouettes are carved from."""
COLORING_VIEWS = 24
"""A point's first colour is the median of so many views, at most."""
NEIGHBOURS = 3
MAX_SCALE_RATIO = 4.0
"""No first Gaussian is larger than this multiple of the median."""
MIN_HULL_CELLS = 100
"""Fewer cells than this are no shape to start from."""
POSITION, COLOR = ("x", "y", "z"), ("red", "green", "blue")
GREY = 0.5
MAX_CANDIDATE_TIMES = 16
"""Moments at most that are looked at for one to start from."""


@dataclass(frozen=True)
class InitialPoints:
    """Points `[P, 3]` in scene units, their colours `[P, 3]` in 0..1, and where they are from, in words; and which of
    them rest as far as is known, `[P]` bool."""

    points: np.ndarray
    colors: np.ndarray
    source: str
    static_mask: np.ndarray | None = None

    def spacing(self) -> Tensor:
        """Root mean square distance `[P]` of each point to its nearest others; of those that stand apart from all,
        not much more than is usual."""
        if len(self.points) < 2:
            return torch.ones(len(self.points))
        near, _ = cKDTree(self.points).query(self.points, k=min(NEIGHBOURS, len(self.points) - 1) + 1)
        distances = np.sqrt(np.square(near[:, 1:]).mean(1))
        smallest = 1e-6 * max(float(np.ptp(self.points, axis=0).max()), 1e-6)
        typical = max(float(np.median(distances)), smallest)
        return torch.from_numpy(np.clip(distances, smallest, MAX_SCALE_RATIO * typical)).float()


When = Literal["once", "ever", "still"]
"""Of what moves, where it is at one moment at which much of it is seen, or wherever it ever is; "still": nothing moves,
and all views together carve one hull."""


def find_initial_points(frames: Sequence[Frame], info: SceneInfo, config: CloudConfig, when: When) -> InitialPoints:
    """The first points, at most `start_points` of them and no more than the budget, drawn by torch's global generator.

    Raises:
        UserError: a file of points that cannot be read or that no camera sees, or silhouettes that were asked for and
            tell nothing.
    """
    maximum = config.max_initial_points
    if config.points:
        return _subsample(_in_reach(_from_file(Path(config.points)), frames), maximum)
    found = None if config.start == "random" else _from_silhouettes(frames, info, when, config.hulls)
    if found is None and config.start == "silhouettes":
        raise UserError(
            "silhouettes tell nothing here (no plain background, and no camera that stands still): "
            "give --cloud.start random, or --cloud.points FILE."
        )
    if found is None:
        low, high = (np.array(corner) for corner in info.bounds)
        points = low + torch.rand(maximum, 3).double().numpy() * (high - low)
        return InitialPoints(points, np.full_like(points, GREY), "at random")
    return _subsample(found, maximum)


def _subsample(start: InitialPoints, maximum: int) -> InitialPoints:
    if len(start.points) <= maximum:
        return start
    kept = torch.randperm(len(start.points))[:maximum].numpy()
    static_mask = None if start.static_mask is None else start.static_mask[kept]
    return InitialPoints(start.points[kept], start.colors[kept], start.source, static_mask)


def _from_file(path: Path) -> InitialPoints:
    if not path.is_file():
        raise UserError(f"points: {path} is no file: give a PLY file of points.")
    table = read_ply(path).tables.get("vertex")
    if table is None or not set(POSITION) <= set(table.dtype.names or ()):
        raise UserError(f"{path} has no element 'vertex' with x, y and z: give a PLY file of points.")
    points = matrix(path, table, POSITION).astype(np.float64)
    if not len(points):
        raise UserError(f"{path} holds no points.")
    if not set(COLOR) <= set(table.dtype.names or ()):
        return InitialPoints(points, np.full_like(points, GREY), f"from {path.name}")
    whole = 255 if table.dtype["red"].kind == "u" else 1
    return InitialPoints(points, matrix(path, table, COLOR).astype(np.float64) / whole, f"from {path.name}")


def _in_reach(start: InitialPoints, frames: Sequence[Frame]) -> InitialPoints:
    """Without the points that lie beyond every camera's far: no picture would ever show or move them."""
    reached = np.zeros(len(start.points), bool)
    for *place, far in {(*f.camera.position.tolist(), f.camera.far) for f in frames}:
        reached |= np.linalg.norm(start.points - np.array(place), axis=-1) <= far
    lost = int((~reached).sum())
    if not lost:
        return start
    if lost == len(reached):
        raise UserError(f"points {start.source}: all lie beyond the far distance of every camera: are the units alike?")
    words = f"{start.source}, but for {lost} of {len(reached)} that lie beyond every camera's far distance"
    return InitialPoints(start.points[reached], start.colors[reached], words)


def _from_silhouettes(frames: Sequence[Frame], info: SceneInfo, when: When, config: HullConfig) -> InitialPoints | None:
    """The surface of the visual hull; where the background is not plain, of what moves, and points at random for the
    rest. None where silhouettes do not tell."""
    views, masks = _views(frames, info, config)
    if masks is None:
        return None
    bounds = np.array(info.bounds)
    some = _choose_views(views, masks, bounds, when, config)
    moving = _dynamic_surface(some, views, masks, bounds, config)
    if masks.uniform_background:
        still = _static_surface(views, masks, bounds, config)
    else:
        still = bounds[0] + torch.rand(len(moving), 3).double().numpy() * (bounds[1] - bounds[0])
    points = np.concatenate([moving, still])
    if len(points) < MIN_HULL_CELLS:
        return None
    present = sorted({i for window in some for i in window})
    colors = [
        surface_colors(moving, present, views, masks),
        surface_colors(still, list(range(len(views))), views, masks),
    ]
    # A room that fixed cameras film: what rests is told from what is at that one place now and elsewhere later.
    known = when == "once" and not masks.uniform_background
    static_mask = np.arange(len(points)) >= len(moving) if known else None
    return InitialPoints(points, np.concatenate(colors), "from silhouettes", static_mask)


def surfaces_by_time(
    frames: Sequence[Frame], info: SceneInfo, config: HullConfig
) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """The hull's surface at times of the window (0..1), ascending: time, points `[P, 3]` in scene units, and colours
    `[P, 3]`. With what rests before a plain background; empty where silhouettes do not tell, or nothing moves."""
    views, masks = _views(frames, info, config)
    if masks is None:
        return []
    bounds = np.array(info.bounds)
    still = _static_surface(views, masks, bounds, config) if masks.uniform_background else np.zeros((0, 3))
    shades = surface_colors(still, list(range(len(views))), views, masks)
    found = []
    for window in group_views(views, config):
        moving = _dynamic_surface([window], views, masks, bounds, config)
        if len(moving):
            colors = np.concatenate([surface_colors(moving, window, views, masks), shades])
            time = float(np.mean([views[i].time for i in window]))
            found.append((time, np.concatenate([moving, still]), colors))
    return sorted(found, key=lambda one: one[0])


def _views(
    frames: Sequence[Frame], info: SceneInfo, config: HullConfig
) -> tuple[list[SilhouetteView], Silhouettes | None]:
    """They are carved in the space of the cameras, where bounds in normalised device coordinates say nothing."""
    if info.ndc:
        return [], None
    first, last = info.time_range
    views = [SilhouetteView.of(f, first, last - first or 1.0, config.silhouettes) for f in frames]
    return views, find_silhouettes(views, info.background, config.silhouettes)


def _static_surface(
    views: list[SilhouetteView], masks: Silhouettes, bounds: np.ndarray, config: HullConfig
) -> np.ndarray:
    solid = static_hull(views, masks, bounds, CELLS, config)
    return surface(solid, bounds) if solid.any() else np.zeros((0, 3))


def _choose_views(
    views: list[SilhouetteView], masks: Silhouettes, bounds: np.ndarray, when: When, config: HullConfig
) -> list[list[int]]:
    """Views that carve together."""
    some = [list(range(len(views)))] if when == "still" else group_views(views, config)
    return [_most_complete_time(some, views, masks, bounds, config)] if when == "once" and some else some


def _most_complete_time(
    some: list[list[int]], views: list[SilhouetteView], masks: Silhouettes, bounds: np.ndarray, config: HullConfig
) -> list[int]:
    """A moment at which things that come into the pictures late, or leave them, are there: of the upper quarter by the
    hull's size, for the largest one may be a bad one."""
    probes = some[:: -(-len(some) // MAX_CANDIDATE_TIMES)]
    box = bounding_box_of_motion(probes, views, masks, bounds, config)
    sizes = [len(carve_hull(window, views, masks, box, CELLS // 2, config, min_cells=1).points) for window in probes]
    return probes[np.argsort(sizes, kind="stable")[3 * (len(sizes) - 1) // 4]]


def _dynamic_surface(
    some: list[list[int]], views: list[SilhouetteView], masks: Silhouettes, bounds: np.ndarray, config: HullConfig
) -> np.ndarray:
    box = bounding_box_of_motion(some, views, masks, bounds, config)
    found = [carve_hull(window, views, masks, box, CELLS, config) for window in some]
    solid = np.zeros((CELLS,) * 3, bool)
    for hull in found:
        at = ((hull.points - box[0]) / (box[1] - box[0]) * CELLS).astype(int)
        solid[at[:, 0], at[:, 1], at[:, 2]] = True
    return surface(solid, box)


def surface(solid: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """`[P, 3]`: where the cells are that have an empty neighbour, each somewhere in its cell."""
    cells = np.argwhere(solid & ~ndimage.binary_erosion(solid))
    places = cells + torch.rand(len(cells), 3).double().numpy()
    return bounds[0] + places / solid.shape[0] * (bounds[1] - bounds[0])


def surface_colors(
    points: np.ndarray,
    present: list[int],
    views: Sequence[SilhouetteView],
    masks: Silhouettes,
    poses: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """`[P, 3]` median colour of those of the views `present` in which something is seen there, else grey.

    Args:
        points: `[P, 3]` in scene units; with `poses` in the frame of something that moves.
        poses: its rotations `[V, 3, 3]` and centres `[V, 3]` in each view.
    """
    spread = np.linspace(0, len(present) - 1, min(COLORING_VIEWS, len(present))).round().astype(int)
    picked = [present[i] for i in np.unique(spread)]
    seen = np.full((len(picked), len(points), 3), np.nan)
    for found, i in zip(seen, picked):
        placed = points if poses is None else points @ poses[0][i].T + poses[1][i]
        pixels, depth = views[i].camera.project(torch.from_numpy(placed).float())
        x, y = (pixels[:, a].floor().long().numpy() for a in (0, 1))
        camera = views[i].camera
        inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height) & (depth.numpy() > 0)
        shown = (masks.moving[i] | masks.occluders[i]) if masks.uniform_background else np.ones_like(masks.moving[i])
        shown = shown if poses is None else masks.moving[i]
        inside[inside] = shown[y[inside], x[inside]]
        found[inside] = views[i].image[y[inside], x[inside]]
    known = ~np.isnan(seen[..., 0]).all(0)
    colors = np.full((len(points), 3), GREY)
    colors[known] = np.nanmedian(seen[:, known], axis=0)
    return colors
