"""Several sequences: how far around a labelled body its pictures change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from foreseen.core.scene_info import SceneInfo
from foreseen.data.types import Frame
from foreseen.methods.node_rf.fast_config import BodySizeConfig
from foreseen.reconstruction.config import SilhouetteConfig
from foreseen.reconstruction.silhouettes import SilhouetteView, find_silhouettes


def body_half_sizes(
    frames: Sequence[Frame],
    bodies: int,
    positions: Mapping[tuple[str, float], Tensor],
    info: SceneInfo,
    silhouettes: SilhouetteConfig,
    config: BodySizeConfig,
) -> Tensor:
    """`[B]` half sizes of boxes around the bodies, in scene units. A pixel that changes belongs to the body that is
    nearest in the picture. A body around which nothing is seen to change gets a share of the scene's size.

    Args:
        bodies: their number B.
        positions: `[B, 3]` of the bodies, by sequence and time.
    """
    low, high = torch.tensor(info.bounds)
    sizes = torch.full((bodies,), config.unseen_share * float((high - low).max()) / 2)
    labelled = [frame for frame in frames if (frame.sequence, float(frame.time)) in positions]
    chosen = np.unique(np.linspace(0, len(labelled) - 1, min(config.frames, len(labelled))).round().astype(int))
    some = [labelled[i] for i in chosen]
    views = [SilhouetteView.of(frame, 0.0, 1.0, silhouettes) for frame in some]
    masks = None if info.ndc or not views else find_silhouettes(views, info.background, silhouettes)
    reaches: dict[int, list[float]] = defaultdict(list)
    for frame, view, moving in zip(some, views, masks.moving if masks else ()):
        for body, distances in _distances(positions[frame.sequence, float(frame.time)], view, moving).items():
            reaches[body].append(float(np.quantile(distances, config.quantile)))
    for body, values in reaches.items():
        sizes[body] = config.margin * float(np.median(values))
    return sizes


def _distances(bodies: Tensor, view: SilhouetteView, moving: np.ndarray) -> dict[int, np.ndarray]:
    """For each body `[B, 3]` how far the moving pixels of a view are that belong to it, at its depth."""
    pixels = np.argwhere(ndimage.binary_opening(moving))[:, ::-1] + 0.5
    centres, depth = view.camera.project(bodies.float())
    if not len(pixels) or not bool((depth > 0).all()):
        return {}
    apart = np.linalg.norm(pixels[:, None] - centres.numpy()[None], axis=-1)
    nearest = apart.argmin(1)
    scale = depth.numpy() / view.camera.fx
    return {body: apart[nearest == body, body] * scale[body] for body in np.unique(nearest).tolist()}
