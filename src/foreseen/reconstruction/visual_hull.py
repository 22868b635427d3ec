"""What can be told before training: silhouettes of what moves, and the visual hulls that they carve."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from scipy import ndimage

from foreseen.data.types import Frame
from foreseen.geometry.cameras import Camera

DISCOVERY_SIZE = 200
"""Silhouettes are looked at in pictures shrunk to about so many pixels."""
MIN_HISTORY = (5, 3)
"""What a camera sees most counts as its background from this many frames on; and where it sees the stated one, too."""
MAX_HISTORY = 40
"""So many of a camera's views tell its background."""
NOISE_TOLERANCE = 0.03
"""Colours that differ by less may be the same, but for noise."""
COLOR_TOLERANCE = 0.01
"""Colours that differ by less are the same."""
COARSE_CELLS = 48
MIN_VIEWS = 3
MIN_CELLS = 12
"""A smaller piece of the hull is noise."""
HULL_DILATION = 2
"""Cells by which the hull of a stretch of time is grown."""
PART_HULL_VIEWS = 80
"""A part's own hull is carved by so many views, spread over the window."""
DILATION_PIXELS = 2
"""Silhouettes are grown by so many pixels before they carve what will be rendered; ..."""
MIN_AGREEMENT = 0.75
"""... what this share of the views agrees on stays: here and there a thing looks like what is behind it, and a plate
seen from its edge is thinner than a pixel."""


@dataclass(frozen=True)
class SilhouetteView:
    """One training frame at low resolution. `image [h, w, 3]`; `camera` has the same size; `time` in 0..1."""

    camera: Camera
    time: float
    image: np.ndarray

    @property
    def pose(self) -> bytes:
        """Equal for views from the same camera at the same place."""
        return self.camera.camera_to_world.numpy().tobytes()

    @staticmethod
    def of(frame: Frame, start: float, window: float) -> SilhouetteView:
        """A frame whose times run from `start` for `window`."""
        factor = max(1, round(min(frame.camera.width, frame.camera.height) / DISCOVERY_SIZE))
        small = frame.downscale(factor)
        return SilhouetteView(small.camera, (frame.time - start) / window, small.image().numpy())


@dataclass(frozen=True)
class VisualHull:
    """The moving matter of one window of time: `points [P, 3]`, and the connected piece of each, `labels [P]` (0, 1,
    ...; pieces of fewer than `MIN_CELLS` cells are left out), and the mean colour that the views show there,
    `shades [P, 3]`."""

    time: float
    points: np.ndarray
    component_ids: np.ndarray
    colors: np.ndarray

    @property
    def num_components(self) -> int:
        """How many pieces there are."""
        return int(self.component_ids.max(initial=-1)) + 1

    def means(self, values: np.ndarray) -> np.ndarray:
        """`[pieces, 3]` the means of `values` `[P, 3]` over each piece."""
        return np.array([values[self.component_ids == i].mean(0) for i in range(self.num_components)]).reshape(-1, 3)


@dataclass(frozen=True)
class Silhouettes:
    """For each view, `moving [h, w]`: pixels where something moves; `occluders [h, w]`: pixels where something at rest
    may hide what moves behind it (known only before a plain background, `plain`); `still [h, w, 3]`: what is at
    rest."""

    moving: list[np.ndarray]
    occluders: list[np.ndarray]
    static_images: list[np.ndarray]
    uniform_background: bool

    def select(self, which: Iterable[int]) -> Silhouettes:
        """Of these views only."""
        which = list(which)
        moving, occluders, still = (
            [some[i] for i in which] for some in (self.moving, self.occluders, self.static_images)
        )
        return Silhouettes(moving, occluders, still, self.uniform_background)


