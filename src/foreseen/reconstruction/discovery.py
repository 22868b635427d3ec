"""Finding the moving parts before training: silhouettes, visual hull, tracks, smooth trajectories.

A classical warm start. Nothing here needs truth: silhouettes are the difference from what each camera sees most, or
from the stated background colour. Where neither is to be had no part is found, and the method goes on without parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from foreseen.nn.splines import UniformBSpline
from foreseen.reconstruction.identity_swaps import find_identity_swaps
from foreseen.reconstruction.sphere_fitting import MIN_ROUND_OVERLAP, FittedSpheres, fit_spheres
from foreseen.reconstruction.visual_hull import (
    MIN_CELLS,
    Silhouettes,
    SilhouetteView,
    VisualHull,
    are_synchronised,
    bounding_box_of_motion,
    carve_hull,
    group_views,
)

HULL_CELLS = 72
RADIUS_MARGIN = 1.1
"""Radius of a part of any shape over how far it was seen to reach."""
MIN_THIRD_MOMENT = 0.05
MIN_ELONGATION = 1.15
"""A part with a third moment as large as the one, or a first principal axis that exceeds the second by the other, may
have a direction, ..."""
MAX_DIRECTION_ERROR = 8.0
"""... which it has if straight motion foretells the next direction this well."""
OLD_POSITION_WEIGHT = 1e-2
"""Weight of a trajectory's old place against the rays' (distances over depth)."""
COLOR_DISTANCE = 0.1
"""A difference in colour of 1 (black to one pure colour) counts like being this share of the scene apart."""


@dataclass(frozen=True)
class RigidPart:
    """A moving part. `controls [n, 3]`: B-spline control points of its centre over 0..1; `radius`: of a sphere around
    it, its own where it is a ball; `rotations [n, 3]`: rotation vectors of its frame; `round`: its silhouettes do not
    tell how it turns."""

    controls: np.ndarray
    rotations: np.ndarray
    radius: float
    is_round: bool = False


def find_parts(
    views: list[SilhouetteView],
    masks: Silhouettes,
    bounds: np.ndarray,
    controls: int,
    maximum: int,
    unknown: list[np.ndarray] | None = None,
) -> list[RigidPart]:
    """The moving parts; `unknown [h, w]` of each view: pixels that do not tell whether something moves."""
    found = group_views(views)
    box = bounding_box_of_motion(
        [found[i] for i in range(0, len(found), max(1, len(found) // 16))], views, masks, bounds
    )
    hulls = [carve_hull(window, views, masks, box, HULL_CELLS) for window in found]
    tracks = track([h for h in hulls if h.num_components], float(np.ptp(bounds, axis=0).max()), maximum)
    parts = refine(views, masks, tracks, controls, bounds)
    return _as_spheres(views, masks, unknown, parts) if parts else parts


def _as_spheres(
    views: list[SilhouetteView], masks: Silhouettes, unknown: list[np.ndarray] | None, parts: list[RigidPart]
) -> list[RigidPart]:
    """Parts that are round, fitted as spheres, whose silhouettes tell no turn; the parts as they are where they are of
    another shape."""
    controls = np.stack([part.controls for part in parts], axis=1)
    found = fit_spheres(
        views, masks, unknown, FittedSpheres(controls, np.array([part.radius for part in parts]) / RADIUS_MARGIN)
    )
    if found.overlap < MIN_ROUND_OVERLAP:
        return parts
    found = _with_own_places(views, masks, unknown, found)
    return [
        RigidPart(found.controls[:, k], np.zeros_like(found.controls[:, k]), radius, is_round=True)
        for k, radius in enumerate(found.radii.tolist())
    ]


def _with_own_places(
    views: list[SilhouetteView], masks: Silhouettes, unknown: list[np.ndarray] | None, found: FittedSpheres
) -> FittedSpheres:
    """Each ball on the track of its own colour."""
    times, controls = np.unique([view.time for view in views]), len(found.controls)
    places = np.einsum("tc,ckd->tkd", UniformBSpline(controls).basis(torch.from_numpy(times)).numpy(), found.controls)
    who = find_identity_swaps(views, times, places, found.radii)
    if (who == np.arange(len(found.radii))).all():
        return found
    own = np.take_along_axis(places, who.argsort(1)[..., None], axis=1)
    own_controls = np.stack([fit_spline(times, own[:, k], controls) for k in range(own.shape[1])], axis=1)
    return fit_spheres(views, masks, unknown, FittedSpheres(own_controls, found.radii))


@dataclass
class HullTrack:
    """One part through the hulls: per hull its time, centre, long axis, how long, how far it reaches from its centre,
    and `tails`: the third moment, which points to where the part reaches out, with a length of 0 (nowhere) to 1."""

    times: list[float]
    centres: list[np.ndarray]
    axes: list[np.ndarray]
    tails: list[np.ndarray]
    colors: list[np.ndarray]
    elongations: list[float]
    sizes: list[float]

    def predict(self, time: float) -> np.ndarray:
        """Where straight motion would have it."""
        if len(self.times) < 2:
            return self.centres[-1]
        back = max(0, len(self.times) - 3)
        velocity = (self.centres[-1] - self.centres[back]) / (self.times[-1] - self.times[back])
        return self.centres[-1] + velocity * (time - self.times[-1])


def track(hulls: list[VisualHull], extent: float, maximum: int) -> list[HullTrack]:
    """Follows the parts out from the stretch of time where they are best told apart. Where parts touch, the matter of a
    merged piece goes to the nearest predicted centre. Parts held by under a third of the hulls are dropped."""
    if not hulls:
        return []
    counts = np.array([h.num_components for h in hulls])
    wanted = max(c for c in np.unique(counts) if np.mean(counts >= c) >= 0.3)
    run = _longest_run(counts == wanted)
    start = (run[0] + run[1]) // 2
    seeds = sorted(range(hulls[start].num_components), key=lambda i: -int((hulls[start].component_ids == i).sum()))[
        :maximum
    ]
    found = []
    for order in (range(start, len(hulls)), range(start, -1, -1)):
        tracks = [HullTrack([], [], [], [], [], [], []) for _ in seeds]
        for i in order:
            _follow(tracks, hulls[i], seeds if i == start else None, extent)
        found.append(tracks)
    joined = []
    for ahead, behind in zip(*found):
        whole = HullTrack(
            *(
                [*getattr(behind, f)[:0:-1], *getattr(ahead, f)]
                for f in ("times", "centres", "axes", "tails", "colors", "elongations", "sizes")
            )
        )
        if len(whole.times) >= len(hulls) / 3:
            joined.append(whole)
    return joined


def _longest_run(flags: np.ndarray) -> tuple[int, int]:
    labels, count = ndimage.label(flags)
    best = max(range(1, count + 1), key=lambda i: int((labels == i).sum()))
    where = np.nonzero(labels == best)[0]
    return int(where[0]), int(where[-1])


def _follow(tracks: list[HullTrack], hull: VisualHull, seeds: list[int] | None, extent: float) -> None:
    """Adds one hull to every track that finds matter in it."""
    if seeds is not None:
        owner = np.full(len(hull.points), -1)
        for k, piece in enumerate(seeds):
            owner[hull.component_ids == piece] = k
    else:
        owner = _owners(tracks, hull, extent)
    for k, t in enumerate(tracks):
        mine = hull.points[owner == k]
        if len(mine) < MIN_CELLS:
            continue
        centred = mine - mine.mean(0)
        values, vectors = np.linalg.eigh(np.cov(mine.T) + 1e-9 * np.eye(3))
        reach = np.linalg.norm(centred, axis=-1, keepdims=True)
        tail = (reach**2 * centred).sum(0) / (reach**3).sum()
        t.times.append(hull.time)
        t.centres.append(mine.mean(0))
        t.axes.append(vectors[:, 2])
        t.tails.append(tail)
        t.colors.append(hull.colors[owner == k].mean(0))
        t.elongations.append(float(np.sqrt(values[2] / values[1])))
        t.sizes.append(float(np.quantile(reach, 0.97)))


def _owners(tracks: list[HullTrack], hull: VisualHull, extent: float) -> np.ndarray:
    """`[P]` which track each cell belongs to, -1 for none. Pieces are matched to predictions one to one (Hungarian);
    predictions left over share the piece that they fall into, cell by cell."""
    guesses = np.array([t.predict(hull.time) for t in tracks])
    appearances = np.array([np.median(t.colors, axis=0) for t in tracks])
    pieces = hull.means(hull.points)
    cost = np.linalg.norm(guesses[:, None] - pieces[None], axis=-1)
    cost = cost + COLOR_DISTANCE * extent * np.linalg.norm(
        appearances[:, None] - hull.means(hull.colors)[None], axis=-1
    )
    odd = COLOR_DISTANCE * extent * np.linalg.norm(hull.colors[:, None] - appearances[None], axis=-1)
    owner = np.full(len(hull.points), -1)
    placed = guesses.copy()
    for k, j in zip(*linear_sum_assignment(cost)):
        if cost[k, j] < 0.12 * extent:
            placed[k] = pieces[j] if len(pieces) >= len(tracks) else guesses[k]
    for _ in range(3):
        distance = np.linalg.norm(hull.points[:, None] - placed[None], axis=-1) + odd
        nearest = distance.argmin(1)
        owner = np.where(distance.min(1) < 0.15 * extent, nearest, -1)
        for k in range(len(tracks)):
            if (owner == k).any():
                placed[k] = hull.points[owner == k].mean(0)
    return owner


def fit_spline(times: np.ndarray, values: np.ndarray, controls: int, smooth: float = 0.3) -> np.ndarray:
    """Control points `[n, D]` of the least-squares B-spline through `values` `[T, D]`; gaps are bridged with little
    jerk."""
    basis = UniformBSpline(controls).basis(torch.from_numpy(times)).numpy()
    jerk = np.diff(np.eye(controls), 3, axis=0) * smooth
    still = np.diff(np.eye(controls), 2, axis=0) * 1e-3
    left = np.concatenate([basis, jerk, still])
    right = np.concatenate([values, np.zeros((len(jerk) + len(still), values.shape[1]))])
    return np.linalg.lstsq(left, right, rcond=None)[0]


def refine(
    views: list[SilhouetteView], masks: Silhouettes, tracks: list[HullTrack], controls: int, bounds: np.ndarray
) -> list[RigidPart]:
    """Smooth trajectories. Where each hull is of one instant they follow the hulls. Where hulls span several, they meet
    the silhouettes themselves: every view's moving pixels go to the nearest part's projection, and each part's spline
    meets the rays through the centroids of its pixels, which a shadow beside it may pull away."""
    if not tracks:
        return []
    times = torch.tensor([v.time for v in views], dtype=torch.float64)
    basis = UniformBSpline(controls).basis(times).numpy()
    centres = [fit_spline(np.array(t.times), np.array(t.centres), controls) for t in tracks]
    hull_radii = np.array([RADIUS_MARGIN * float(np.median(t.sizes)) for t in tracks])
    radii = hull_radii.copy()
    for _ in range(0 if are_synchronised(views) else 4):
        sightings = [
            _assign(v, m, np.stack([b @ c for c in centres]), radii) for v, m, b in zip(views, masks.moving, basis)
        ]
        for k in range(len(tracks)):
            rows = [(b, s[k]) for b, s in zip(basis, sightings) if k in s]
            met = _fit_to_rays(rows, centres[k])
            path = basis @ met
            if (path >= bounds[0]).all() and (path <= bounds[1]).all():
                centres[k] = met
            seen = [s[k].radius for s in sightings if k in s]
            # What a neighbour's pixels add to a sighting must not let a part grow from round to round.
            radii[k] = (
                np.clip(RADIUS_MARGIN * np.quantile(seen, 0.6), 0.8 * hull_radii[k], 1.3 * hull_radii[k])
                if seen
                else radii[k]
            )
    low, high = 1.5 * bounds  # a control point may lie a little outside of what it draws
    return [
        RigidPart(np.clip(centres[k], low, high), _rotations(t, controls), float(radii[k]))
        for k, t in enumerate(tracks)
    ]


@dataclass(frozen=True)
class PartDetection:
    """What one view saw of one part: the ray through its pixels' centroid, and its radius in scene units."""

    origin: np.ndarray
    direction: np.ndarray
    radius: float
    depth: float


