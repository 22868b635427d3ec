"""Views of one ball, and how well the textures of pairs of views correlate if the ball is rotated between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from foreseen.data.types import Frame
from foreseen.geometry.cameras import Camera
from foreseen.reconstruction.ball_configs import RotationConfig

Array = NDArray[np.float32]


@dataclass(frozen=True)
class BallViews:
    """N views of one ball. Texture is locally normalised brightness; NaN where the ball is not visible.

    Attributes:
        config: settings of the texture and of its comparison.
        radius: of the ball, in scene units.
        times: `[N]`, 0..1.
        centres: `[N, 3]` of the ball, in scene units.
        texture: `[N, C, C]`: a patch of each view around the ball.
        corners: `[N, 2]`: pixel of each patch's first corner.
        intrinsics: `[N, 4]`: fx, fy, cx, cy [px].
        poses: `[N, 4, 4]`: camera_to_world.
        normals, values: `[N, S, 3]` and `[N, S]`: unit vectors from the centre, and texture, of some pixels; NaN
            where a view has too few.
    """

    config: RotationConfig
    radius: float
    times: Array
    centres: Array
    texture: Array
    corners: Array
    intrinsics: Array
    poses: Array
    normals: Array
    values: Array

    @staticmethod
    def of(
        frames: Sequence[Frame], times: np.ndarray, centres: np.ndarray, radii: np.ndarray, config: RotationConfig
    ) -> list[BallViews]:
        """The views of each of K balls.

        Args:
            times: `[N]` of the frames, in 0..1.
            centres: `[N, K, 3]`.
            radii: `[K]`.
        """
        chosen = _choose_frames(times, config.max_frames)
        patches = []
        for i in chosen:
            image = frames[i].image().mean(-1).numpy()
            patches.append([_patch(image, frames[i].camera, centres[i], radii, k, config) for k in range(len(radii))])
        rng = np.random.default_rng(0)
        return [
            _ball_views([patch[k] for patch in patches], times[chosen], centres[chosen, k], radius, config, rng)
            for k, radius in enumerate(radii)
        ]

    def score(self, spins: np.ndarray, pairs: np.ndarray) -> NDArray[np.float64]:
        """`[M]`: correlation of pairs of views `[P, 2]` if the ball rotates with the constant angular velocity `spins`
        `[M, 3]` [rad per window]."""
        intervals = self.times[pairs[:, 1]] - self.times[pairs[:, 0]]
        return self._correlation(spins, intervals, pairs, Rotation.identity(len(pairs)))

    def score_rotations(self, rotations: np.ndarray, pairs: np.ndarray, relative: Rotation) -> NDArray[np.float64]:
        """`[M]`: correlation of pairs of views, after the ball of each pair's first view was rotated by `relative` (one
        rotation for each pair) and then by one of the rotation vectors `rotations` `[M, 3]`."""
        return self._correlation(rotations, np.ones(len(pairs)), pairs, relative)

    def _correlation(
        self, vectors: np.ndarray, factors: np.ndarray, pairs: np.ndarray, relative: Rotation
    ) -> NDArray[np.float64]:
        result = np.zeros(len(vectors))
        rotated = np.einsum("pij,psj->psi", relative.as_matrix(), self.normals[pairs[:, 0]])
        vectors, factors, rotated = (np.ascontiguousarray(x, np.float32) for x in (vectors, factors, rotated))
        _correlations(
            vectors, factors, rotated, self.values[pairs[:, 0]], pairs[:, 1], self.centres, np.float32(self.radius),
            self.texture, self.corners, self.intrinsics, self.poses, self.config.min_view_cosine, result,
        )  # fmt: skip
        return result

    def camera_directions(self) -> np.ndarray:
        """`[N, 3]`: unit vectors from the ball to the cameras."""
        offsets = self.poses[:, :3, 3] - self.centres
        return offsets / np.linalg.norm(offsets, axis=-1, keepdims=True)

    def visible(self) -> np.ndarray:
        """`[N]` bool: which views show the ball."""
        return ~np.isnan(self.values[:, 0])

    def pairs(self, min_time: float, max_time: float) -> np.ndarray:
        """`[P, 2]`: pairs of views, the earlier one first, that show the same side of the ball, with a time difference
        in `min_time..max_time`. A random choice, in random order, if there are too many."""
        directions, visible = self.camera_directions(), self.visible()
        intervals = self.times[None] - self.times[:, None]
        same_side = directions @ directions.T > self.config.min_pair_cosine
        is_pair = (intervals > 0) & (intervals >= min_time) & (intervals <= max_time) & same_side
        pairs = np.argwhere(is_pair & visible[:, None] & visible[None])
        return pairs[np.random.default_rng(0).permutation(len(pairs))[: self.config.max_pairs]]


def _choose_frames(times: np.ndarray, max_frames: int) -> np.ndarray:
    """Indices of frames: all frames of every n-th time, with n such that there are about `max_frames`."""
    _, time_indices = np.unique(times, return_inverse=True)
    return np.flatnonzero(time_indices % -(-len(times) // max_frames) == 0)


@dataclass(frozen=True)
class _BallPatch:
    """A ball's surroundings in one view.

    Attributes:
        camera: of the view, at the patch's resolution.
        corner: `[2]`: the camera's pixel at the patch's first corner.
        texture: `[h, w]`.
        normals: `[h, w, 3]`: unit normals of the ball at the visible points.
    """

    camera: Camera
    corner: np.ndarray
    texture: np.ndarray
    normals: np.ndarray


def _patch(
    image: np.ndarray, camera: Camera, centres: np.ndarray, radii: np.ndarray, k: int, config: RotationConfig
) -> _BallPatch | None:
    """The patch of ball k in an `image` `[H, W]`; None where the ball is too small or not in the picture."""
    pixels, depth = camera.project(torch.from_numpy(centres).float())
    size = camera.fx * float(radii[k] / depth[k].clamp_min(1e-6))
    if float(depth[k]) <= radii[k]:
        return None
    factor = max(1, round(size / config.max_radius_pixels))
    size /= factor
    small = camera.downscale(factor)
    centre = (pixels[k] / factor).numpy()
    low = np.maximum(np.floor(centre - size - 1), 0).astype(int)
    high = np.minimum(np.ceil(centre + size + 1), [small.width, small.height]).astype(int)
    if size < config.min_radius_pixels or (high - low).min() < config.min_radius_pixels:
        return None
    block = image[low[1] * factor : high[1] * factor, low[0] * factor : high[0] * factor]
    shape = (high[1] - low[1], factor, high[0] - low[0], factor)
    values = block.reshape(shape).mean((1, 3))
    normals, visible = _surface(small, low, values.shape, centres, radii, k, config.min_view_cosine)
    texture = _normalised(values, visible, config.neighbourhood_radius * size, config.noise_contrast)
    return _BallPatch(small, low, texture, normals)


def _surface(
    camera: Camera,
    corner: np.ndarray,
    shape: tuple[int, ...],
    centres: np.ndarray,
    radii: np.ndarray,
    k: int,
    min_cosine: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Intersects the rays of a patch's pixels with the balls: unit normals `[h, w, 3]` of ball k; and the mask `[h, w]`
    of the pixels that show ball k, not at a grazing angle, and without another ball in front."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    pixels = np.stack([cols + corner[0], rows + corner[1]], -1) + 0.5
    rays = camera.rays(torch.from_numpy(pixels).float())
    offsets = rays.origins[..., None, :].numpy() - centres
    closest = -(offsets * rays.directions[..., None, :].numpy()).sum(-1)
    discriminant = radii**2 - (offsets**2).sum(-1) + closest**2
    hits = np.where(discriminant > 0, closest - np.sqrt(np.maximum(discriminant, 0)), np.inf)
    distance = np.where(np.isfinite(hits[..., k]), hits[..., k], 0.0)
    normals = (offsets[..., k, :] + distance[..., None] * rays.directions.numpy()) / radii[k]
    facing = -(normals * rays.directions.numpy()).sum(-1)
    return normals, (hits.argmin(-1) == k) & (discriminant[..., k] > 0) & (facing > min_cosine)


def _normalised(values: np.ndarray, visible: np.ndarray, radius: float, noise: float) -> np.ndarray:
    """Brightness `[h, w]` minus its local mean, divided by its local standard deviation (with `noise` added). NaN where
    not visible."""
    weights = ndimage.gaussian_filter(visible.astype(float), radius) + 1e-6
    mean = ndimage.gaussian_filter(values * visible, radius) / weights
    variance = ndimage.gaussian_filter(values**2 * visible, radius) / weights - mean**2
    return np.where(visible, (values - mean) / np.sqrt(np.maximum(variance, 0) + noise**2), np.nan)


def _ball_views(
    patches: Sequence[_BallPatch | None],
    times: np.ndarray,
    centres: np.ndarray,
    radius: float,
    config: RotationConfig,
    rng: np.random.Generator,
) -> BallViews:
    """The views of one ball, from its patch in each view."""
    count, samples = len(patches), config.samples
    size = max([max(p.texture.shape) for p in patches if p is not None], default=1)
    texture, normals = np.full((count, size, size), np.nan), np.zeros((count, samples, 3))
    corners, intrinsics, values = np.zeros((count, 2)), np.ones((count, 4)), np.full((count, samples), np.nan)
    poses = np.tile(np.eye(4), (count, 1, 1))
    for i, patch in enumerate(patches):
        if patch is None:
            continue
        camera = patch.camera
        texture[i, : patch.texture.shape[0], : patch.texture.shape[1]] = patch.texture
        corners[i], intrinsics[i] = patch.corner, (camera.fx, camera.fy, camera.cx, camera.cy)
        poses[i] = camera.camera_to_world.numpy()
        rows, cols = np.nonzero(~np.isnan(patch.texture))
        if len(rows) < samples:
            continue
        picked = rng.permutation(len(rows))[:samples]
        normals[i] = patch.normals[rows[picked], cols[picked]]
        values[i] = patch.texture[rows[picked], cols[picked]]
    arrays = (times, centres, texture, corners, intrinsics, poses, normals, values)
    return BallViews(config, float(radius), *(x.astype(np.float32) for x in arrays))


@njit(cache=True, fastmath={"nsz", "arcp", "contract", "afn", "reassoc"})
def _correlations(
    vectors: Array, factors: Array, normals: Array, values: Array, others: np.ndarray, centres: Array, radius: float,
    texture: Array, corners: Array, intrinsics: Array, poses: Array, min_cosine: float, result: NDArray[np.float64],
) -> None:  # fmt: skip
    """Rotates the surface points of P views, `normals` `[P, S, 3]` with texture `values` `[P, S]`, by each rotation
    vector `[M, 3]` times `factors` `[P]`, projects them into the views `others` `[P]`, and writes the mean product of
    both textures to `result` `[M]`."""
    for c in range(len(vectors)):
        total, count = 0.0, 0
        for q in range(len(others)):
            j = others[q]
            x, y, z = vectors[c, 0] * factors[q], vectors[c, 1] * factors[q], vectors[c, 2] * factors[q]
            angle = np.sqrt(x * x + y * y + z * z) + 1e-9
            cos, sin = np.cos(angle), np.sin(angle) / angle
            cos_factor = (1 - cos) / (angle * angle)
            for p in range(normals.shape[1]):
                value = values[q, p]
                if np.isnan(value):
                    break
                a, b, d = normals[q, p]
                dot = cos_factor * (x * a + y * b + z * d)
                na = a * cos + sin * (y * d - z * b) + dot * x
                nb = b * cos + sin * (z * a - x * d) + dot * y
                nd = d * cos + sin * (x * b - y * a) + dot * z
                pa = centres[j, 0] + radius * na - poses[j, 0, 3]
                pb = centres[j, 1] + radius * nb - poses[j, 1, 3]
                pd = centres[j, 2] + radius * nd - poses[j, 2, 3]
                if pa * na + pb * nb + pd * nd > -min_cosine * np.sqrt(pa * pa + pb * pb + pd * pd):
                    continue
                depth = poses[j, 0, 2] * pa + poses[j, 1, 2] * pb + poses[j, 2, 2] * pd
                if depth <= 0:
                    continue
                u = intrinsics[j, 0] * (poses[j, 0, 0] * pa + poses[j, 1, 0] * pb + poses[j, 2, 0] * pd) / depth
                v = intrinsics[j, 1] * (poses[j, 0, 1] * pa + poses[j, 1, 1] * pb + poses[j, 2, 1] * pd) / depth
                col = int(np.floor(u + intrinsics[j, 2] - corners[j, 0]))
                row = int(np.floor(v + intrinsics[j, 3] - corners[j, 1]))
                if col < 0 or row < 0 or col >= texture.shape[2] or row >= texture.shape[1]:
                    continue
                other = texture[j, row, col]
                if not np.isnan(other):
                    total += value * other
                    count += 1
        result[c] = total / max(count, 1)
