"""Where the parts are in the frames of several sequences, before training: as truth tells, or as silhouettes do."""

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
from foreseen.reconstruction.config import TrackingConfig
from foreseen.reconstruction.discovery import RigidPart, find_parts
from foreseen.reconstruction.reconstruct import BOX_MARGIN
from foreseen.reconstruction.sequence_clusters import cluster_sequences
from foreseen.reconstruction.visual_hull import (
    Silhouettes,
    SilhouetteView,
    StaticBackgrounds,
    part_hull,
    silhouettes,
    static_hull,
)

MAX_VIEWS = 240
"""Frames that hulls are carved from: enough of every camera, whatever the number of sequences."""
SEARCH_BOX_SHARE = 0.2
"""Half size of the box in which a part's hull is looked for, as a share of the scene's longest side."""
SEARCH_CELLS = 48


@dataclass(frozen=True)
class PartTracks:
    """The parts of S sequences.

    Attributes:
        centres, turns: for each sequence `[T, K, 3]` at its training times, turns as rotation vectors; of the K parts
            of its kind.
        kinds: `[S]` int64, the kind of each sequence: 0, 1, ...
        owners: `[P]` int64, the kind that each part belongs to, in the order of the kinds; P parts in all.
        halves: `[P, 3]` half sizes of the parts' boxes.
        may_be: `[P + 1, G, G, G]` bool: where matter may be in each box's own frame, and in the scene's bounds.
        exact: truth told the poses.
        source: who told, in words.
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
    frames: Sequence[Frame], labels: Sequence[PoseLabels | None], info: SceneInfo, config: TrackingConfig
) -> PartTracks:
    """The parts of all sequences, and which sequences are of one kind. Raises `UserError` where no part is found."""
    known = [one for one in labels if one is not None]
    exact = len(known) == len(labels)
    if exact:
        centres = [one.positions for one in known]
        rotations = [rotation_vectors(one.rotations) for one in known]
    else:
        centres, rotations = _tracked(frames, info, config)
    bounds = np.array(info.bounds)
    search = SEARCH_BOX_SHARE * float(np.ptp(bounds, axis=0).max())
    some = _some(frames)
    clusters = cluster_sequences(
        frames, StaticBackgrounds(_views(some), info.background), centres, rotations, info, search
    )
    count = int(clusters.max()) + 1
    if count > 1:
        some = [f for k in range(count) for f in _some([f for f in frames if clusters[_nearest(f, info)[0]] == k])]
    views = _views(some)
    masks = silhouettes(views, info.background)
    if masks is None:
        raise UserError("rigid-ode cannot tell what moves: it needs cameras that stand still, or a plain background.")
    where = [_nearest(frame, info) for frame in some]
    cluster_of_part, half_extents, own = [], [], []
    for kind in range(count):
        mine = [i for i, (s, _) in enumerate(where) if clusters[s] == kind]
        seen = [views[i] for i in mine]
        moving = masks.select(mine)
        for k in range(centres[where[mine[0]][0]].shape[1]):
            path = np.stack([centres[s][t, k].numpy() for s, t in (where[i] for i in mine)])
            rotation_matrices = rotation_matrix(
                torch.stack([rotations[s][t, k] for s, t in (where[i] for i in mine)])
            ).numpy()
            half = _half_size(seen, moving, path, rotation_matrices, search, k)
            cluster_of_part.append(kind)
            half_extents.append([half] * 3)
            own.append(part_hull(seen, moving, path, rotation_matrices, half, config.grid_resolution))
    occupancy_mask = torch.from_numpy(np.stack([*own, static_hull(views, masks, bounds, config.grid_resolution)]))
    source = "their poses as the data set tells" if exact else "found from silhouettes"
    boxes = torch.tensor(half_extents, dtype=torch.float32)
    return PartTracks(centres, rotations, clusters, torch.tensor(cluster_of_part), boxes, occupancy_mask, exact, source)


def _views(frames: Sequence[Frame]) -> list[SilhouetteView]:
    return [SilhouetteView.of(frame, 0.0, 1.0) for frame in frames]


def _some(frames: Sequence[Frame]) -> list[Frame]:
    """At most `MAX_VIEWS`, spread over cameras, sequences and times: by steps that are no multiple of a camera's."""
    ordered = sorted(frames, key=lambda f: (f.camera_id, f.sequence, f.time))
    if len(ordered) <= MAX_VIEWS:
        return ordered
    return [ordered[i] for i in np.linspace(0, len(ordered) - 1, MAX_VIEWS).round().astype(int)]


