"""How round parts turn, told by what is painted on them: the spin under which their pictures agree best, or else their
orientation followed from time to time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation, Slerp

from foreseen.data.types import Frame
from foreseen.geometry.cameras import Camera

Array = NDArray[np.float32]

MAX_FRAMES = 480
"""Of longer sequences, times are left out."""
MAX_RADIUS_PIXELS, MIN_RADIUS_PIXELS = 28, 5
"""Pictures of a part are shrunk to about this radius [px]; smaller ones than the second say nothing."""
MIN_VIEW_COSINE = 0.5
"""Cosine of the angle to the viewer up to which a surface is looked at."""
NEIGHBOURHOOD_RADIUS = 0.4
"""Brightness is compared with its surroundings within so many radii: shading drops out, paint stays."""
NOISE_CONTRAST = 0.02
"""Contrast (0..1) that counts as noise."""
SAMPLES, PAIRS, FIRST_PAIRS = 60, 200, 100
"""Pixels of a view, and pairs of views, that are compared at once; of the latter fewer where all spins are tried."""
MIN_PAIR_COSINE = 0.3
"""Cosine of the angle between two views from which on they see enough of one side."""
MAX_ROTATION, ROTATION_SPACING = 1.0, 0.07
"""Turns that are tried from one time to the next, and their spacing [rad]."""
REFINED_SPACING = 0.05
"""Spacing [rad], over the longest time between the views of a pair, when the best are improved; ..."""
PAIR_TIME_GROWTH, NUM_CANDIDATES = 1.6, (8, 3)
"""... that time grows by this factor; of so many at first, and then."""
MIN_CORRELATION, MIN_CORRELATION_GAIN = 0.3, 0.1
"""Correlation that tells a turn (of a steady spin, over at least half of the window), and by how much it is to be above
that of rest."""
COMPARED_LAGS = (1, 2, 3, 5, 8, 13, 21)
"""A ball that is followed is compared with itself so many times before, ..."""
SEARCH_RANGES = ((0.42, 0.14), (0.1, 0.05), (0.04, 0.02))
"""... turned from where it was expected by up to so much, in so large steps [rad]."""
WEAK_CORRELATION = 0.1
"""Below this correlation it is taken to turn on as it did."""
SPIN_SMOOTHING = 0.5
"""Share of the old spin in the new one."""


@dataclass(frozen=True)
class BallViews:
    """One round part as N views see it.

    Attributes:
        radius: of the ball, in scene units.
        times: `[N]`, 0..1.
        centres: `[N, 3]`, in scene units.
        paint: `[N, C, C]` brightness against its surroundings, not a number where the part is not seen.
        corners: `[N, 2]` pixel of each patch's corner; pixels: `[N, 4]` fx, fy, cx, cy; poses: `[N, 4, 4]`.
        normals, values: `[N, S, 3]` and `[N, S]`: directions from the centre and paint of some pixels; not a number
            where a view has none.
    """

    radius: float
    times: Array
    centres: Array
    paint: Array
    corners: Array
    pixels: Array
    poses: Array
    normals: Array
    values: Array

    @staticmethod
    def of(frames: Sequence[Frame], times: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> list[BallViews]:
        """For each of K parts; `times` `[N]`, `centres` `[N, K, 3]`, `radii` `[K]`."""
        chosen = _some(times)
        patches = []
        for i in chosen:
            image = frames[i].image().mean(-1).numpy()
            patches.append([_patch(image, frames[i].camera, centres[i], radii, k) for k in range(len(radii))])
        rng = np.random.default_rng(0)
        return [
            _ball_views([patch[k] for patch in patches], times[chosen], centres[chosen, k], radius, rng)
            for k, radius in enumerate(radii)
        ]

    def score(self, spins: np.ndarray, pairs: np.ndarray) -> NDArray[np.float64]:
        """`[M]`: how well pairs of views `[P, 2]` agree under `spins` `[M, 3]` [rad in the window]: a correlation."""
        waits = self.times[pairs[:, 1]] - self.times[pairs[:, 0]]
        return self._agree(spins, waits, pairs, Rotation.identity(len(pairs)))

    def score_rotations(self, rotations: np.ndarray, pairs: np.ndarray, first: Rotation) -> NDArray[np.float64]:
        """`[M]`: how well pairs of views agree, the earlier one turned by `first` (of each pair) and by one of
        `rotations`
        `[M, 3]` [rad]."""
        return self._agree(rotations, np.ones(len(pairs)), pairs, first)

    def _agree(
        self, vectors: np.ndarray, shares: np.ndarray, pairs: np.ndarray, first: Rotation
    ) -> NDArray[np.float64]:
        found = np.zeros(len(vectors))
        rotated = np.einsum("pij,psj->psi", first.as_matrix(), self.normals[pairs[:, 0]])
        vectors, shares, rotated = (np.ascontiguousarray(x, np.float32) for x in (vectors, shares, rotated))
        _agreement(
            vectors, shares, rotated, self.values[pairs[:, 0]], pairs[:, 1], self.centres, np.float32(self.radius),
            self.paint, self.corners, self.pixels, self.poses, found,
        )  # fmt: skip
        return found

    def toward(self) -> np.ndarray:
        """`[N, 3]`: directions to the viewers."""
        toward = self.poses[:, :3, 3] - self.centres
        return toward / np.linalg.norm(toward, axis=-1, keepdims=True)

    def visible(self) -> np.ndarray:
        """`[N]` bool: which views see it."""
        return ~np.isnan(self.values[:, 0])

    def pairs(self, minimum: float, maximum: float) -> np.ndarray:
        """`[P, 2]`: of views that are so far apart in time and see one side; some, if there are many."""
        toward, known = self.toward(), self.visible()
        apart = self.times[None] - self.times[:, None]
        found = (apart > 0) & (apart >= minimum) & (apart <= maximum) & (toward @ toward.T > MIN_PAIR_COSINE)
        both = np.argwhere(found & known[:, None] & known[None])
        return both[np.random.default_rng(0).permutation(len(both))[:PAIRS]]


def find_rotations(ball_views: BallViews, times: np.ndarray) -> np.ndarray | None:
    """Orientations at `times` `[J]` in 0..1, as unit quaternions `[J, 4]`, real part first; None where the part rests,
    or shows no paint that tells."""
    spin = find_spin(ball_views)
    if spin is not None:
        found = Rotation.from_rotvec(times[:, None] * spin)
    else:
        followed = track_rotation(ball_views)
        if followed is None:
            return None
        when = np.unique(ball_views.times).astype(float)
        found = Slerp(when, followed)(times.clip(when[0], when[-1]))
    return found.as_quat()[:, [3, 0, 1, 2]]


def find_spin(ball_views: BallViews) -> np.ndarray | None:
    """The steady spin `[3]` [rad in the window, about axes of the world] under which views agree all through the
    window; None where there is no such spin."""
    start = _first_rivals(ball_views, np.inf)
    if start is None:
        return None
    rivals, reach = start
    while reach < 1.0:
        before, reach = reach, min(reach * PAIR_TIME_GROWTH, 1.0)
        pairs = ball_views.pairs(0.5 * reach, reach)
        if len(pairs):
            near = _ball(2 * REFINED_SPACING * reach / before, REFINED_SPACING) / reach
            rivals = np.unique((rivals[:, None] + near[None]).reshape(-1, 3).round(6), axis=0)
            scores = ball_views.score(rivals, pairs)
            rivals = rivals[np.argsort(-scores)[: NUM_CANDIDATES[reach > 4 * before]]]
    if not len(pairs):
        return None
    turning, resting = ball_views.score(np.stack([rivals[0], np.zeros(3)]), pairs)
    return rivals[0] if turning > max(MIN_CORRELATION, resting + MIN_CORRELATION_GAIN) else None


def _first_rivals(seen: BallViews, until: float) -> tuple[np.ndarray, float] | None:
    """Spins under which views that follow one another agree best, those before `until` alone; and how far these are
    apart in time. None where no two see one side."""
    apart = np.diff(np.unique(seen.times))
    if not len(apart):
        return None
    reach = 1.3 * float(np.median(apart))
    pairs = seen.pairs(0.0, reach)
    pairs = pairs[seen.times[pairs[:, 1]] <= until][:FIRST_PAIRS]
    if not len(pairs):
        return None
    rivals = _ball(MAX_ROTATION, ROTATION_SPACING) / reach
    return rivals[np.argsort(-seen.score(rivals, pairs))[: NUM_CANDIDATES[0]]], reach


def track_rotation(seen: BallViews) -> Rotation | None:
    """Orientations at the T times of the views, each the one in which the part looks most like itself at times before,
    and then after, too; None where that is not much more than if it rested."""
    times = np.unique(seen.times)
    if len(times) < COMPARED_LAGS[3]:
        return None
    start = _first_rivals(seen, times[COMPARED_LAGS[3]])
    if start is None:
        return None
    views = [np.flatnonzero(seen.visible() & (seen.times == time)) for time in times]
    spin, found = start[0][0], [Rotation.identity()]
    for t in range(1, len(times)):
        wait = times[t] - times[t - 1]
        expected = Rotation.from_rotvec(spin * wait) * found[-1]
        rotation, score, _ = _aside(seen, views, t, [t - back for back in COMPARED_LAGS if back <= t], found, expected)
        if score > WEAK_CORRELATION:
            spin = (
                SPIN_SMOOTHING * spin
                + (1 - SPIN_SMOOTHING) * (rotation * expected * found[-1].inv()).as_rotvec() / wait
            )
        found.append(rotation * expected)
    scores = []
    for t in range(len(times)):  # once more, now that what comes later is known, too
        near = [t + step for back in COMPARED_LAGS for step in (-back, back) if 0 <= t + step < len(times)]
        rotation, score, resting = _aside(seen, views, t, near, found, found[t])
        found[t] = rotation * found[t]
        scores.append((score, resting))
    if np.isnan(scores).all(0).any():
        return None
    rotated, rested = np.nanmedian(scores, axis=0)
    return Rotation.concatenate(found) if rotated > max(MIN_CORRELATION, rested + MIN_CORRELATION_GAIN) else None


def _aside(
    seen: BallViews, views: Sequence[np.ndarray], t: int, near: Sequence[int], found: Sequence[Rotation],
    expected: Rotation,
) -> tuple[Rotation, float, float]:  # fmt: skip
    """How far the part is turned from where it is expected at time t, how well it then looks like itself at times
    `near`, and how well if it never turned; no turn and not numbers where nothing can be compared. `views`: which see
    it at each time."""
    none, toward = Rotation.identity(), seen.toward()
    some, firsts = [], []
    for other in near:
        if not len(views[other]) or not len(views[t]):
            continue
        first = expected * found[other].inv()
        rows, cols = np.nonzero(first.apply(toward[views[other]]) @ toward[views[t]].T > MIN_PAIR_COSINE)
        some.append(np.stack([views[other][rows], views[t][cols]], axis=-1))
        firsts += [first] * len(rows)
    if not firsts:
        return none, np.nan, np.nan
    pairs, first = np.concatenate(some), Rotation.concatenate(firsts)
    best = np.zeros(3)
    for reach, step in SEARCH_RANGES:
        tries = best + _ball(reach, step)
        scores = seen.score_rotations(tries, pairs, first)
        best = tries[scores.argmax()]
    if scores.max() <= WEAK_CORRELATION:
        return none, float(scores.max()), np.nan
    resting = seen.score_rotations(np.zeros((1, 3)), pairs, Rotation.identity(len(pairs)))
    return Rotation.from_rotvec(best), float(scores.max()), float(resting[0])


def _some(times: np.ndarray) -> np.ndarray:
    """Indices of the frames that are looked at: all of every time, or of every second one, ..."""
    _, which = np.unique(times, return_inverse=True)
    return np.flatnonzero(which % -(-len(times) // MAX_FRAMES) == 0)


def _ball(radius: float, step: float) -> np.ndarray:
    """`[M, 3]` points of a grid within `radius`, its middle among them."""
    line = step * np.arange(-int(radius / step), int(radius / step) + 1)
    points = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    return points[np.linalg.norm(points, axis=-1) <= radius + 1e-9]


@dataclass(frozen=True)
class _Patch:
    """A part's surroundings in one view: `camera` whose pixel `corner` `[2]` is the first of `paint [h, w]`, and the
    directions `normals [h, w, 3]` of what is seen there."""

    camera: Camera
    corner: np.ndarray
    paint: np.ndarray
    normals: np.ndarray


def _patch(image: np.ndarray, camera: Camera, centres: np.ndarray, radii: np.ndarray, k: int) -> _Patch | None:
    """Of part k; None where the view does not show it well. `image [H, W]`."""
    where, depth = camera.project(torch.from_numpy(centres).float())
    size = camera.fx * float(radii[k] / depth[k].clamp_min(1e-6))
    if float(depth[k]) <= radii[k]:
        return None
    factor = max(1, round(size / MAX_RADIUS_PIXELS))
    size /= factor
    small = camera.downscale(factor)
    middle = (where[k] / factor).numpy()
    low = np.maximum(np.floor(middle - size - 1), 0).astype(int)
    high = np.minimum(np.ceil(middle + size + 1), [small.width, small.height]).astype(int)
    if size < MIN_RADIUS_PIXELS or (high - low).min() < MIN_RADIUS_PIXELS:
        return None
    block = image[low[1] * factor : high[1] * factor, low[0] * factor : high[0] * factor]
    shape = (high[1] - low[1], factor, high[0] - low[0], factor)
    values = block.reshape(shape).mean((1, 3))
    normals, seen = _surface(small, low, values.shape, centres, radii, k)
    return _Patch(small, low, _contrast(values, seen, NEIGHBOURHOOD_RADIUS * size), normals)


def _surface(
    camera: Camera, low: np.ndarray, shape: tuple[int, ...], centres: np.ndarray, radii: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Directions from part k's centre `[h, w, 3]`, and whether pixels see it turned to them, and no other part before
    it `[h, w]`."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    at = np.stack([cols + low[0], rows + low[1]], -1) + 0.5
    rays = camera.rays(torch.from_numpy(at).float())
    to = rays.origins[..., None, :].numpy() - centres
    along = -(to * rays.directions[..., None, :].numpy()).sum(-1)
    inside = radii**2 - (to**2).sum(-1) + along**2
    near = np.where(inside > 0, along - np.sqrt(np.maximum(inside, 0)), np.inf)
    distance = np.where(np.isfinite(near[..., k]), near[..., k], 0.0)
    normals = (to[..., k, :] + distance[..., None] * rays.directions.numpy()) / radii[k]
    facing = -(normals * rays.directions.numpy()).sum(-1)
    return normals, (near.argmin(-1) == k) & (inside[..., k] > 0) & (facing > MIN_VIEW_COSINE)


def _contrast(values: np.ndarray, seen: np.ndarray, radius: float) -> np.ndarray:
    """Brightness against its surroundings in their spread; not a number where not seen."""
    weights = ndimage.gaussian_filter(seen.astype(float), radius) + 1e-6
    mean = ndimage.gaussian_filter(values * seen, radius) / weights
    spread = ndimage.gaussian_filter(values**2 * seen, radius) / weights - mean**2
    return np.where(seen, (values - mean) / np.sqrt(np.maximum(spread, 0) + NOISE_CONTRAST**2), np.nan)


def _ball_views(
    patches: Sequence[_Patch | None], times: np.ndarray, centres: np.ndarray, radius: float, rng: np.random.Generator
) -> BallViews:
    """Of one part."""
    count = len(patches)
    size = max([max(p.paint.shape) for p in patches if p is not None], default=1)
    paint, normals = np.full((count, size, size), np.nan), np.zeros((count, SAMPLES, 3))
    corners, pixels, values = np.zeros((count, 2)), np.ones((count, 4)), np.full((count, SAMPLES), np.nan)
    poses = np.tile(np.eye(4), (count, 1, 1))
    for i, patch in enumerate(patches):
        if patch is None:
            continue
        camera = patch.camera
        paint[i, : patch.paint.shape[0], : patch.paint.shape[1]] = patch.paint
        corners[i], pixels[i] = patch.corner, (camera.fx, camera.fy, camera.cx, camera.cy)
        poses[i] = camera.camera_to_world.numpy()
        rows, cols = np.nonzero(~np.isnan(patch.paint))
        if len(rows) < SAMPLES:
            continue
        picked = rng.permutation(len(rows))[:SAMPLES]
        normals[i] = patch.normals[rows[picked], cols[picked]]
        values[i] = patch.paint[rows[picked], cols[picked]]
    arrays = (times, centres, paint, corners, pixels, poses, normals, values)
    return BallViews(float(radius), *(x.astype(np.float32) for x in arrays))


@njit(cache=True, fastmath={"nsz", "arcp", "contract", "afn", "reassoc"})
def _agreement(
    vectors: Array, shares: Array, normals: Array, values: Array, others: np.ndarray, centres: Array, radius: float,
    paint: Array, corners: Array, pixels: Array, poses: Array, found: NDArray[np.float64],
) -> None:  # fmt: skip
    """Turns what P views see, `normals` `[P, S, 3]` and `values` `[P, S]`, by shares `[P]` of each rotation vector
    `[M, 3]`, and looks it up in others `[P]`: mean product of paint `[M]`."""
    for c in range(len(vectors)):
        total, count = 0.0, 0
        for q in range(len(others)):
            j = others[q]
            x, y, z = vectors[c, 0] * shares[q], vectors[c, 1] * shares[q], vectors[c, 2] * shares[q]
            angle = np.sqrt(x * x + y * y + z * z) + 1e-9
            cos, sin = np.cos(angle), np.sin(angle) / angle
            rest = (1 - cos) / (angle * angle)
            for p in range(normals.shape[1]):
                value = values[q, p]
                if np.isnan(value):
                    break
                a, b, d = normals[q, p]
                dot = rest * (x * a + y * b + z * d)
                na = a * cos + sin * (y * d - z * b) + dot * x
                nb = b * cos + sin * (z * a - x * d) + dot * y
                nd = d * cos + sin * (x * b - y * a) + dot * z
                pa = centres[j, 0] + radius * na - poses[j, 0, 3]
                pb = centres[j, 1] + radius * nb - poses[j, 1, 3]
                pd = centres[j, 2] + radius * nd - poses[j, 2, 3]
                if pa * na + pb * nb + pd * nd > -MIN_VIEW_COSINE * np.sqrt(pa * pa + pb * pb + pd * pd):
                    continue
                depth = poses[j, 0, 2] * pa + poses[j, 1, 2] * pb + poses[j, 2, 2] * pd
                if depth <= 0:
                    continue
                u = pixels[j, 0] * (poses[j, 0, 0] * pa + poses[j, 1, 0] * pb + poses[j, 2, 0] * pd) / depth
                v = pixels[j, 1] * (poses[j, 0, 1] * pa + poses[j, 1, 1] * pb + poses[j, 2, 1] * pd) / depth
                col = int(np.floor(u + pixels[j, 2] - corners[j, 0]))
                row = int(np.floor(v + pixels[j, 3] - corners[j, 1]))
                if col < 0 or row < 0 or col >= paint.shape[2] or row >= paint.shape[1]:
                    continue
                other = paint[j, row, col]
                if not np.isnan(other):
                    total += value * other
                    count += 1
        found[c] = total / max(count, 1)
