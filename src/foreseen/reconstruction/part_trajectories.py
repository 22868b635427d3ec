"""Smooth trajectories of rigid parts, fitted to hulls or to the rays through their silhouettes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from foreseen.nn.splines import UniformBSpline
from foreseen.reconstruction.config import PartsConfig, ReconstructionConfig
from foreseen.reconstruction.hull_tracks import HullTrack
from foreseen.reconstruction.silhouettes import Silhouettes, SilhouetteView
from foreseen.reconstruction.spline_fitting import fit_spline
from foreseen.reconstruction.track_rotations import rotations_of_track
from foreseen.reconstruction.visual_hull import are_synchronised


@dataclass(frozen=True)
class RigidPart:
    """A moving part.

    Attributes:
        controls: `[n, 3]` B-spline control points of its centre, over times 0..1.
        rotations: `[n, 3]` control points of its rotation vector.
        radius: of a sphere around it, in scene units; its own radius if it is a ball.
        is_round: it is a ball: its silhouettes do not show how it rotates.
    """

    controls: np.ndarray
    rotations: np.ndarray
    radius: float
    is_round: bool = False


@dataclass(frozen=True)
class PartDetection:
    """What one view shows of one part.

    Attributes:
        origin, direction: `[3]`: ray through the centroid of the part's pixels.
        radius: of the part, in scene units.
        depth: of the part in the camera's axes.
    """

    origin: np.ndarray
    direction: np.ndarray
    radius: float
    depth: float


def fit_trajectories(
    views: Sequence[SilhouetteView],
    masks: Silhouettes,
    tracks: Sequence[HullTrack],
    controls: int,
    bounds: np.ndarray,
    config: ReconstructionConfig,
) -> list[RigidPart]:
    """Smooth trajectories of the parts. With synchronised cameras they follow the hulls. Else a hull spans several
    times, and trajectories are refined on the silhouettes: every view's moving pixels are assigned to the nearest
    projected part, and each spline is fitted to the rays through the centroids of its pixels."""
    if not tracks:
        return []
    parts = config.parts
    times = torch.tensor([v.time for v in views], dtype=torch.float64)
    basis = UniformBSpline(controls).basis(times).numpy()
    splines = [fit_positions(np.array(t.times), np.array(t.centres), controls, parts) for t in tracks]
    hull_radii = np.array([parts.radius_margin * float(np.median(t.sizes)) for t in tracks])
    radii = hull_radii.copy()
    for _ in range(0 if are_synchronised(views, config.hulls) else parts.ray_rounds):
        detections = [
            _detect_parts(v, mask, np.stack([weights @ c for c in splines]), radii, parts)
            for v, mask, weights in zip(views, masks.moving, basis)
        ]
        for k in range(len(tracks)):
            own = [(weights, seen[k]) for weights, seen in zip(basis, detections) if k in seen]
            refined = _fit_to_rays(own, splines[k], parts)
            path = basis @ refined
            if (path >= bounds[0]).all() and (path <= bounds[1]).all():
                splines[k] = refined
            if own:
                radii[k] = _radius([detection.radius for _, detection in own], hull_radii[k], parts)
    # A control point may lie a little outside of the curve that it controls.
    low, high = parts.bounds_margin * bounds
    return [
        RigidPart(np.clip(splines[k], low, high), rotations_of_track(t, controls, parts), float(radii[k]))
        for k, t in enumerate(tracks)
    ]


def fit_positions(times: np.ndarray, positions: np.ndarray, controls: int, config: PartsConfig) -> np.ndarray:
    """Control points `[n, 3]` of the smooth trajectory through `positions` `[T, 3]`."""
    return fit_spline(times, positions, controls, config.path_smoothness, config.curvature_weight)


def _radius(seen: Sequence[float], hull_radius: float, config: PartsConfig) -> float:
    """A part's radius, from its detections, but near to that of the hull."""
    return float(
        np.clip(
            config.radius_margin * np.quantile(seen, config.radius_quantile),
            config.min_radius_ratio * hull_radius,
            config.max_radius_ratio * hull_radius,
        )
    )


def _detect_parts(
    view: SilhouetteView, mask: np.ndarray, centres: np.ndarray, radii: np.ndarray, config: PartsConfig
) -> dict[int, PartDetection]:
    """part -> its detection in one view. Parts that overlap others in the picture, or touch its border, are left out.

    Args:
        mask: `[h, w]` the view's moving pixels.
        centres: `[K, 3]`.
        radii: `[K]`.
    """
    camera = view.camera
    pixels, depth = (x.numpy() for x in camera.project(torch.from_numpy(centres).float()))
    rows, cols = np.nonzero(mask)
    points = np.stack([cols + 0.5, rows + 0.5], -1)
    distance = np.linalg.norm(points[:, None] - pixels[None], axis=-1)
    reach = config.pixel_reach * radii * camera.fx / np.maximum(depth, 1e-6)
    nearest = (distance / reach).argmin(1) if len(rows) else np.empty(0, int)
    detections: dict[int, PartDetection] = {}
    for k in range(len(centres)):
        others = np.delete(np.arange(len(centres)), k)
        apart = np.linalg.norm(pixels[others] - pixels[k], axis=-1)
        own = points[(nearest == k) & (distance[:, k] < reach[k])]
        overlaps = (apart < config.max_overlap * (reach[others] + reach[k])).any()
        if len(own) < config.min_detection_pixels or overlaps:
            continue
        if own.min() < 1 or own[:, 0].max() > camera.width - 1 or own[:, 1].max() > camera.height - 1:
            continue
        ray = camera.rays(torch.from_numpy(own.mean(0)).float())
        extent = np.linalg.norm(own - own.mean(0), axis=-1).max() + 0.5
        detections[k] = PartDetection(
            ray.origins.numpy(), ray.directions.numpy(), float(extent * depth[k] / camera.fx), float(depth[k])
        )
    return detections


def _fit_to_rays(
    detections: Sequence[tuple[np.ndarray, PartDetection]], old: np.ndarray, config: PartsConfig
) -> np.ndarray:
    """Control points `[n, 3]` of the smooth trajectory nearest to all rays (distances over depth).

    Args:
        detections: spline weights `[n]` at the detection's time, and the detection.
        old: `[n, 3]` control points so far, kept where no ray says anything.
    """
    n = old.shape[0]
    left, right = [], []
    for weights, detection in detections:
        across = (np.eye(3) - np.outer(detection.direction, detection.direction)) / detection.depth
        left.append(np.kron(weights[None], across))
        right.append(across @ detection.origin)
    jerk = np.kron(np.diff(np.eye(n), 3, axis=0), np.eye(3)) * config.ray_jerk_weight
    hold = np.eye(3 * n) * config.old_position_weight
    a = np.concatenate([*left, jerk, hold])
    y = np.concatenate([*right, np.zeros(len(jerk)), old.reshape(-1) * config.old_position_weight])
    return np.linalg.lstsq(a, y, rcond=None)[0].reshape(n, 3)
