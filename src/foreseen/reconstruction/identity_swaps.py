"""Which ball is which, by colour: where two balls meet, their tracks may be swapped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from foreseen.reconstruction.ball_configs import IdentityConfig
from foreseen.reconstruction.silhouettes import SilhouetteView


def find_identity_swaps(
    views: Sequence[SilhouetteView],
    times: np.ndarray,
    positions: np.ndarray,
    radii: np.ndarray,
    config: IdentityConfig,
) -> np.ndarray:
    """`[T, K]`: the ball that is really at the position of track k at each time.

    Args:
        times: `[T]`, those of the views.
        positions: `[T, K, 3]` of the tracks.
        radii: `[K]`.
    """
    view_times = np.searchsorted(times, [view.time for view in views])
    colors = np.stack([_colors(view, positions[t], radii, config) for view, t in zip(views, view_times)])
    balls = np.arange(len(radii))
    seen = ~np.isnan(colors[..., 0])
    if not seen.any(0).all():
        return np.tile(balls, (len(times), 1))
    usual = np.stack([np.median(colors[seen[:, k], k], axis=0) for k in balls])
    identities = []
    for t in range(len(times)):
        near = colors[np.abs(view_times - t) <= config.neighbour_times]
        apart = np.linalg.norm(near[:, :, None] - usual, axis=-1)
        cost = np.where(np.isnan(apart).all(0), 0.0, np.nan_to_num(apart).sum(0) / np.maximum((apart >= 0).sum(0), 1))
        order = linear_sum_assignment(cost)[1]
        gain = cost[balls, balls].sum() - cost[balls, order].sum()
        identities.append(order if gain > config.min_color_gain * (order != balls).sum() else balls)
    return np.stack(identities)


def _colors(view: SilhouetteView, centres: np.ndarray, radii: np.ndarray, config: IdentityConfig) -> np.ndarray:
    """`[K, 3]`: mean colour where a ball is seen with no nearer one before it; NaN where it is not seen."""
    pixels, depth = (x.numpy() for x in view.camera.project(torch.from_numpy(centres).float()))
    sizes = view.camera.fx * radii / np.maximum(depth, 1e-6)
    rows, cols = np.mgrid[: view.camera.height, : view.camera.width] + 0.5
    distances = np.hypot(cols[..., None] - pixels[:, 0], rows[..., None] - pixels[:, 1]) / sizes
    covered = (distances < 1) & (depth > 0)
    first = np.where(covered, depth, np.inf).argmin(-1)
    colors = np.full((len(radii), 3), np.nan)
    for k in range(len(radii)):
        own = covered[..., k] & (first == k) & (distances[..., k] < config.color_radius)
        if own.sum() >= config.min_pixels:
            colors[k] = view.image[own].mean(0)
    return colors