class StaticBackgrounds:
    """What each camera sees at rest: what most of its views agree on, or the stated background where it has too few of
    them and that is plain, and wherever that is ever seen: nothing at rest is there.

    Attributes:
        plain: the stated background is seen.
    """

    def __init__(self, views: list[SilhouetteView], background: tuple[float, float, float]) -> None:
        groups: dict[bytes, list[np.ndarray]] = {}
        for view in views:
            groups.setdefault(_place(view), []).append(view.image)
        self.uniform_background = bool(
            np.mean([np.mean(np.abs(v.image - background).max(-1) < COLOR_TOLERANCE) for v in views]) > 0.3
        )
        self.background = np.array(background, np.float32)
        minimum = MIN_HISTORY[self.uniform_background]
        self.typical_images = {k: self._still(np.stack(v)) for k, v in groups.items() if len(v) >= minimum}

    def _still(self, images: np.ndarray) -> np.ndarray:
        """Of one camera's `images` `[N, h, w, 3]`."""
        some = np.unique(np.linspace(0, len(images) - 1, MAX_HISTORY).round().astype(int))
        typical = _mode_color(images[some], NOISE_TOLERANCE)
        if not self.uniform_background:
            return typical
        empty = (np.abs(images - self.background).max(-1) < COLOR_TOLERANCE).any(0)
        return np.where(empty[..., None], self.background, typical)

    def of(self, view: SilhouetteView) -> np.ndarray | None:
        """`[h, w, 3]`; None where it is not known."""
        found = self.typical_images.get(_place(view))
        return (
            np.broadcast_to(self.background, view.image.shape) if found is None and self.uniform_background else found
        )


@njit(cache=True)
def _mode_color(images: np.ndarray, tolerance: float) -> np.ndarray:
    """`[h, w, 3]`: of each pixel of `images` `[N, h, w, 3]` the colour that most of them come near to. Unlike a median,
    it is no mixture of what moves where something moves for most of the time."""
    count, height, width, _ = images.shape
    found = np.empty((height, width, 3), np.float32)
    for y in range(height):
        for x in range(width):
            maximum = 0
            for i in range(count):
                alike, r, g, b = 0, 0.0, 0.0, 0.0
                for j in range(count):
                    if (
                        abs(images[i, y, x, 0] - images[j, y, x, 0]) < tolerance
                        and abs(images[i, y, x, 1] - images[j, y, x, 1]) < tolerance
                        and abs(images[i, y, x, 2] - images[j, y, x, 2]) < tolerance
                    ):
                        alike += 1
                        r += images[j, y, x, 0]
                        g += images[j, y, x, 1]
                        b += images[j, y, x, 2]
                if alike > maximum:
                    maximum = alike
                    found[y, x, 0], found[y, x, 1], found[y, x, 2] = r / alike, g / alike, b / alike
    return found


def _place(view: SilhouetteView) -> bytes:
    """Equal for views whose pixels see along the same rays."""
    return view.pose + np.array([view.camera.fx, view.camera.cx]).tobytes()


def silhouettes(
    views: list[SilhouetteView], background: tuple[float, float, float], threshold: float = 0.04
) -> Silhouettes | None:
    """What moves in each view, or None where it cannot be told."""
    stills = StaticBackgrounds(views, background)
    moving, occluders, rests = [], [], []
    for view in views:
        still = stills.of(view)
        if still is None:
            return None
        rests.append(still)
        moving.append(_differs(view.image, still, threshold))
        occluders.append(_differs(still, np.array(background, np.float32), threshold) & stills.uniform_background)
    return Silhouettes(moving, occluders, rests, stills.uniform_background)


def _differs(image: np.ndarray, other: np.ndarray, threshold: float) -> np.ndarray:
    """`[h, w]` bool: in any colour by more than the threshold."""
    apart = np.abs(image - other) > threshold
    return apart[..., 0] | apart[..., 1] | apart[..., 2]


def are_synchronised(views: list[SilhouetteView]) -> bool:
    """Enough cameras for a hull see each instant."""
    return len(views) >= MIN_VIEWS * len({v.time for v in views})


