"""Where the first Gaussians are: on visual hulls, at points of a file, or at random."""

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
from foreseen.reconstruction.silhouettes import Silhouettes, SilhouetteView, find_silhouettes
from foreseen.reconstruction.visual_hull import bounding_box_of_motion, carve_hull, group_views, static_hull
from foreseen.scenes.files.ply_tables import matrix, read_ply
from foreseen.splatting.config import CloudConfig, InitializationConfig

POSITION, COLOR = ("x", "y", "z"), ("red", "green", "blue")
"""Names of the columns of a PLY file."""

HullTimes = Literal["one", "all", "static"]
"""Which times the hull of moving objects is carved from. one: a single time at which much is visible. all: the union
over all times. static: nothing moves, so all views carve one hull together."""


@dataclass(frozen=True)
class InitialPoints:
    """The first points of a cloud.

    Attributes:
        points: `[P, 3]` in scene units.
        colors: `[P, 3]` in 0..1.
        source: where they are from, in words.
        static_mask: `[P]` bool, points that are known to be static; None where this is not known.
    """

    points: np.ndarray
    colors: np.ndarray
    source: str
    static_mask: np.ndarray | None = None

    def spacing(self, config: InitializationConfig) -> Tensor:
        """Root mean square distance `[P]` of each point to its nearest neighbours, limited to `max_scale_ratio` times
        the median."""
        if len(self.points) < 2:
            return torch.ones(len(self.points))
        neighbours = min(config.neighbours, len(self.points) - 1)
        near, _ = cKDTree(self.points).query(self.points, k=neighbours + 1)
        distances = np.sqrt(np.square(near[:, 1:]).mean(1))
        smallest = 1e-6 * max(float(np.ptp(self.points, axis=0).max()), 1e-6)
        typical = max(float(np.median(distances)), smallest)
        return torch.from_numpy(np.clip(distances, smallest, config.max_scale_ratio * typical)).float()


def find_initial_points(
    frames: Sequence[Frame], info: SceneInfo, config: CloudConfig, hull_times: HullTimes
) -> InitialPoints:
    """The first points, at most `max_initial_points`, drawn by torch's global generator.

    Raises:
        UserError: the file of points cannot be read, no camera sees its points, or silhouettes were asked for and there
            are none.
    """
    maximum, grey = config.max_initial_points, config.initialization.default_color
    if config.points:
        return _subsample(_within_far(_from_file(Path(config.points), grey), frames), maximum)
    on_hull = None if config.start == "random" else _from_silhouettes(frames, info, config.initialization, hull_times)
    if on_hull is not None:
        return _subsample(on_hull, maximum)
    if config.start == "silhouettes":
        raise UserError(
            "there are no silhouettes here (no plain background, and no static camera): "
            "give --cloud.start random, or --cloud.points FILE."
        )
    low, high = (np.array(corner) for corner in info.bounds)
    points = low + torch.rand(maximum, 3).double().numpy() * (high - low)
    return InitialPoints(points, np.full_like(points, grey), "at random")


def _subsample(start: InitialPoints, maximum: int) -> InitialPoints:
    if len(start.points) <= maximum:
        return start
    kept = torch.randperm(len(start.points))[:maximum].numpy()
    static_mask = None if start.static_mask is None else start.static_mask[kept]
    return InitialPoints(start.points[kept], start.colors[kept], start.source, static_mask)


def _from_file(path: Path, default_color: float) -> InitialPoints:
    if not path.is_file():
        raise UserError(f"points: {path} is no file: give a PLY file of points.")
    table = read_ply(path).tables.get("vertex")
    if table is None or not set(POSITION) <= set(table.dtype.names or ()):
        raise UserError(f"{path} has no element 'vertex' with x, y and z: give a PLY file of points.")
    points = matrix(path, table, POSITION).astype(np.float64)
    if not len(points):
        raise UserError(f"{path} holds no points.")
    if not set(COLOR) <= set(table.dtype.names or ()):
        return InitialPoints(points, np.full_like(points, default_color), f"from {path.name}")
    largest = 255 if table.dtype["red"].kind == "u" else 1
    return InitialPoints(points, matrix(path, table, COLOR).astype(np.float64) / largest, f"from {path.name}")


