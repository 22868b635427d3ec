"""Which ball is which, told by colour: where two meet, their tracks may go on as each other's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from foreseen.reconstruction.visual_hull import SilhouetteView

COLOR_RADIUS = 0.8
"""Colours are those within so many radii."""
MIN_PIXELS = 8
"""Pixels of a part that tell its colour in one view."""
NEIGHBOUR_TIMES = 2
"""Times before and after that are looked at together."""
MIN_COLOR_GAIN = 0.05
"""Parts change places where their colours then are nearer to their usual ones by so much a part."""


def find_identity_swaps(
    views: Sequence[SilhouetteView], times: np.ndarray, positions: np.ndarray, radii: np.ndarray
) -> np.ndarray:
    """`[T, K]`: which part stands where part k was thought to be, at `times` `[T]`; `positions` `[T, K, 3]`, `radii`
    `[K]`."""
    when = np.searchsorted(times, [view.time for view in views])
    seen = np.stack([_colors(view, positions[t], radii) for view, t in zip(views, when)])
    parts = np.arange(len(radii))
    known = ~np.isnan(seen[..., 0])
    if not known.any(0).all():
        return np.tile(parts, (len(times), 1))
    typical = np.stack([np.median(seen[known[:, k], k], axis=0) for k in parts])
    found = []
    for t in range(len(times)):
        near = seen[np.abs(when - t) <= NEIGHBOUR_TIMES]
        apart = np.linalg.norm(near[:, :, None] - typical, axis=-1)
        cost = np.where(np.isnan(apart).all(0), 0.0, np.nan_to_num(apart).sum(0) / np.maximum((apart >= 0).sum(0), 1))
        order = linear_sum_assignment(cost)[1]
        gain = cost[parts, parts].sum() - cost[parts, order].sum()
        found.append(order if gain > MIN_COLOR_GAIN * (order != parts).sum() else parts)
    return np.stack(found)


def _colors(view: SilhouetteView, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """`[K, 3]`: mean colours where one part, and no nearer one, is seen; not a number where none is."""
    pixels, depth = (x.numpy() for x in view.camera.project(torch.from_numpy(centres).float()))
    sizes = view.camera.fx * radii / np.maximum(depth, 1e-6)
    rows, cols = np.mgrid[: view.camera.height, : view.camera.width] + 0.5
    far = np.hypot(cols[..., None] - pixels[:, 0], rows[..., None] - pixels[:, 1]) / sizes
    covered = (far < 1) & (depth > 0)
    first = np.where(covered, depth, np.inf).argmin(-1)
    found = np.full((len(radii), 3), np.nan)
    for k in range(len(radii)):
        mine = covered[..., k] & (first == k) & (far[..., k] < COLOR_RADIUS)
        if mine.sum() >= MIN_PIXELS:
            found[k] = view.image[mine].mean(0)
    return found
