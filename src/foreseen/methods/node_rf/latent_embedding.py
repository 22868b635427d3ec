"""Initial codes from pictures, by Isomap (Tenenbaum, de Silva and Langford 2000).

The pictures of one time (from all static cameras, minus the median picture of each) are one point of a high-dimensional
space. Distances between similar pictures are proportional to how far objects moved. Sums of such distances along a
neighbour graph approximate geodesic distances on the manifold of pictures, and the codes are coordinates with these
distances. So codes are smooth in time if the motion is smooth, and return to the same value if the motion does.
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
from foreseen.methods.node_rf.fast_config import EmbeddingConfig, EncoderConfig


def picture_codes(frames: Sequence[Frame], times: Sequence[float], config: EmbeddingConfig) -> Tensor | None:
    """Codes `[T, D]` in [-1, 1] at `times`, from the static cameras with a frame at every time. None without any."""
    features = picture_features(frames, times, config)
    if features is None:
        return None
    scores, sizes = isomap(features, config.neighbours)
    return leading_codes(scores, sizes, config)


def leading_codes(scores: np.ndarray, sizes: np.ndarray, config: EmbeddingConfig | EncoderConfig) -> Tensor:
    """The coordinates `scores` `[T, N]` whose variances `sizes` `[N]` are large enough to keep, `[T, D]`, scaled to
    [-1, 1]."""
    dims = max(1, int((sizes[: config.max_dims] >= config.min_variance_share * sizes[0]).sum()))
    codes = torch.from_numpy(scores[:, :dims].copy())
    return codes / codes.abs().max().clamp_min(1e-12)


def picture_features(frames: Sequence[Frame], times: Sequence[float], config: EmbeddingConfig) -> np.ndarray | None:
    """`[T, N]`: blurred absolute differences from each static camera's median picture. None without such a camera, or
    with fewer than three times."""
    cameras: dict[str, dict[float, Frame]] = {}
    for frame in frames:
        cameras.setdefault(frame.camera_id, {})[float(frame.time)] = frame
    complete = [
        by_time for by_time in cameras.values() if len(by_time) == len(times) and _is_static(list(by_time.values()))
    ]
    if not complete or len(times) < 3:
        return None
    features = []
    for by_time in complete:
        small = torch.stack([_downscaled(by_time[time].image(), config.side) for time in times]).numpy()
        change = np.abs(small - np.median(small, axis=0))
        features.append(ndimage.gaussian_filter(change, (0, 0, config.blur, config.blur)).reshape(len(times), -1))
    return np.concatenate(features, axis=1).astype(np.float64)


def _is_static(frames: list[Frame]) -> bool:
    return all(torch.equal(f.camera.camera_to_world, frames[0].camera.camera_to_world) for f in frames)


def _downscaled(image: Tensor, side: int) -> Tensor:
    """`[H, W, 3]` -> `[3, h, w]`, with h and w at most `side`."""
    height, width = (min(side, n) for n in image.shape[:2])
    return F.adaptive_avg_pool2d(image.permute(2, 0, 1), (height, width))


def isomap(features: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """Isomap coordinates `[T, T]` of the rows of `features` `[T, N]`, and the coordinates' variances, largest first."""
    distances = np.linalg.norm(features[:, None] - features[None], axis=-1)
    count = len(distances)
    while True:
        graph = _neighbour_graph(distances, min(neighbours, count - 1))
        if neighbours >= count - 1 or connected_components(graph)[0] == 1:
            break
        neighbours *= 2
    geodesic = shortest_path(graph, directed=False)
    geodesic[~np.isfinite(geodesic)] = distances.max()
    centre = np.eye(count) - 1 / count
    sizes, axes = np.linalg.eigh(-0.5 * centre @ geodesic**2 @ centre)
    sizes, axes = np.maximum(sizes[::-1], 0), axes[:, ::-1]
    return axes * np.sqrt(sizes), sizes


def principal_axes(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Projections of rows `[T, N]` on their principal axes, and their variances, largest first."""
    left, sizes, _ = np.linalg.svd(features - features.mean(0), full_matrices=False)
    return left * sizes, sizes**2


def _neighbour_graph(distances: np.ndarray, neighbours: int) -> np.ndarray:
    """`[T, T]`: distances of neighbours, 0 for other pairs. Equal pictures get a tiny distance, as 0 means no edge."""
    graph = np.zeros_like(distances)
    rows = np.arange(len(distances))[:, None]
    nearest = np.argsort(distances, axis=1, kind="stable")[:, 1 : neighbours + 1]
    graph[rows, nearest] = np.maximum(distances[rows, nearest], 1e-9)
    return np.maximum(graph, graph.T)
