"""Where a scene changes at all, whatever changes there: no parts, no tracks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage

from foreseen.core.scene_info import SceneInfo
from foreseen.data.types import Frame
from foreseen.reconstruction.config import SilhouetteConfig
from foreseen.reconstruction.silhouettes import SilhouetteView, find_silhouettes
from foreseen.reconstruction.visual_hull import grid_centres, observe_points


def changing_cells(
    frames: Sequence[Frame], info: SceneInfo, config: SilhouetteConfig, cells: int, margin: int
) -> np.ndarray | None:
    """`[G, G, G]` bool, G = `cells`: cells of the scene's bounds that every camera that sees them sees in front of or
    behind pixels that ever change. None where that cannot be told: a camera moves, or rays are in NDC.

    Args:
        margin: pixels by which the changing pixels are grown, and cells by which the result is.
    """
    if info.ndc or not info.static_cameras or not frames:
        return None
    views = [SilhouetteView.of(frame, 0.0, 1.0, config) for frame in frames]
    masks = find_silhouettes(views, info.background, config)
    if masks is None:
        return None
    changed: dict[bytes, tuple[SilhouetteView, np.ndarray]] = {}
    for view, moving in zip(views, masks.moving):
        opened = ndimage.binary_opening(moving)
        earlier = changed.get(view.camera.rays_key)
        changed[view.camera.rays_key] = (view, opened if earlier is None else earlier[1] | opened)
    points = torch.from_numpy(grid_centres(np.array(info.bounds), cells).astype(np.float32))
    changing, seen = np.ones(len(points), bool), np.zeros(len(points), bool)
    for view, mask in changed.values():
        inside, hit, _ = observe_points(points, view.camera, ndimage.binary_dilation(mask, iterations=margin))
        changing &= hit | ~inside
        seen |= inside
    return ndimage.binary_dilation((changing & seen).reshape((cells,) * 3), iterations=margin)
