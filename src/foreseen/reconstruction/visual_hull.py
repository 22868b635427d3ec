"""Visual hulls, carved from silhouettes: where moving matter is, and where any matter may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from foreseen.geometry.cameras import Camera
from foreseen.reconstruction.config import HullConfig
from foreseen.reconstruction.silhouettes import Silhouettes, SilhouetteView, find_silhouettes


@dataclass(frozen=True)
class VisualHull:
    """The moving matter of one window of time.

    Attributes:
        time: mean time of the window's views, in 0..1.
        points: `[P, 3]` centres of the occupied cells.
        component_ids: `[P]`: the connected component of each cell, 0, 1, ...
        colors: `[P, 3]`: mean colour that the views show there.
    """

    time: float
    points: np.ndarray
    component_ids: np.ndarray
    colors: np.ndarray

    @property
    def num_components(self) -> int:
        """Number of connected components."""
        return int(self.component_ids.max(initial=-1)) + 1

    def means(self, values: np.ndarray) -> np.ndarray:
        """`[components, 3]`: mean of `values` `[P, 3]` over each component."""
        return np.array([values[self.component_ids == i].mean(0) for i in range(self.num_components)]).reshape(-1, 3)


def are_synchronised(views: Sequence[SilhouetteView], config: HullConfig) -> bool:
    """Enough cameras for a hull see each instant."""
    return len(views) >= config.min_views * len({v.time for v in views})


def group_views(views: Sequence[SilhouetteView], config: HullConfig) -> list[list[int]]:
    """Indices of the views that carve a hull together: those of one instant if the cameras are synchronised, else
    consecutive frames without a gap in time."""
    order = sorted(range(len(views)), key=lambda i: views[i].time)
    times = np.unique([v.time for v in views])
    if are_synchronised(views, config):
        return [[i for i in order if views[i].time == t] for t in times]
    length = config.window_frames
    duration = float(np.median(np.diff(times))) * length if len(times) > 1 else 1.0
    starts = range(0, len(order) - length + 1, config.window_stride)
    windows = [order[s : s + length] for s in starts]
    return [w for w in windows if views[w[-1]].time - views[w[0]].time <= config.max_window_length * duration]


def carve_hull(
    window: Sequence[int],
    views: Sequence[SilhouetteView],
    masks: Silhouettes,
    bounds: np.ndarray,
    cells: int,
    config: HullConfig,
    dilation: int | None = None,
    min_cells: int | None = None,
) -> VisualHull:
    """The cells in which every view of the window that sees them shows motion, unless something static may hide them.
    At least `config.min_views` views must show motion, or as many as there are camera poses, but not fewer than 2.

    Args:
        window: indices of the views that carve.
        bounds: `[2, 3]` corners of the grid, which has `cells` cells along each axis.
        dilation: pixels by which silhouettes are dilated first; None: `config.fine_dilation`.
        min_cells: smaller connected components are dropped; None: `config.min_cells`.
    """
    dilation = config.fine_dilation if dilation is None else dilation
    grid = grid_centres(bounds, cells)
    points = torch.from_numpy(grid.astype(np.float32))
    alive = np.arange(len(points))
    hits = np.zeros(len(points), np.int32)
    colors = np.zeros((len(points), 3), np.float32)
    for i in window:
        mask = ndimage.binary_dilation(masks.moving[i], iterations=dilation)
        inside, hit, color = observe_points(points[alive], views[i].camera, mask, views[i].image)
        colors[alive] += color
        hidden = np.zeros_like(hit)
        if masks.uniform_background:
            _, hidden, _ = observe_points(points[alive], views[i].camera, masks.occluders[i] & ~mask)
        hits[alive] += hit
        alive = alive[hit | hidden | ~inside]
    poses = len({views[i].pose for i in window})
    solid = np.zeros(len(points), bool)
    solid[alive[hits[alive] >= max(2, min(config.min_views, poses))]] = True
    component_ids = _components(solid.reshape((cells,) * 3), config.min_cells if min_cells is None else min_cells)
    kept = component_ids >= 0
    time = float(np.mean([views[i].time for i in window]))
    return VisualHull(time, grid[kept], component_ids[kept], colors[kept] / np.maximum(hits[kept, None], 1))


def _components(solid: np.ndarray, min_cells: int) -> np.ndarray:
    """`[G^3]`: connected component of each cell of `solid` `[G, G, G]`; -1 where empty or in a component of fewer than
    `min_cells` cells."""
    labels, count = ndimage.label(solid)
    labels = labels.reshape(-1)
    sizes = np.bincount(labels, minlength=count + 1)
    kept = [i for i in range(1, count + 1) if sizes[i] >= min_cells]
    new_ids = np.full(count + 1, -1)
    new_ids[kept] = np.arange(len(kept))
    return new_ids[labels]


def observe_points(
    points: torch.Tensor, camera: Camera, mask: np.ndarray, image: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of `points` `[P, 3]`: which lie inside a camera's picture `[P]`, which of them on its mask `[P]`, and the
    picture's colour there `[P, 3]` (0 elsewhere)."""
    pixels, depth = camera.project(points)
    x, y = (pixels[:, 0].floor().long().numpy(), pixels[:, 1].floor().long().numpy())
    inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height) & (depth.numpy() > 0)
    hit = np.zeros(len(points), bool)
    hit[inside] = mask[y[inside], x[inside]]
    color = np.zeros((len(points), 3), np.float32)
    if image is not None:
        color[hit] = image[y[hit], x[hit]]
    return inside, hit, color