def group_views(views: list[SilhouetteView]) -> list[list[int]]:
    """Indices of views close in time, enough in each for a hull: one instant where cameras are synchronised, else
    `MIN_VIEWS + 2` consecutive frames that do not straddle a gap."""
    order = sorted(range(len(views)), key=lambda i: views[i].time)
    times = np.unique([v.time for v in views])
    if are_synchronised(views):
        return [[i for i in order if views[i].time == t] for t in times]
    length = MIN_VIEWS + 2
    typical = float(np.median(np.diff(times))) * length if len(times) > 1 else 1.0
    starts = range(0, len(order) - length + 1, 2)
    found = [order[s : s + length] for s in starts]
    return [w for w in found if views[w[-1]].time - views[w[0]].time <= 1.5 * typical]


def carve_hull(
    window: list[int],
    views: list[SilhouetteView],
    masks: Silhouettes,
    bounds: np.ndarray,
    cells: int,
    dilation: int = 1,
    minimum: int = MIN_CELLS,
) -> VisualHull:
    """The cells that every view of the window sees move (silhouettes grown by some pixels), save where something at
    rest may stand before them; at least `MIN_VIEWS` views, or all where there are fewer."""
    grid = _grid(bounds, cells)
    points = torch.from_numpy(grid.astype(np.float32))
    alive = np.arange(len(points))
    seen = np.zeros(len(points), np.int32)
    shades = np.zeros((len(points), 3), np.float32)
    for i in window:
        mask = ndimage.binary_dilation(masks.moving[i], iterations=dilation)
        inside, hit, shade = _observe_points(points[alive], views[i].camera, mask, views[i].image)
        shades[alive] += shade
        hidden = np.zeros_like(hit)
        if masks.uniform_background:
            _, hidden, _ = _observe_points(points[alive], views[i].camera, masks.occluders[i] & ~mask)
        seen[alive] += hit
        alive = alive[hit | hidden | ~inside]
    positions = len({views[i].pose for i in window})
    solid = np.zeros(len(points), bool)
    solid[alive[seen[alive] >= max(2, min(MIN_VIEWS, positions))]] = True
    labels, count = ndimage.label(solid.reshape((cells,) * 3))
    labels = labels.reshape(-1)
    sizes = np.bincount(labels, minlength=count + 1)
    kept = [i for i in range(1, count + 1) if sizes[i] >= minimum]
    rename = np.full(count + 1, -1)
    rename[kept] = np.arange(len(kept))
    here = rename[labels] >= 0
    time = float(np.mean([views[i].time for i in window]))
    return VisualHull(time, grid[here], rename[labels[here]], shades[here] / np.maximum(seen[here, None], 1))


