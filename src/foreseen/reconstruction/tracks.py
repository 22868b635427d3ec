"""Where the parts are in the frames of several sequences, before training: as truth tells, or as silhouettes do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import Labels
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.geometry.rotations import rotation_matrix
from foreseen.nn.splines import UniformBSpline
from foreseen.reconstruction.config import TrackConfig
from foreseen.reconstruction.discovery import Part, find_parts
from foreseen.reconstruction.findings import MARGIN
from foreseen.reconstruction.hulls import Silhouettes, Stills, View, own_hull, silhouettes, still_hull
from foreseen.reconstruction.kinds import find_kinds

MOST_VIEWS = 240
"""Frames that hulls are carved from: enough of every camera, whatever the number of sequences."""
SEARCHED = 0.2
"""Half size of the box in which a part's hull is looked for, as a share of the scene's longest side."""
SEARCH_CELLS = 48


@dataclass(frozen=True)
class Tracks:
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
    turns: list[Tensor]
    kinds: Tensor
    owners: Tensor
    halves: Tensor
    may_be: Tensor
    exact: bool
    source: str


def find_tracks(
    frames: Sequence[Frame], labels: Sequence[Labels | None], info: SceneInfo, config: TrackConfig
) -> Tracks:
    """The parts of all sequences, and which sequences are of one kind. Raises `UserError` where no part is found."""
    known = [one for one in labels if one is not None]
    exact = len(known) == len(labels)
    if exact:
        centres = [one.positions for one in known]
        turns = [rotation_vectors(one.rotations) for one in known]
    else:
        centres, turns = _tracked(frames, info, config)
    bounds = np.array(info.bounds)
    search = SEARCHED * float(np.ptp(bounds, axis=0).max())
    some = _some(frames)
    kinds = find_kinds(frames, Stills(_views(some), info.background), centres, turns, info, search)
    count = int(kinds.max()) + 1
    if count > 1:
        some = [f for k in range(count) for f in _some([f for f in frames if kinds[_nearest(f, info)[0]] == k])]
    views = _views(some)
    masks = silhouettes(views, info.background)
    if masks is None:
        raise UserError("rigid-ode cannot tell what moves: it needs cameras that stand still, or a plain background.")
    where = [_nearest(frame, info) for frame in some]
    owners, halves, own = [], [], []
    for kind in range(count):
        mine = [i for i, (s, _) in enumerate(where) if kinds[s] == kind]
        seen = [views[i] for i in mine]
        moving = masks.some(mine)
        for k in range(centres[where[mine[0]][0]].shape[1]):
            path = np.stack([centres[s][t, k].numpy() for s, t in (where[i] for i in mine)])
            rotations = rotation_matrix(torch.stack([turns[s][t, k] for s, t in (where[i] for i in mine)])).numpy()
            half = _half_size(seen, moving, path, rotations, search, k)
            owners.append(kind)
            halves.append([half] * 3)
            own.append(own_hull(seen, moving, path, rotations, half, config.cells))
    may_be = torch.from_numpy(np.stack([*own, still_hull(views, masks, bounds, config.cells)]))
    source = "their poses as the data set tells" if exact else "found from silhouettes"
    boxes = torch.tensor(halves, dtype=torch.float32)
    return Tracks(centres, turns, kinds, torch.tensor(owners), boxes, may_be, exact, source)


def _views(frames: Sequence[Frame]) -> list[View]:
    return [View.of(frame, 0.0, 1.0) for frame in frames]


def _some(frames: Sequence[Frame]) -> list[Frame]:
    """At most `MOST_VIEWS`, spread over cameras, sequences and times: by steps that are no multiple of a camera's."""
    ordered = sorted(frames, key=lambda f: (f.camera_id, f.sequence, f.time))
    if len(ordered) <= MOST_VIEWS:
        return ordered
    return [ordered[i] for i in np.linspace(0, len(ordered) - 1, MOST_VIEWS).round().astype(int)]


