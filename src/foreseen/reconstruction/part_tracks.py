"""The rigid parts of several sequences before training: their poses in every frame, from the data set's labels or from
silhouettes, and their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.geometry.rotations import rotation_matrix
from foreseen.nn.splines import UniformBSpline
from foreseen.reconstruction.config import ReconstructionConfig, SilhouetteConfig
from foreseen.reconstruction.part_discovery import find_parts
from foreseen.reconstruction.part_trajectories import RigidPart
from foreseen.reconstruction.sequence_clusters import cluster_sequences
from foreseen.reconstruction.silhouettes import Silhouettes, SilhouetteView, StaticBackgrounds, find_silhouettes
from foreseen.reconstruction.visual_hull import part_hull, static_hull


@dataclass(frozen=True)
class PartTracks:
    """The parts of S sequences, in dynamics clusters. P parts in all.

    Attributes:
        centres, rotations: for each sequence `[T, K, 3]` at its training times, rotations as rotation vectors; of the K
            parts of its cluster.
        clusters: `[S]` int64, the cluster of each sequence: 0, 1, ...
        cluster_of_part: `[P]` int64, ascending.
        half_extents: `[P, 3]` half sizes of the parts' boxes.
        occupancy_mask: `[P + 1, G, G, G]` bool: where matter may be in each box, in the part's own frame; and last in
            the scene's bounds.
        exact_poses: the poses are ground truth.
        source: where the poses come from, in words.
    """

    centres: list[Tensor]
    rotations: list[Tensor]
    clusters: Tensor
    cluster_of_part: Tensor
    half_extents: Tensor
    occupancy_mask: Tensor
    exact_poses: bool
    source: str


def find_tracks(
    frames: Sequence[Frame],
    labels: Sequence[PoseLabels | None],
    info: SceneInfo,
    cells: int,
    config: ReconstructionConfig,
) -> PartTracks:
    """The parts of all sequences, and the sequences' clusters.

    Args:
        labels: ground truth of each sequence; all are used, or none.
        cells: G of `PartTracks`.

    Raises:
        UserError: no part is found.
    """
    given = [label for label in labels if label is not None]
    exact_poses = len(given) == len(labels)
    if exact_poses:
        centres = [label.positions for label in given]
        rotations = [rotation_vectors(label.rotations) for label in given]
    else:
        centres, rotations = _track_in_silhouettes(frames, info, config)
    search = config.shared_parts.search_share * float(np.ptp(np.array(info.bounds), axis=0).max())
    silhouettes, max_views = config.hulls.silhouettes, config.shared_parts.max_views
    chosen = _choose_frames(frames, max_views)
    backgrounds = StaticBackgrounds(_views(chosen, silhouettes), info.background, silhouettes)
    clusters = cluster_sequences(frames, backgrounds, centres, rotations, info, search, config)
    count = int(clusters.max()) + 1
    if count > 1:
        groups = [[f for f in frames if clusters[_nearest_time(f, info)[0]] == k] for k in range(count)]
        chosen = [f for group in groups for f in _choose_frames(group, max_views)]
    cluster_of_part, half_extents, occupancy = _boxes(chosen, clusters, centres, rotations, info, search, cells, config)
    source = "poses given by the data set" if exact_poses else "found from silhouettes"
    boxes = torch.tensor([[half_extent] * 3 for half_extent in half_extents], dtype=torch.float32)
    return PartTracks(
        centres, rotations, clusters, torch.tensor(cluster_of_part), boxes, occupancy, exact_poses, source
    )


def _boxes(
    frames: Sequence[Frame],
    clusters: Tensor,
    centres: Sequence[Tensor],
    rotations: Sequence[Tensor],
    info: SceneInfo,
    search: float,
    cells: int,
    config: ReconstructionConfig,
) -> tuple[list[int], list[float], Tensor]:
    """Of all parts: the cluster of each, half the size of its box, and `PartTracks.occupancy_mask`."""
    views = _views(frames, config.hulls.silhouettes)
    masks = find_silhouettes(views, info.background, config.hulls.silhouettes)
    if masks is None:
        raise UserError("rigid-ode cannot tell what moves: it needs cameras that do not move, or a uniform background.")
    sequence_times = [_nearest_time(frame, info) for frame in frames]
    cluster_of_part, half_extents, occupancy = [], [], []
    for cluster in range(int(clusters.max()) + 1):
        own = [i for i, (s, _) in enumerate(sequence_times) if clusters[s] == cluster]
        own_views, own_masks = [views[i] for i in own], masks.select(own)
        own_times = [sequence_times[i] for i in own]
        for k in range(centres[own_times[0][0]].shape[1]):
            path = np.stack([centres[s][t, k].numpy() for s, t in own_times])
            matrices = rotation_matrix(torch.stack([rotations[s][t, k] for s, t in own_times])).numpy()
            half_extent = _half_extent(own_views, own_masks, path, matrices, search, k, config)
            cluster_of_part.append(cluster)
            half_extents.append(half_extent)
            occupancy.append(part_hull(own_views, own_masks, path, matrices, half_extent, cells, config.hulls))
    occupancy.append(static_hull(views, masks, np.array(info.bounds), cells, config.hulls))
    return cluster_of_part, half_extents, torch.from_numpy(np.stack(occupancy))


def _views(frames: Sequence[Frame], config: SilhouetteConfig) -> list[SilhouetteView]:
    return [SilhouetteView.of(frame, 0.0, 1.0, config) for frame in frames]


def _choose_frames(frames: Sequence[Frame], maximum: int) -> list[Frame]:
    """At most so many, spread over cameras, sequences and times."""
    ordered = sorted(frames, key=lambda f: (f.camera_id, f.sequence, f.time))
    if len(ordered) <= maximum:
        return ordered
    return [ordered[i] for i in np.linspace(0, len(ordered) - 1, maximum).round().astype(int)]


def _nearest_time(frame: Frame, info: SceneInfo) -> tuple[int, int]:
    """Indices of a frame's sequence, and of its time among the sequence's training times."""
    s = info.names.index(frame.sequence)
    return s, int(np.abs(np.array(info.times[s]) - frame.time).argmin())


def rotation_vectors(matrices: Tensor) -> Tensor:
    """Rotation vectors `[T, K, 3]` of matrices `[T, K, 3, 3]`, without jumps: they may grow beyond one revolution."""
    flat = Rotation.from_matrix(matrices.numpy().reshape(-1, 3, 3)).as_rotvec()
    vectors = flat.reshape(*matrices.shape[:2], 3)
    for k in range(vectors.shape[1]):
        for t in range(1, len(vectors)):
            vectors[t, k] = _nearest_rotation_vector(vectors[t, k], vectors[t - 1, k])
    return torch.from_numpy(vectors)


def _nearest_rotation_vector(vector: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The rotation vector of the same rotation that is nearest to `before`."""
    angle = float(np.linalg.norm(vector))
    axis = vector / angle if angle > 1e-9 else _unit(before)
    angles = angle + 2 * np.pi * np.arange(-8, 9)
    candidates = angles[:, None] * axis
    return candidates[np.linalg.norm(candidates - before, axis=1).argmin()]


