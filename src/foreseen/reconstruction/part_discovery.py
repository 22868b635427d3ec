"""Finding the moving parts before training: silhouettes, visual hulls, tracks, smooth trajectories.

No ground truth is used. Where silhouettes cannot be computed, no part is found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from foreseen.nn.splines import UniformBSpline
from foreseen.reconstruction.config import ReconstructionConfig
from foreseen.reconstruction.hull_tracks import track_parts
from foreseen.reconstruction.identity_swaps import find_identity_swaps
from foreseen.reconstruction.part_trajectories import RigidPart, fit_positions, fit_trajectories
from foreseen.reconstruction.silhouettes import Silhouettes, SilhouetteView
from foreseen.reconstruction.sphere_fitting import FittedSpheres, fit_spheres
from foreseen.reconstruction.visual_hull import bounding_box_of_motion, carve_hull, group_views


def find_parts(
    views: Sequence[SilhouetteView],
    masks: Silhouettes,
    bounds: np.ndarray,
    controls: int,
    config: ReconstructionConfig,
    ignored: Sequence[np.ndarray] | None = None,
) -> list[RigidPart]:
    """The moving parts.

    Args:
        bounds: `[2, 3]` corners of the scene.
        controls: control points of each trajectory over times 0..1.
        ignored: `[h, w]` bool for each view: pixels that do not tell whether something moves.
    """
    windows = group_views(views, config.hulls)
    every = max(1, len(windows) // config.parts.box_hulls)
    box = bounding_box_of_motion(windows[::every], views, masks, bounds, config.hulls)
    hulls = [carve_hull(window, views, masks, box, config.parts.hull_cells, config.hulls) for window in windows]
    extent = float(np.ptp(bounds, axis=0).max())
    tracks = track_parts([h for h in hulls if h.num_components], extent, config)
    parts = fit_trajectories(views, masks, tracks, controls, bounds, config)
    return _as_spheres(views, masks, ignored, parts, config) if parts else parts


def _as_spheres(
    views: Sequence[SilhouetteView],
    masks: Silhouettes,
    ignored: Sequence[np.ndarray] | None,
    parts: list[RigidPart],
    config: ReconstructionConfig,
) -> list[RigidPart]:
    """The parts fitted as balls, which have no rotation yet; or the parts as they are if they are not balls."""
    controls = np.stack([part.controls for part in parts], axis=1)
    radii = np.array([part.radius for part in parts]) / config.parts.radius_margin
    spheres = fit_spheres(views, masks, ignored, FittedSpheres(controls, radii), config.spheres)
    if spheres.overlap < config.spheres.min_overlap:
        return parts
    spheres = _undo_identity_swaps(views, masks, ignored, spheres, config)
    return [
        RigidPart(spheres.controls[:, k], np.zeros_like(spheres.controls[:, k]), radius, is_round=True)
        for k, radius in enumerate(spheres.radii.tolist())
    ]


def _undo_identity_swaps(
    views: Sequence[SilhouetteView],
    masks: Silhouettes,
    ignored: Sequence[np.ndarray] | None,
    spheres: FittedSpheres,
    config: ReconstructionConfig,
) -> FittedSpheres:
    """Each ball on the track of its own colour."""
    times, controls = np.unique([view.time for view in views]), len(spheres.controls)
    basis = UniformBSpline(controls).basis(torch.from_numpy(times)).numpy()
    positions = np.einsum("tc,ckd->tkd", basis, spheres.controls)
    identities = find_identity_swaps(views, times, positions, spheres.radii, config.identities)
    if (identities == np.arange(len(spheres.radii))).all():
        return spheres
    own = np.take_along_axis(positions, identities.argsort(1)[..., None], axis=1)
    splines = [fit_positions(times, own[:, k], controls, config.parts) for k in range(own.shape[1])]
    start = FittedSpheres(np.stack(splines, axis=1), spheres.radii)
    return fit_spheres(views, masks, ignored, start, config.spheres)
