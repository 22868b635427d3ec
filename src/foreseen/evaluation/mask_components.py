"""Connected components of a mask, and how far they move from one frame to the next."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

MAX_GAP_PIXELS = 3
"""Gaps narrower than this many pixels do not split a component; larger joins more."""


@dataclass(frozen=True)
class MaskComponents:
    """The connected components of a mask.

    Attributes:
        labels: `[H, W]` int: 0 outside, components from 1 on.
        areas: `[P]` pixels.
        centroids: `[P, 2]` mean pixel centres (x, y).
    """

    labels: np.ndarray
    areas: np.ndarray
    centroids: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """`[H, W]` bool."""
        return self.labels > 0

    @property
    def centroid(self) -> np.ndarray:
        """`[2]` of all components together; NaN where there is none."""
        if len(self.areas) == 0:
            return np.full(2, np.nan)
        return (self.areas[:, None] * self.centroids).sum(0) / self.areas.sum()


def connected_components(mask: np.ndarray, min_pixels: float) -> MaskComponents:
    """The components of a mask `[H, W]` bool that have `min_pixels` pixels or more. Pixels that touch by a corner, or
    across a gap that `MAX_GAP_PIXELS` closes, are one component; pixels of the gap do not count."""
    padded = cv2.copyMakeBorder(
        mask.astype(np.uint8),
        MAX_GAP_PIXELS,
        MAX_GAP_PIXELS,
        MAX_GAP_PIXELS,
        MAX_GAP_PIXELS,
        cv2.BORDER_CONSTANT,
        value=(0,),
    )
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((MAX_GAP_PIXELS, MAX_GAP_PIXELS), np.uint8))
    _, labels = cv2.connectedComponents(
        closed[MAX_GAP_PIXELS:-MAX_GAP_PIXELS, MAX_GAP_PIXELS:-MAX_GAP_PIXELS], connectivity=8
    )
    labels = np.where(mask, labels, 0)
    rows, columns = np.nonzero(labels)
    which = labels[rows, columns]
    areas = np.bincount(which, minlength=1)
    kept = [int(k) for k in np.flatnonzero(areas >= max(min_pixels, 1)) if k > 0]
    renamed = np.zeros(len(areas), dtype=int)
    renamed[kept] = np.arange(1, len(kept) + 1)
    sums = np.stack([np.bincount(which, weights=w + 0.5, minlength=1) for w in (columns, rows)], -1)
    return MaskComponents(renamed[labels], areas[kept], sums[kept].reshape(-1, 2) / areas[kept][:, None])


def second_differences(centroids: np.ndarray) -> list[float]:
    """Lengths of the second differences of `[T, 2]`, where three consecutive rows are finite."""
    second = np.linalg.norm(centroids[2:] - 2 * centroids[1:-1] + centroids[:-2], axis=-1)
    return second[np.isfinite(second)].tolist()


def hausdorff_distance(before: np.ndarray, after: np.ndarray) -> float:
    """Hausdorff distance of two masks [pixels]: the largest distance of a pixel of one mask from the other mask.

    Infinite where one of them is empty, 0 where both are.
    """
    if not before.any() or not after.any():
        return 0.0 if before.any() == after.any() else float("inf")
    return max(_farthest(before, after), _farthest(after, before))


def _farthest(mask: np.ndarray, other: np.ndarray) -> float:
    return float(cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[mask].max())
