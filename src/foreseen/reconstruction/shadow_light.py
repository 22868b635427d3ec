"""Where the light comes from and on which plane shadows fall, found from the shadows of moving parts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.optimize import minimize

from foreseen.reconstruction.visual_hull import Silhouettes, SilhouetteView

MIN_SHADOW_SHARE, MAX_SHADOW_SHARE = 0.15, 0.97
"""A shadow leaves this much of what is seen without it, ..."""
MAX_HUE_CHANGE = 0.1
"""... by the same factor in all colours, to within this: what lights a shadow may have a hue of its own."""
MIN_BRIGHTNESS = 0.1
"""What is darker than this at rest shows no shadow."""
MIN_SHADOW_PIXELS = 0.04
"""Share of the moving pixels that must be shadow."""
PIXELS = 6000
"""Pixels that a light is tried on."""
GUESS_STRIDE = 5
"""Guesses are tried on every so-many-th of them."""
NEARBY_PIXELS = 8
"""Pixels around a shadow from which half of the others are drawn."""
EDGE_WIDTH = 0.1
"""Edge of the shadows that are tried, in radii."""
OFFSETS = 24
"""Places of the plane that are tried along each axis."""
TILTS = (0.0, 0.35, 0.7)
"""Angles of the light to the plane's normal that are tried [rad], ..."""
AZIMUTHS = 8
"""... each in so many directions."""
ITERATIONS = 600
"""Steps of the improvement."""
NUM_REFINED = 4
"""So many of the best are improved."""
MIN_OVERLAP = 0.6
"""A light counts as found where what it foretells and the shadows overlap so far (intersection over union)."""


@dataclass(frozen=True)
class ShadowLight:
    """A light, and a plane that shows its shadows from one side.

    Attributes:
        light: `[4]`: the direction from a point x to the light is `light[:3] - light[3] x` (a lamp at light[:3] /
            light[3], or, with 0, the sun).
        plane: `[4]`: points x with plane[:3] . x = plane[3]; the unit normal points to where shadows are seen from.
        growth: radii of the shadows' casters over those of the parts.
        agreement: intersection over union of what this foretells and the shadows.
    """

    light: np.ndarray
    plane: np.ndarray
    growth: float
    agreement: float


def shadow_pixels(views: list[SilhouetteView], masks: Silhouettes) -> list[np.ndarray]:
    """`[h, w]` bool for each view: what changes and is seen as at rest, but darker."""
    found = []
    for view, moving, still in zip(views, masks.moving, masks.static_images):
        ratio = np.moveaxis(view.image / np.maximum(still, MIN_BRIGHTNESS), -1, 0)
        share = ratio.mean(0)
        alike = (np.abs(ratio - share).max(0) < MAX_HUE_CHANGE) & (np.moveaxis(still, -1, 0).min(0) > MIN_BRIGHTNESS)
        found.append(moving & alike & (share > MIN_SHADOW_SHARE) & (share < MAX_SHADOW_SHARE))
    return found


def has_enough_shadows(shadows: list[np.ndarray], masks: Silhouettes) -> bool:
    """Whether shadows make up a share of what changes from which a light can be told."""
    shaded, changed = (sum(int(mask.sum()) for mask in some) for some in (shadows, masks.moving))
    return shaded > MIN_SHADOW_PIXELS * changed


def find_shadow_light(
    views: list[SilhouetteView],
    masks: Silhouettes,
    shadows: list[np.ndarray],
    centres: np.ndarray,
    radii: np.ndarray,
    bounds: np.ndarray,
) -> ShadowLight | None:
    """The light and the plane that explain the shadows best; None where none does.

    Args:
        masks: without the shadows.
        centres: `[V, K, 3]` of the parts in each view.
        radii: `[K]`.
    """
    origins, directions, view, shaded = _rays(views, masks, shadows)

    def overlap(p: np.ndarray, some: slice = slice(None)) -> float:
        plane, truth = np.append(_unit(p[:3]), p[3]), shaded[some]
        lit = _shade(origins[some], directions[some], centres[view[some]], radii * p[8], plane, p[4:8])
        return float((lit * truth).sum() / (lit + truth - lit * truth).sum())

    few = slice(0, None, GUESS_STRIDE)
    tries = sorted(((overlap(p, few), i, p) for i, p in enumerate(_guesses(bounds))), reverse=True)
    improved = [_optimize(overlap, guess, bounds) for _, _, guess in tries[:NUM_REFINED]]
    agreement, p = max(improved, key=lambda one: one[0])
    if agreement < MIN_OVERLAP:
        return None
    return ShadowLight(p[4:8] / np.linalg.norm(p[4:7]), np.append(_unit(p[:3]), p[3]), float(p[8]), agreement)