def _observe_points(
    points: torch.Tensor, camera: Camera, mask: np.ndarray, image: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which points lie inside a camera's picture, which of them on its mask, and the colour `[P, 3]` that those show
    there (0 elsewhere)."""
    pixels, depth = camera.project(points)
    x, y = (pixels[:, 0].floor().long().numpy(), pixels[:, 1].floor().long().numpy())
    inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height) & (depth.numpy() > 0)
    hit = np.zeros(len(points), bool)
    hit[inside] = mask[y[inside], x[inside]]
    shade = np.zeros((len(points), 3), np.float32)
    if image is not None:
        shade[hit] = image[y[hit], x[hit]]
    return inside, hit, shade


def bounding_box_of_motion(
    some: list[list[int]], views: list[SilhouetteView], masks: Silhouettes, bounds: np.ndarray
) -> np.ndarray:
    """`[2, 3]` corners of a box around all that moves, from a coarse look at some windows: the hull's cells are then
    spent where they matter."""
    points = [carve_hull(window, views, masks, bounds, COARSE_CELLS, dilation=3, minimum=1).points for window in some]
    matter = np.concatenate([np.zeros((0, 3)), *points])
    if not len(matter):
        return bounds
    margin = 1.5 * (bounds[1] - bounds[0]) / COARSE_CELLS
    return np.clip(np.stack([matter.min(0) - margin, matter.max(0) + margin]), bounds[0], bounds[1])


def static_hull(views: list[SilhouetteView], masks: Silhouettes, bounds: np.ndarray, cells: int) -> np.ndarray:
    """`[G, G, G]` bool: cells before which most cameras see something at rest; all of them where the background is not
    plain."""
    if not masks.uniform_background:
        return np.ones((cells,) * 3, bool)
    points = torch.from_numpy(_grid(bounds, cells).astype(np.float32))
    seen, filled = np.zeros(len(points), np.int32), np.zeros(len(points), np.int32)
    done = set()
    for view, occluders in zip(views, masks.occluders):
        if view.pose in done:
            continue
        done.add(view.pose)
        inside, hit, _ = _observe_points(
            points, view.camera, ndimage.binary_dilation(occluders, iterations=DILATION_PIXELS)
        )
        seen += inside
        filled += hit
    return (filled >= MIN_AGREEMENT * np.maximum(seen, 1)).reshape((cells,) * 3)


def hull_by_time(
    views: list[SilhouetteView], background: tuple[float, float, float], bounds: np.ndarray, cells: int, boxes: int
) -> np.ndarray:
    """`[boxes, G, G, G]` bool: where matter may be in each of `boxes` equal stretches of time; everywhere where
    silhouettes do not tell."""
    masks = silhouettes(views, background)
    if masks is None or not masks.uniform_background:
        return np.ones((boxes, *(cells,) * 3), bool)
    found = np.zeros((boxes, *(cells,) * 3), bool)
    for window in group_views(views):
        hull = carve_hull(window, views, masks, bounds, cells, dilation=DILATION_PIXELS, minimum=1)
        at = ((hull.points - bounds[0]) / (bounds[1] - bounds[0]) * cells).astype(int)
        times = [views[i].time for i in window]
        first, last = (min(int(t * boxes), boxes - 1) for t in (min(times), max(times)))
        for box in range(first, last + 1):
            found[box, at[:, 0], at[:, 1], at[:, 2]] = True
    # What moves goes on between the frames, and through stretches that no window covers.
    found = np.stack([found[max(0, b - 1) : b + 2].any(0) for b in range(boxes)])
    near = np.stack([ndimage.binary_dilation(box, iterations=HULL_DILATION) for box in found])
    return near | static_hull(views, masks, bounds, cells)


def part_hull(
    views: list[SilhouetteView],
    masks: Silhouettes,
    centres: np.ndarray,
    rotations: np.ndarray,
    half: float,
    cells: int,
    dilation: int = DILATION_PIXELS,
    min_agreement: float = MIN_AGREEMENT,
) -> np.ndarray:
    """`[G, G, G]` bool: cells of a part's box, in its own frame, that most views see move wherever the part is; not
    what no view ever shows.

    Args:
        centres, rotations: `[V, 3]` and `[V, 3, 3]`, the part's pose in each view.
        half: half size of the box.
        grown: pixels by which silhouettes are grown.
        agreeing: share of the views that must agree.
    """
    grid = _grid(np.array([[-half] * 3, [half] * 3]), cells)
    inner = np.linalg.norm(grid, axis=-1) <= half
    local = grid[inner]
    seen, moving = np.zeros(len(local), np.int32), np.zeros(len(local), np.int32)
    for i in range(0, len(views), max(1, len(views) // PART_HULL_VIEWS)):
        points = torch.from_numpy((local @ rotations[i].T + centres[i]).astype(np.float32))
        mask = ndimage.binary_dilation(masks.moving[i], iterations=dilation) if dilation else masks.moving[i]
        inside, hit, _ = _observe_points(points, views[i].camera, mask)
        if masks.uniform_background:
            inside &= ~_observe_points(points, views[i].camera, masks.occluders[i] & ~mask)[1]
        seen += inside
        moving += hit & inside
    out = np.zeros(len(grid), bool)
    out[inner] = (moving >= min_agreement * seen) & (seen > 0)
    return out.reshape((cells,) * 3)


def _grid(bounds: np.ndarray, cells: int) -> np.ndarray:
    """`[cells^3, 3]` centres of equal cells."""
    size = (bounds[1] - bounds[0]) / cells
    lines = [bounds[0, a] + (np.arange(cells) + 0.5) * size[a] for a in range(3)]
    return np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 3)