def _within_far(start: InitialPoints, frames: Sequence[Frame]) -> InitialPoints:
    """Removes points beyond the far distance of every camera: no picture would ever move them."""
    reached = np.zeros(len(start.points), bool)
    for *position, far in {(*f.camera.position.tolist(), f.camera.far) for f in frames}:
        reached |= np.linalg.norm(start.points - np.array(position), axis=-1) <= far
    lost = int((~reached).sum())
    if not lost:
        return start
    if lost == len(reached):
        raise UserError(f"points {start.source}: all lie beyond the far distance of every camera: are the units alike?")
    words = f"{start.source}, without {lost} of {len(reached)} that lie beyond every camera's far distance"
    return InitialPoints(start.points[reached], start.colors[reached], words)


def _from_silhouettes(
    frames: Sequence[Frame], info: SceneInfo, config: InitializationConfig, hull_times: HullTimes
) -> InitialPoints | None:
    """Points on the surface of the visual hull. Without a uniform background silhouettes show moving objects only:
    as many random points are added for the static rest. None where there are no silhouettes."""
    views, masks = _silhouette_views(frames, info, config)
    if masks is None:
        return None
    bounds = np.array(info.bounds)
    groups = _choose_groups(views, masks, bounds, config, hull_times)
    moving = _dynamic_surface(groups, views, masks, bounds, config)
    if masks.uniform_background:
        static = _static_surface(views, masks, bounds, config)
    else:
        static = bounds[0] + torch.rand(len(moving), 3).double().numpy() * (bounds[1] - bounds[0])
    points = np.concatenate([moving, static])
    if len(points) < config.min_points:
        return None
    present = sorted({i for group in groups for i in group})
    colors = [
        surface_colors(moving, present, views, masks, config),
        surface_colors(static, list(range(len(views))), views, masks, config),
    ]
    # Static cameras in a room, and a hull of one time: all points but those of the hull are static. Over all times, a
    # point of the hull may be static as well.
    is_known = hull_times == "one" and not masks.uniform_background
    static_mask = np.arange(len(points)) >= len(moving) if is_known else None
    return InitialPoints(points, np.concatenate(colors), "from silhouettes", static_mask)


def surfaces_by_time(
    frames: Sequence[Frame], info: SceneInfo, config: InitializationConfig
) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """The hull's surface at times of the window (0..1), ascending: time, points `[P, 3]` in scene units, and colours
    `[P, 3]`. Includes static objects where the background is uniform; empty without silhouettes or motion."""
    views, masks = _silhouette_views(frames, info, config)
    if masks is None:
        return []
    bounds = np.array(info.bounds)
    static = _static_surface(views, masks, bounds, config) if masks.uniform_background else np.zeros((0, 3))
    static_colors = surface_colors(static, list(range(len(views))), views, masks, config)
    surfaces = []
    for group in group_views(views, config.hulls):
        moving = _dynamic_surface([group], views, masks, bounds, config)
        if len(moving):
            colors = np.concatenate([surface_colors(moving, group, views, masks, config), static_colors])
            time = float(np.mean([views[i].time for i in group]))
            surfaces.append((time, np.concatenate([moving, static]), colors))
    return sorted(surfaces, key=lambda surface: surface[0])


def _silhouette_views(
    frames: Sequence[Frame], info: SceneInfo, config: InitializationConfig
) -> tuple[list[SilhouetteView], Silhouettes | None]:
    """No silhouettes for data in NDC: hulls are carved in the space of the cameras, and those bounds are not in it."""
    if info.ndc:
        return [], None
    first, last = info.time_range
    views = [SilhouetteView.of(f, first, last - first or 1.0, config.hulls.silhouettes) for f in frames]
    return views, find_silhouettes(views, info.background, config.hulls.silhouettes)


def _static_surface(
    views: list[SilhouetteView], masks: Silhouettes, bounds: np.ndarray, config: InitializationConfig
) -> np.ndarray:
    solid = static_hull(views, masks, bounds, config.hull_resolution, config.hulls)
    return surface(solid, bounds) if solid.any() else np.zeros((0, 3))