def _nearest(frame: Frame, info: SceneInfo) -> tuple[int, int]:
    s = info.names.index(frame.sequence)
    return s, int(np.abs(np.array(info.times[s]) - frame.time).argmin())


def rotation_vectors(matrices: Tensor) -> Tensor:
    """`[T, K, 3]` of `[T, K, 3, 3]`, going on smoothly where a body turns on and on."""
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
    rotations = angle + 2 * np.pi * np.arange(-8, 9)
    candidates = rotations[:, None] * axis
    return candidates[np.linalg.norm(candidates - before, axis=1).argmin()]


def _unit(vector: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 1e-9 else np.array([0.0, 0.0, 1.0])


def _half_size(
    views: list[SilhouetteView],
    masks: Silhouettes,
    path: np.ndarray,
    rotation_matrices: np.ndarray,
    maximum: float,
    part: int,
) -> float:
    """Half size of the box around a part: what most views see move wherever it is, in a box of half size `maximum`."""
    hull = part_hull(views, masks, path, rotation_matrices, maximum, SEARCH_CELLS)
    if not hull.any():
        raise UserError(
            f"rigid-ode finds nothing that moves along with body {part}: are its positions those of a body?"
        )
    cells = ((np.argwhere(hull) + 0.5) / SEARCH_CELLS * 2 - 1) * maximum
    # Along the way that few cameras look, a hull is long whatever the part is: what counts is how wide it is.
    across = []
    for view, centre, rotation in zip(views, path, rotation_matrices):
        ahead = (centre - view.camera.position.numpy()) @ rotation
        ahead = ahead / np.linalg.norm(ahead)
        across.append(np.linalg.norm(cells - (cells @ ahead)[:, None] * ahead, axis=1))
    radius = float(np.quantile(np.median(across, axis=0), 0.98)) + maximum / SEARCH_CELLS
    return min(BOX_MARGIN * radius, maximum)


def _tracked(frames: Sequence[Frame], info: SceneInfo, config: TrackingConfig) -> tuple[list[Tensor], list[Tensor]]:
    """Poses of the parts in every sequence, as silhouettes tell."""
    centres, rotations = [], []
    # A part that lingers would count as what is at rest, did the cameras' median pictures not show all sequences.
    others = _views(_some(frames))
    for name, times in zip(info.names, info.times):
        start, window = times[0], times[-1] - times[0]
        views = [SilhouetteView.of(frame, start, window) for frame in frames if frame.sequence == name]
        masks = silhouettes(views + others, info.background)
        controls = max(8, min(config.max_controls, round(len(times) / config.frames_per_control)))
        parts: list[RigidPart] = []
        if masks is not None:
            own = masks.select(range(len(views)))
            parts = find_parts(views, own, np.array(info.bounds), controls, config.max_parts)
        if len(parts) != 1:
            raise UserError(
                f"rigid-ode finds {len(parts)} moving parts in sequence '{name}' without truth, and learns the law of "
                "several sequences from one in each: give several cameras, or a data set that tells the positions."
            )
        basis = UniformBSpline(controls).basis((torch.tensor(times, dtype=torch.float64) - start) / window)
        centres.append(torch.stack([basis @ torch.from_numpy(p.controls) for p in parts], dim=1))
        rotations.append(torch.stack([basis @ torch.from_numpy(p.rotations) for p in parts], dim=1))
    return centres, rotations