def _unit(vector: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 1e-9 else np.array([0.0, 0.0, 1.0])


def _half_extent(
    views: Sequence[SilhouetteView],
    masks: Silhouettes,
    path: np.ndarray,
    rotations: np.ndarray,
    maximum: float,
    part: int,
    config: ReconstructionConfig,
) -> float:
    """Half size of the box around a part: around its hull in a box of half size `maximum`."""
    search_cells = config.shared_parts.search_cells
    hull = part_hull(views, masks, path, rotations, maximum, search_cells, config.hulls)
    if not hull.any():
        raise UserError(f"rigid-ode: nothing moves along with body {part}: are the given positions those of a body?")
    cells = ((np.argwhere(hull) + 0.5) / search_cells * 2 - 1) * maximum
    # Along a direction in which few cameras look a hull is too long: only its width across the views counts.
    across = []
    for view, centre, rotation in zip(views, path, rotations):
        ahead = (centre - view.camera.position.numpy()) @ rotation
        ahead = ahead / np.linalg.norm(ahead)
        across.append(np.linalg.norm(cells - (cells @ ahead)[:, None] * ahead, axis=1))
    quantile = float(np.quantile(np.median(across, axis=0), config.shared_parts.size_quantile))
    return min(config.parts.box_margin * (quantile + maximum / search_cells), maximum)


def _track_in_silhouettes(
    frames: Sequence[Frame], info: SceneInfo, config: ReconstructionConfig
) -> tuple[list[Tensor], list[Tensor]]:
    """Centres and rotation vectors `[T, 1, 3]` of the one part of each sequence, from silhouettes."""
    centres, rotations = [], []
    # With views of all sequences, a part that hardly moves in its own one does not count as static.
    others = _views(_choose_frames(frames, config.shared_parts.max_views), config.hulls.silhouettes)
    for name, times in zip(info.names, info.times):
        start, window = times[0], times[-1] - times[0]
        own = [frame for frame in frames if frame.sequence == name]
        views = [SilhouetteView.of(frame, start, window, config.hulls.silhouettes) for frame in own]
        masks = find_silhouettes(views + others, info.background, config.hulls.silhouettes)
        controls = config.num_controls(len(times) / config.frames_per_control)
        parts: list[RigidPart] = []
        if masks is not None:
            parts = find_parts(views, masks.select(range(len(views))), np.array(info.bounds), controls, config)
        if len(parts) != 1:
            raise UserError(
                f"rigid-ode finds {len(parts)} moving parts in sequence '{name}' without ground truth, and learns the "
                "dynamics of several sequences from one part in each: give several cameras, or a data set with "
                "positions."
            )
        basis = UniformBSpline(controls).basis((torch.tensor(times, dtype=torch.float64) - start) / window)
        centres.append(torch.stack([basis @ torch.from_numpy(p.controls) for p in parts], dim=1))
        rotations.append(torch.stack([basis @ torch.from_numpy(p.rotations) for p in parts], dim=1))
    return centres, rotations