def _choose_groups(
    views: list[SilhouetteView],
    masks: Silhouettes,
    bounds: np.ndarray,
    config: InitializationConfig,
    hull_times: HullTimes,
) -> list[list[int]]:
    """Groups of views that carve one hull each."""
    groups = [list(range(len(views)))] if hull_times == "static" else group_views(views, config.hulls)
    if hull_times == "one" and groups:
        return [_most_complete_group(groups, views, masks, bounds, config)]
    return groups


def _most_complete_group(
    groups: list[list[int]],
    views: list[SilhouetteView],
    masks: Silhouettes,
    bounds: np.ndarray,
    config: InitializationConfig,
) -> list[int]:
    """A time at which objects that enter the pictures late, or leave them early, are visible: one of a large hull, but
    not of the largest, which may be badly carved."""
    candidates = groups[:: -(-len(groups) // config.candidate_times)]
    box = bounding_box_of_motion(candidates, views, masks, bounds, config.hulls)
    coarse = config.hull_resolution // 2
    hulls = [carve_hull(group, views, masks, box, coarse, config.hulls, min_cells=1) for group in candidates]
    sizes = [len(hull.points) for hull in hulls]
    return candidates[np.argsort(sizes, kind="stable")[int(config.candidate_quantile * (len(sizes) - 1))]]


def _dynamic_surface(
    groups: list[list[int]],
    views: list[SilhouetteView],
    masks: Silhouettes,
    bounds: np.ndarray,
    config: InitializationConfig,
) -> np.ndarray:
    """`[P, 3]`: the surface of the union of the hulls of all `groups`."""
    resolution = config.hull_resolution
    box = bounding_box_of_motion(groups, views, masks, bounds, config.hulls)
    hulls = [carve_hull(group, views, masks, box, resolution, config.hulls) for group in groups]
    solid = np.zeros((resolution,) * 3, bool)
    for hull in hulls:
        at = ((hull.points - box[0]) / (box[1] - box[0]) * resolution).astype(int)
        solid[at[:, 0], at[:, 1], at[:, 2]] = True
    return surface(solid, box)


def surface(solid: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """`[P, 3]`: a random point in each solid cell that has an empty neighbour."""
    cells = np.argwhere(solid & ~ndimage.binary_erosion(solid))
    positions = cells + torch.rand(len(cells), 3).double().numpy()
    return bounds[0] + positions / solid.shape[0] * (bounds[1] - bounds[0])


def surface_colors(
    points: np.ndarray,
    present: list[int],
    views: Sequence[SilhouetteView],
    masks: Silhouettes,
    config: InitializationConfig,
    poses: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """`[P, 3]` median colour over the views `present` whose silhouettes cover the point; else `default_color`.

    Args:
        points: `[P, 3]` in scene units; with `poses` in the frame of a moving part.
        poses: the part's rotations `[V, 3, 3]` and centres `[V, 3]` in each view.
    """
    evenly = np.linspace(0, len(present) - 1, min(config.color_views, len(present))).round().astype(int)
    picked = [present[i] for i in np.unique(evenly)]
    seen = np.full((len(picked), len(points), 3), np.nan)
    for row, i in zip(seen, picked):
        world = points if poses is None else points @ poses[0][i].T + poses[1][i]
        camera = views[i].camera
        pixels, depth = camera.project(torch.from_numpy(world).float())
        x, y = (pixels[:, a].floor().long().numpy() for a in (0, 1))
        inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height) & (depth.numpy() > 0)
        inside[inside] = _covered_pixels(masks, i, poses is not None)[y[inside], x[inside]]
        row[inside] = views[i].image[y[inside], x[inside]]
    is_seen = ~np.isnan(seen[..., 0]).all(0)
    colors = np.full((len(points), 3), config.default_color)
    colors[is_seen] = np.nanmedian(seen[:, is_seen], axis=0)
    return colors


def _covered_pixels(masks: Silhouettes, view: int, moving_only: bool) -> np.ndarray:
    """`[H, W]` bool: pixels whose colour is that of an object."""
    if moving_only:
        return masks.moving[view]
    if masks.uniform_background:
        return masks.moving[view] | masks.occluders[view]
    return np.ones_like(masks.moving[view])
