"""The light, and the plane on which shadows fall, found from the shadows of moving parts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.optimize import minimize

from foreseen.reconstruction.ball_configs import ShadowConfig
from foreseen.reconstruction.silhouettes import Silhouettes, SilhouetteView


@dataclass(frozen=True)
class ShadowLight:
    """A light, and a plane that shows its shadows on one side.

    Attributes:
        light: `[4]`: the direction from a point x to the light is `light[:3] - light[3] x` (a lamp at light[:3] /
            light[3], or, with 0, the sun).
        plane: `[4]`: points x with plane[:3] . x = plane[3]; the unit normal points to the side on which shadows are
            seen.
        growth: radii of the shadow casters over those of the parts.
        agreement: intersection over union of predicted and seen shadows.
    """

    light: np.ndarray
    plane: np.ndarray
    growth: float
    agreement: float


def shadow_pixels(views: Sequence[SilhouetteView], masks: Silhouettes, config: ShadowConfig) -> list[np.ndarray]:
    """`[h, w]` bool for each view: moving pixels that look like the static picture, but darker."""
    shadows = []
    for view, moving, static_image in zip(views, masks.moving, masks.static_images):
        ratio = np.moveaxis(view.image / np.maximum(static_image, config.min_brightness), -1, 0)
        share = ratio.mean(0)
        bright = np.moveaxis(static_image, -1, 0).min(0) > config.min_brightness
        same_hue = np.abs(ratio - share).max(0) < config.max_hue_change
        darker = (share > config.min_brightness_ratio) & (share < config.max_brightness_ratio)
        shadows.append(moving & same_hue & bright & darker)
    return shadows


def has_enough_shadows(shadows: Sequence[np.ndarray], masks: Silhouettes, config: ShadowConfig) -> bool:
    """Whether enough of the moving pixels are shadows to find a light."""
    shaded, moving = (sum(int(mask.sum()) for mask in per_view) for per_view in (shadows, masks.moving))
    return shaded > config.min_pixel_share * moving


def find_shadow_light(
    views: Sequence[SilhouetteView],
    masks: Silhouettes,
    shadows: Sequence[np.ndarray],
    centres: np.ndarray,
    radii: np.ndarray,
    bounds: np.ndarray,
    config: ShadowConfig,
) -> ShadowLight | None:
    """The light and the plane that explain the shadows best; None if none explains them well.

    Args:
        masks: without the shadows.
        shadows: `[h, w]` bool for each view.
        centres: `[V, K, 3]` of the parts in each view.
        radii: `[K]`.
        bounds: `[2, 3]` corners of the scene.
    """
    origins, directions, view_ids, shaded = _sample_rays(views, masks, shadows, config)

    def overlap(p: np.ndarray, chosen: slice = slice(None)) -> float:
        """Of a candidate `p` `[9]`: plane (normal, offset), light (4 numbers, see `ShadowLight`), growth."""
        plane, truth = np.append(_unit(p[:3]), p[3]), shaded[chosen]
        predicted = _predict_shadow(
            origins[chosen], directions[chosen], centres[view_ids[chosen]], radii * p[8], plane, p[4:8],
            config.edge_width,
        )  # fmt: skip
        return float((predicted * truth).sum() / (predicted + truth - predicted * truth).sum())

    few = slice(0, None, config.guess_stride)
    guesses = sorted(((overlap(p, few), i, p) for i, p in enumerate(_guesses(bounds, config))), reverse=True)
    refined = [_refine(overlap, guess, bounds, config) for _, _, guess in guesses[: config.num_refined]]
    agreement, p = max(refined, key=lambda pair: pair[0])
    if agreement < config.min_overlap:
        return None
    return ShadowLight(p[4:8] / np.linalg.norm(p[4:7]), np.append(_unit(p[:3]), p[3]), float(p[8]), agreement)


def _refine(
    overlap: Callable[[np.ndarray], float], guess: np.ndarray, bounds: np.ndarray, config: ShadowConfig
) -> tuple[float, np.ndarray]:
    """The best overlap near a guess, and the candidate that has it."""
    options = {"maxiter": config.iterations, "initial_simplex": _simplex(guess, bounds, config)}
    best = minimize(lambda p: -overlap(p), guess, method="Nelder-Mead", options=options)
    return -float(best.fun), best.x


def _guesses(bounds: np.ndarray, config: ShadowConfig) -> list[np.ndarray]:
    """Candidates `[9]`: planes across each axis of the scene, lit by suns from above."""
    guesses = []
    for axis, sign in itertools.product(range(3), (1, -1)):
        normal = np.eye(3)[axis] * sign
        sides = [np.eye(3)[(axis + k) % 3] for k in (1, 2)]
        for offset in np.linspace(bounds[0, axis], bounds[1, axis], config.offsets):
            for tilt in config.tilts:
                for azimuth in np.arange(config.azimuths if tilt else 1) * (2 * np.pi / config.azimuths):
                    light = np.cos(tilt) * normal + np.sin(tilt) * (
                        np.cos(azimuth) * sides[0] + np.sin(azimuth) * sides[1]
                    )
                    guesses.append(np.concatenate([normal, [sign * offset], light, [0.0], [config.growth]]))
    return guesses


def _simplex(p: np.ndarray, bounds: np.ndarray, config: ShadowConfig) -> np.ndarray:
    """`[10, 9]` candidates around `p`, from which the refinement starts."""
    size = float(np.ptp(bounds, axis=0).max())
    normal, light = [config.normal_step] * 3, [config.light_step] * 3
    steps = np.array([*normal, config.offset_step * size, *light, config.point_light_step / size, config.growth_step])
    return np.concatenate([p[None], p + np.diag(steps)])


def _sample_rays(
    views: Sequence[SilhouetteView], masks: Silhouettes, shadows: Sequence[np.ndarray], config: ShadowConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rays of shadow pixels and of other static ones: origins and directions `[P, 3]`, indices of their views `[P]`,
    and whether they are shaded `[P]`, 0 or 1."""
    per_kind, rng = config.max_pixels // (3 * len(views)) + 1, np.random.default_rng(0)
    origins, directions, view_ids, shaded = [], [], [], []
    for i, (view, moving, shadow) in enumerate(zip(views, masks.moving, shadows)):
        near = ndimage.binary_dilation(shadow, iterations=config.nearby_pixels)
        lit = ~shadow & ~moving
        for wanted, value in ((shadow, 1.0), (lit & near, 0.0), (lit & ~near, 0.0)):
            rows, cols = np.nonzero(wanted)
            if not len(rows):
                continue
            picked = rng.choice(len(rows), min(per_kind, len(rows)), replace=False)
            rays = view.camera.rays(torch.from_numpy(np.stack([cols[picked], rows[picked]], -1) + 0.5).float())
            origins.append(rays.origins.numpy())
            directions.append(rays.directions.numpy())
            view_ids.append(np.full(len(picked), i))
            shaded.append(np.full(len(picked), value))
    arrays = [np.concatenate(x) for x in (origins, directions, view_ids, shaded)]
    return arrays[0], arrays[1], arrays[2], arrays[3]


def _predict_shadow(
    origins: np.ndarray,
    directions: np.ndarray,
    centres: np.ndarray,
    radii: np.ndarray,
    plane: np.ndarray,
    light: np.ndarray,
    edge_width: float,
) -> np.ndarray:
    """`[P]` 0..1: how far rays meet the plane in the shadow of a ball: `centres` `[P, K, 3]`, `radii` `[K]`."""
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
    inside = 1 / (1 + np.exp(-np.clip((radii - beside) / (edge_width * radii), -30, 30)))
    visible = (above > 0) & (t > 0)
    return np.where(visible, (inside * (along > 0)).max(-1), 0.0)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
