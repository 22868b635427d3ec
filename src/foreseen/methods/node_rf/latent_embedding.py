"""First codes from pictures: coordinates of the manifold that the pictures of a scene lie on.

Source: Isomap (Tenenbaum, de Silva and Langford 2000). A picture is what all static cameras see at one time, less what
they see most. Pictures near one another differ in proportion to how far things moved; sums of such steps are distances
along the manifold, and codes at these distances are smooth in time where the motion is, and come back where it does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from scipy.sparse.csgraph import connected_components, shortest_path
from torch import Tensor
from torch.nn import functional as F

from foreseen.data.types import Frame
from foreseen.methods.node_rf.fast_config import EmbeddingConfig


def picture_codes(frames: Sequence[Frame], times: Sequence[float], config: EmbeddingConfig) -> Tensor | None:
    """`[T, D]` codes in [-1, 1] at `times`, of the static cameras that saw every time; None where no camera did."""
    features = picture_features(frames, times, config)
    if features is None:
        return None
    scores, sizes = isomap(features, config.neighbours)
    kept = max(1, int((sizes[: config.max_dims] >= config.min_variance_share * sizes[0]).sum()))
    codes = torch.from_numpy(scores[:, :kept].copy())
    return codes / codes.abs().max().clamp_min(1e-12)


def picture_features(frames: Sequence[Frame], times: Sequence[float], config: EmbeddingConfig) -> np.ndarray | None:
    """`[T, N]`: blurred absolute differences from each camera's median picture."""
    cameras: dict[str, dict[float, Frame]] = {}
    for frame in frames:
        cameras.setdefault(frame.camera_id, {})[float(frame.time)] = frame
    whole = [own for own in cameras.values() if len(own) == len(times) and _static(list(own.values()))]
    if not whole or len(times) < 3:
        return None
    found = []
    for own in whole:
        small = torch.stack([_small(own[time].image(), config.side) for time in times]).numpy()
        change = np.abs(small - np.median(small, axis=0))
        found.append(ndimage.gaussian_filter(change, (0, 0, config.blur, config.blur)).reshape(len(times), -1))
    return np.concatenate(found, axis=1).astype(np.float64)


def _static(frames: list[Frame]) -> bool:
    return all(torch.equal(f.camera.camera_to_world, frames[0].camera.camera_to_world) for f in frames)


def _small(image: Tensor, side: int) -> Tensor:
    """`[H, W, 3]` -> `[3, side, side]` at most."""
    height, width = (min(side, n) for n in image.shape[:2])
    return F.adaptive_avg_pool2d(image.permute(2, 0, 1), (height, width))


def isomap(features: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates `[T, T]` of rows `[T, N]`, and their variances, largest first."""
    distances = np.linalg.norm(features[:, None] - features[None], axis=-1)
    count = len(distances)
    while True:
        graph = _neighbour_graph(distances, min(neighbours, count - 1))
        if neighbours >= count - 1 or connected_components(graph)[0] == 1:
            break
        neighbours *= 2
    along = shortest_path(graph, directed=False)
    along[~np.isfinite(along)] = distances.max()
    centre = np.eye(count) - 1 / count
    sizes, axes = np.linalg.eigh(-0.5 * centre @ along**2 @ centre)
    sizes, axes = np.maximum(sizes[::-1], 0), axes[:, ::-1]
    return axes * np.sqrt(sizes), sizes


def _neighbour_graph(distances: np.ndarray, neighbours: int) -> np.ndarray:
    """`[T, T]`, 0 where two are no neighbours. Pictures that are the same are joined by next to nothing."""
    graph = np.zeros_like(distances)
    rows = np.arange(len(distances))[:, None]
    nearest = np.argsort(distances, axis=1, kind="stable")[:, 1 : neighbours + 1]
    graph[rows, nearest] = np.maximum(distances[rows, nearest], 1e-9)
    return np.maximum(graph, graph.T)