def _nearest(frame: Frame, info: SceneInfo) -> tuple[int, int]:
    s = info.sequences.index(frame.sequence)
    return s, int(np.abs(np.array(info.times[s]) - frame.time).argmin())


def rotation_vectors(matrices: Tensor) -> Tensor:
    """`[T, K, 3]` of `[T, K, 3, 3]`, going on smoothly where a body turns on and on."""
    flat = Rotation.from_matrix(matrices.numpy().reshape(-1, 3, 3)).as_rotvec()
    vectors = flat.reshape(*matrices.shape[:2], 3)
    for k in range(vectors.shape[1]):
        for t in range(1, len(vectors)):
            vectors[t, k] = _nearest_turn(vectors[t, k], vectors[t - 1, k])
    return torch.from_numpy(vectors)


def _nearest_turn(vector: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The rotation vector of the same rotation that is nearest to `before`."""
    angle = float(np.linalg.norm(vector))
    axis = vector / angle if angle > 1e-9 else _unit(before)
    turns = angle + 2 * np.pi * np.arange(-8, 9)
    candidates = turns[:, None] * axis
    return candidates[np.linalg.norm(candidates - before, axis=1).argmin()]


def _unit(vector: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 1e-9 else np.array([0.0, 0.0, 1.0])


def _half_size(
    views: list[View], masks: Silhouettes, path: np.ndarray, rotations: np.ndarray, most: float, part: int
) -> float:
    """Half size of the box around a part: what most views see move wherever it is, in a box of half size `most`."""
    hull = own_hull(views, masks, path, rotations, most, SEARCH_CELLS)
    if not hull.any():
        raise UserError(
            f"rigid-ode finds nothing that moves along with body {part}: are its positions those of a body?"
        )
    cells = ((np.argwhere(hull) + 0.5) / SEARCH_CELLS * 2 - 1) * most
    # Along the way that few cameras look, a hull is long whatever the part is: what counts is how wide it is.
    across = []
    for view, centre, rotation in zip(views, path, rotations):
        ahead = (centre - view.camera.position.numpy()) @ rotation
        ahead = ahead / np.linalg.norm(ahead)
        across.append(np.linalg.norm(cells - (cells @ ahead)[:, None] * ahead, axis=1))
    radius = float(np.quantile(np.median(across, axis=0), 0.98)) + most / SEARCH_CELLS
    return min(MARGIN * radius, most)


def _tracked(frames: Sequence[Frame], info: SceneInfo, config: TrackConfig) -> tuple[list[Tensor], list[Tensor]]:
    """Poses of the parts in every sequence, as silhouettes tell."""
    centres, turns = [], []
    # A part that lingers would count as what is at rest, did the cameras' median pictures not show all sequences.
    others = _views(_some(frames))
    for name, times in zip(info.sequences, info.times):
        start, window = times[0], times[-1] - times[0]
        views = [View.of(frame, start, window) for frame in frames if frame.sequence == name]
        masks = silhouettes(views + others, info.background)
        controls = max(8, min(config.most_controls, round(len(times) / config.frames_per_control)))
        parts: list[Part] = []
        if masks is not None:
            own = masks.some(range(len(views)))
            parts = find_parts(views, own, np.array(info.bounds), controls, config.most_parts)
        if len(parts) != 1:
            raise UserError(
                f"rigid-ode finds {len(parts)} moving parts in sequence '{name}' without truth, and learns the law of "
                "several sequences from one in each: give several cameras, or a data set that tells the positions."
            )
        basis = UniformBSpline(controls).basis((torch.tensor(times, dtype=torch.float64) - start) / window)
        centres.append(torch.stack([basis @ torch.from_numpy(p.controls) for p in parts], dim=1))
        turns.append(torch.stack([basis @ torch.from_numpy(p.rotations) for p in parts], dim=1))
    return centres, turns