def bounding_box_of_motion(
    windows: Sequence[Sequence[int]],
    views: Sequence[SilhouetteView],
    masks: Silhouettes,
    bounds: np.ndarray,
    config: HullConfig,
) -> np.ndarray:
    """`[2, 3]` corners of a box around all moving matter, from coarse hulls of some windows: cells of finer hulls are
    then spent where they matter."""
    cells, dilation = config.coarse_cells, config.coarse_dilation
    points = [carve_hull(window, views, masks, bounds, cells, config, dilation, 1).points for window in windows]
    matter = np.concatenate([np.zeros((0, 3)), *points])
    if not len(matter):
        return bounds
    margin = config.coarse_margin * (bounds[1] - bounds[0]) / cells
    return np.clip(np.stack([matter.min(0) - margin, matter.max(0) + margin]), bounds[0], bounds[1])


def static_hull(
    views: Sequence[SilhouetteView], masks: Silhouettes, bounds: np.ndarray, cells: int, config: HullConfig
) -> np.ndarray:
    """`[G, G, G]` bool: cells in which most cameras see something static; all cells if the background is not
    uniform."""
    if not masks.uniform_background:
        return np.ones((cells,) * 3, bool)
    points = torch.from_numpy(grid_centres(bounds, cells).astype(np.float32))
    seen, filled = np.zeros(len(points), np.int32), np.zeros(len(points), np.int32)
    poses_done = set()
    for view, occluders in zip(views, masks.occluders):
        if view.pose in poses_done:
            continue
        poses_done.add(view.pose)
        inside, hit, _ = observe_points(
            points, view.camera, ndimage.binary_dilation(occluders, iterations=config.dilation_pixels)
        )
        seen += inside
        filled += hit
    return (filled >= config.min_agreement * np.maximum(seen, 1)).reshape((cells,) * 3)


def hull_by_time(
    views: Sequence[SilhouetteView],
    background: tuple[float, float, float],
    bounds: np.ndarray,
    cells: int,
    boxes: int,
    config: HullConfig,
) -> np.ndarray:
    """`[boxes, G, G, G]` bool: where matter may be in each of `boxes` equal segments of the window; everywhere if the
    background is not uniform or silhouettes cannot be computed.

    Args:
        bounds: `[2, 3]` corners of the scene.
        cells: G.
    """
    masks = find_silhouettes(views, background, config.silhouettes)
    if masks is None or not masks.uniform_background:
        return np.ones((boxes, *(cells,) * 3), bool)
    occupied = np.zeros((boxes, *(cells,) * 3), bool)
    for window in group_views(views, config):
        hull = carve_hull(window, views, masks, bounds, cells, config, config.dilation_pixels, 1)
        at = ((hull.points - bounds[0]) / (bounds[1] - bounds[0]) * cells).astype(int)
        times = [views[i].time for i in window]
        first, last = (min(int(t * boxes), boxes - 1) for t in (min(times), max(times)))
        for box in range(first, last + 1):
            occupied[box, at[:, 0], at[:, 1], at[:, 2]] = True
    # Motion continues between the frames, and through segments without a window.
    occupied = np.stack([occupied[max(0, b - 1) : b + 2].any(0) for b in range(boxes)])
    near = np.stack([ndimage.binary_dilation(box, iterations=config.dilation_cells) for box in occupied])
    return near | static_hull(views, masks, bounds, cells, config)


def part_hull(
    views: Sequence[SilhouetteView],
    masks: Silhouettes,
    centres: np.ndarray,
    rotations: np.ndarray,
    half_extent: float,
    cells: int,
    config: HullConfig,
    dilation: int | None = None,
    min_agreement: float | None = None,
) -> np.ndarray:
    """`[G, G, G]` bool: cells of a part's box, in the part's frame, in which most views show motion, all times
    together. Cells that no view sees are empty.

    Args:
        centres, rotations: `[V, 3]` and `[V, 3, 3]`, the part's pose in each view.
        half_extent: half size of the box, in scene units.
        cells: G.
        dilation: pixels by which silhouettes are dilated; None: `config.dilation_pixels`.
        min_agreement: share of the views that must agree; None: `config.min_agreement`.
    """
    dilation = config.dilation_pixels if dilation is None else dilation
    min_agreement = config.min_agreement if min_agreement is None else min_agreement
    grid = grid_centres(np.array([[-half_extent] * 3, [half_extent] * 3]), cells)
    in_ball = np.linalg.norm(grid, axis=-1) <= half_extent
    local = grid[in_ball]
    seen, moving = np.zeros(len(local), np.int32), np.zeros(len(local), np.int32)
    for i in range(0, len(views), max(1, len(views) // config.part_views)):
        points = torch.from_numpy((local @ rotations[i].T + centres[i]).astype(np.float32))
        mask = ndimage.binary_dilation(masks.moving[i], iterations=dilation) if dilation else masks.moving[i]
        inside, hit, _ = observe_points(points, views[i].camera, mask)
        if masks.uniform_background:
            inside &= ~observe_points(points, views[i].camera, masks.occluders[i] & ~mask)[1]
        seen += inside
        moving += hit & inside
    hull = np.zeros(len(grid), bool)
    hull[in_ball] = (moving >= min_agreement * seen) & (seen > 0)
    return hull.reshape((cells,) * 3)


def grid_centres(bounds: np.ndarray, cells: int) -> np.ndarray:
    """`[cells^3, 3]` centres of equal cells."""
    size = (bounds[1] - bounds[0]) / cells
    lines = [bounds[0, a] + (np.arange(cells) + 0.5) * size[a] for a in range(3)]
    return np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 3)