def _optimize(
    overlap: Callable[[np.ndarray], float], guess: np.ndarray, bounds: np.ndarray
) -> tuple[float, np.ndarray]:
    """The best overlap that is near, and where it is."""
    options = {"maxiter": ITERATIONS, "initial_simplex": _around(guess, bounds)}
    found = minimize(lambda p: -overlap(p), guess, method="Nelder-Mead", options=options)
    return -float(found.fun), found.x


def _guesses(bounds: np.ndarray) -> list[np.ndarray]:
    found = []
    for axis, sign in itertools.product(range(3), (1, -1)):
        normal = np.eye(3)[axis] * sign
        sides = [np.eye(3)[(axis + k) % 3] for k in (1, 2)]
        for place in np.linspace(bounds[0, axis], bounds[1, axis], OFFSETS):
            for tilt in TILTS:
                for rotation in np.arange(AZIMUTHS if tilt else 1) * (2 * np.pi / AZIMUTHS):
                    light = np.cos(tilt) * normal + np.sin(tilt) * (
                        np.cos(rotation) * sides[0] + np.sin(rotation) * sides[1]
                    )
                    found.append(np.concatenate([normal, [sign * place], light, [0.0], [0.9]]))
    return found


def _around(p: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    size = float(np.ptp(bounds, axis=0).max())
    steps = np.array([0.1, 0.1, 0.1, 0.03 * size, 0.15, 0.15, 0.15, 0.3 / size, 0.1])
    return np.concatenate([p[None], p + np.diag(steps)])


def _rays(
    views: list[SilhouetteView], masks: Silhouettes, shadows: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of shadow pixels and of others that no part hides: origins and directions `[P, 3]`, views `[P]`, and whether they
    are shaded `[P]`."""
    each, rng = PIXELS // (3 * len(views)) + 1, np.random.default_rng(0)
    origins, directions, which, shaded = [], [], [], []
    for i, (view, moving, dark) in enumerate(zip(views, masks.moving, shadows)):
        near, free = ndimage.binary_dilation(dark, iterations=NEARBY_PIXELS), ~dark & ~moving
        for wanted, value in ((dark, 1.0), (free & near, 0.0), (free & ~near, 0.0)):
            rows, cols = np.nonzero(wanted)
            if not len(rows):
                continue
            picked = rng.choice(len(rows), min(each, len(rows)), replace=False)
            rays = view.camera.rays(torch.from_numpy(np.stack([cols[picked], rows[picked]], -1) + 0.5).float())
            origins.append(rays.origins.numpy())
            directions.append(rays.directions.numpy())
            which.append(np.full(len(picked), i))
            shaded.append(np.full(len(picked), value))
    found = [np.concatenate(x) for x in (origins, directions, which, shaded)]
    return found[0], found[1], found[2], found[3]


def _shade(
    origins: np.ndarray,
    directions: np.ndarray,
    centres: np.ndarray,
    radii: np.ndarray,
    plane: np.ndarray,
    light: np.ndarray,
) -> np.ndarray:
    """`[P]` 0..1: how far rays end in a shadow of one of the spheres `centres` `[P, K, 3]` of `radii` `[K]`."""
    normal, offset = plane[:3], plane[3]
    above = origins @ normal - offset
    slope = directions @ normal
    t = -above / np.where(np.abs(slope) < 1e-9, 1e-9, slope)
    points = origins + t[:, None] * directions
    toward = light[:3] - light[3] * points
    toward = toward / np.maximum(np.linalg.norm(toward, axis=-1, keepdims=True), 1e-9)
    to = centres - points[:, None]
    along = np.einsum("pkc,pc->pk", to, toward)
    beside = np.sqrt(np.maximum((to**2).sum(-1) - along**2, 0))
    inside = 1 / (1 + np.exp(-np.clip((radii - beside) / (EDGE_WIDTH * radii), -30, 30)))
    seen = (above > 0) & (t > 0)
    return np.where(seen, (inside * (along > 0)).max(-1), 0.0)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