def _assign(view: SilhouetteView, mask: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> dict[int, PartDetection]:
    """part -> what this view saw of it. Parts that overlap another in the picture, or touch its border, are left
    out."""
    camera = view.camera
    pixels, depth = (x.numpy() for x in camera.project(torch.from_numpy(centres).float()))
    rows, cols = np.nonzero(mask)
    points = np.stack([cols + 0.5, rows + 0.5], -1)
    distance = np.linalg.norm(points[:, None] - pixels[None], axis=-1)
    reach = 1.5 * radii * camera.fx / np.maximum(depth, 1e-6)
    nearest = (distance / reach).argmin(1) if len(rows) else np.empty(0, int)
    found: dict[int, PartDetection] = {}
    for k in range(len(centres)):
        others = np.delete(np.arange(len(centres)), k)
        apart = np.linalg.norm(pixels[others] - pixels[k], axis=-1)
        mine = points[(nearest == k) & (distance[:, k] < reach[k])]
        if len(mine) < 4 or (apart < 0.66 * (reach[others] + reach[k])).any():
            continue
        if mine.min() < 1 or mine[:, 0].max() > camera.width - 1 or mine[:, 1].max() > camera.height - 1:
            continue
        ray = camera.rays(torch.from_numpy(mine.mean(0)).float())
        extent = np.linalg.norm(mine - mine.mean(0), axis=-1).max() + 0.5
        found[k] = PartDetection(
            ray.origins.numpy(), ray.directions.numpy(), float(extent * depth[k] / camera.fx), float(depth[k])
        )
    return found


def _fit_to_rays(rows: list[tuple[np.ndarray, PartDetection]], old: np.ndarray) -> np.ndarray:
    """Control points of the smooth trajectory nearest to all rays (distances weighed by 1 / depth)."""
    n = old.shape[0]
    left, right = [], []
    for b, s in rows:
        across = (np.eye(3) - np.outer(s.direction, s.direction)) / s.depth
        left.append(np.kron(b[None], across))
        right.append(across @ s.origin)
    jerk = np.kron(np.diff(np.eye(n), 3, axis=0), np.eye(3)) * 1e-2
    # Where no ray reaches, the old trajectory's shape holds.
    hold = np.eye(3 * n) * OLD_POSITION_WEIGHT
    a = np.concatenate([*left, jerk, hold])
    y = np.concatenate([*right, np.zeros(len(jerk)), old.reshape(-1) * OLD_POSITION_WEIGHT])
    return np.linalg.lstsq(a, y, rcond=None)[0].reshape(n, 3)


def _rotations(t: HullTrack, controls: int) -> np.ndarray:
    """Rotation vectors that carry a part's direction along: that of its tail, or of its long axis; zero for a part
    whose directions are nothing but noise."""
    middle = len(t.axes) // 2
    candidates = []
    if np.median(np.linalg.norm(t.tails, axis=-1)) > MIN_THIRD_MOMENT:
        candidates.append([_unit(x) for x in t.tails])
    if np.median(t.elongations) > MIN_ELONGATION:
        candidates.append(_without_flips(t.axes[middle::-1])[::-1] + _without_flips(t.axes[middle:])[1:])
    steady = [d for d in candidates if _direction_error(d) < np.radians(MAX_DIRECTION_ERROR)]
    if not steady:
        return np.zeros((controls, 3))
    directions = steady[0]
    vectors = []
    for d in directions:
        cross = np.cross(directions[middle], d)
        vectors.append(_unit(cross) * _angle(directions[middle], d))
    return fit_spline(np.array(t.times), np.array(vectors), controls, smooth=2e-2)


def _direction_error(directions: list[np.ndarray]) -> float:
    """How far a direction usually is from where straight motion would have it [rad]."""
    triples = zip(directions, directions[1:], directions[2:])
    return float(np.median([np.pi, *(_angle(_unit(2 * b - a), c) for a, b, c in triples)]))


def _without_flips(axes: list[np.ndarray]) -> list[np.ndarray]:
    """An axis has no sign: each takes that of its predecessor."""
    out = [axes[0]]
    for axis in axes[1:]:
        out.append(axis if axis @ out[-1] >= 0 else -axis)
    return out


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    """Between unit vectors [rad]."""
    return float(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b))
