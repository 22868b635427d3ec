"""Which sequences are of one kind: as many parts, that look alike and move on one surface. Nobody tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from foreseen.core.scene_info import SceneInfo
from foreseen.data.difference import moving_mask
from foreseen.data.types import Frame
from foreseen.dynamics.manifold import Manifold
from foreseen.nn.threads import one_thread
from foreseen.reconstruction.visual_hull import SilhouetteView, StaticBackgrounds

FRAMES_PER_SEQUENCE, MAX_TOTAL_FRAMES = 12, 480
"""Frames in which the parts of one sequence are looked at, and those of all together, if three of each are fewer."""
MAX_SIZE_RATIO, MAX_COLOR_DIFFERENCE = 1.5, 0.15
"""Parts that reach so many times as far, or differ so much in a channel (0..1), do not look alike, where most frames
of the one show more than most of the other: where parts touch or something hides them, a frame shows too much or too
little."""
MAX_POSES, MAX_SURFACES = 24, 12
"""Times of a sequence, and sequences, of which surfaces are compared with one another."""
MAX_JOINT_RESIDUAL = 0.2
"""Two surfaces are not one where the one that is laid through both, of no more coordinates than either, leaves so large
a share of the motion."""
MAX_CLUSTERS, MIN_SEQUENCES, MAX_COORDINATES = 4, 3, 2
"""Surfaces tell kinds apart where there are few, each of several sequences and of few coordinates: else every sequence
may have its own way on a surface that none of them shows."""


def cluster_sequences(
    frames: Sequence[Frame],
    stills: StaticBackgrounds,
    centres: Sequence[Tensor],
    rotations: Sequence[Tensor],
    info: SceneInfo,
    search: float,
) -> Tensor:
    """`[S]` int64: the kind of every sequence, 0, 1, ... in the order in which they first come.

    Args:
        centres, turns: for each sequence `[T, K, 3]` at its training times.
        search: how far a part reaches at most, in scene units.
    """
    with one_thread():
        return _cluster_sequences(frames, stills, centres, rotations, info, search)


def _cluster_sequences(
    frames: Sequence[Frame],
    stills: StaticBackgrounds,
    centres: Sequence[Tensor],
    rotations: Sequence[Tensor],
    info: SceneInfo,
    search: float,
) -> Tensor:
    appearances = [
        _PartAppearance.of(own, stills, path, info, search) for own, path in zip(_by_sequence(frames, info), centres)
    ]
    alike = np.array([[a.is_similar(b) for b in appearances] for a in appearances])
    _, groups = connected_components(alike, directed=False)
    clusters = np.zeros(len(appearances), np.int64)
    for group in range(groups.max() + 1):
        sequences = np.flatnonzero(groups == group).tolist()
        radius = torch.tensor(np.median([np.nan_to_num(appearances[s].radius, nan=search) for s in sequences], axis=0))
        poses = [_poses(centres[s], rotations[s], radius) for s in sequences]
        clusters[sequences] = len(appearances) * (1 + group) + _cluster_by_surface(poses)
    _, first, clusters = np.unique(clusters, return_index=True, return_inverse=True)
    return torch.from_numpy(np.argsort(np.argsort(first))[clusters])


def _by_sequence(frames: Sequence[Frame], info: SceneInfo) -> list[list[Frame]]:
    """Some frames of every sequence, spread over its times and cameras."""
    count = min(FRAMES_PER_SEQUENCE, max(3, MAX_TOTAL_FRAMES // len(info.times)))
    names = info.names or tuple({frame.sequence for frame in frames})
    own: dict[str, list[Frame]] = {name: [] for name in names}
    for frame in sorted(frames, key=lambda f: (f.time, f.camera_id)):
        own[frame.sequence].append(frame)
    return [[f[i] for i in np.linspace(0, len(f) - 1, min(count, len(f))).round().astype(int)] for f in own.values()]


@dataclass(frozen=True)
class _PartAppearance:
    """What the silhouettes of a sequence's K parts say.

    Attributes:
        low, middle, high: `[K, 4]` quartiles over the frames of the logarithm of how far a part reaches from its
            centre, in scene units, and of its mean colour; not a number where it was not seen.
    """

    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray

    @staticmethod
    def of(
        frames: Sequence[Frame], stills: StaticBackgrounds, centres: Tensor, info: SceneInfo, search: float
    ) -> _PartAppearance:
        """Of frames in which the parts are at `centres` `[T, K, 3]`."""
        times = np.array(info.times[info.names.index(frames[0].sequence)])
        found = []
        for frame in frames:
            view = SilhouetteView.of(frame, 0.0, 1.0)
            still = stills.of(view)
            if still is not None:
                found.append(_observe_parts(view, still, centres[int(np.abs(times - frame.time).argmin())], search))
        seen = np.array(found).reshape(-1, centres.shape[1], 4)
        quartiles = np.full((3, centres.shape[1], 4), np.nan)
        for k in range(centres.shape[1]):
            own = seen[~np.isnan(seen[:, k, 0]), k]
            if len(own):
                quartiles[:, k] = np.quantile(own, (0.25, 0.5, 0.75), axis=0)
        return _PartAppearance(*quartiles)

    @property
    def radius(self) -> np.ndarray:
        """`[K]` how far the parts reach, in scene units."""
        return np.exp(self.middle[:, 0])

    def is_similar(self, other: _PartAppearance) -> bool:
        """As many parts, none of which looks different; what was not seen does not."""
        if len(self.low) != len(other.low):
            return False
        apart = (self.low > other.high) | (other.low > self.high)
        return not (
            apart & (np.abs(self.middle - other.middle) > (np.log(MAX_SIZE_RATIO), *[MAX_COLOR_DIFFERENCE] * 3))
        ).any()


def _observe_parts(view: SilhouetteView, still: np.ndarray, centres: Tensor, search: float) -> np.ndarray:
    """`[K, 4]`: for each part at `centres` `[K, 3]` the logarithm of its reach, and its mean colour, in one view: of
    what moves nearer to it than `search`, and not nearer to another. Not numbers where nothing does."""
    moving = moving_mask(torch.from_numpy(view.image), torch.from_numpy(still)).numpy()
    rows, columns = moving.nonzero()
    pixels, depths = view.camera.project(centres.float())
    places = np.stack([columns + 0.5, rows + 0.5], -1)
    away = np.linalg.norm(places[:, None] - pixels.numpy(), axis=-1) * (depths.numpy() / view.camera.fx)
    nearest, found = away.argmin(1), np.full((len(centres), 4), np.nan)
    for k in range(len(centres)):
        own = (nearest == k) & (away[:, k] <= search)
        if own.any():
            found[k, 0] = np.log(max(float(np.quantile(away[own, k], 0.95)), 1e-9))
            found[k, 1:] = view.image[rows[own], columns[own]].mean(0)
    return found


def _poses(centres: Tensor, rotations: Tensor, radius: Tensor) -> Tensor:
    """`[N, 6 K]` of a sequence, turns as the way that the parts' rims go."""
    some = torch.linspace(0, len(centres) - 1, min(MAX_POSES, len(centres))).round().long()
    return torch.cat([centres[some], rotations[some] * radius[:, None]], dim=-1).double().flatten(1)


@dataclass(frozen=True, eq=False)
class _PoseSurface:
    """Some sequences, their poses `[N, P]`, and the surface through them."""

    sequences: tuple[int, ...]
    poses: Tensor
    manifold: Manifold

    @staticmethod
    def through(sequences: tuple[int, ...], poses: Tensor, maximum: int) -> _PoseSurface:
        """Of `maximum` coordinates at most."""
        manifold = Manifold(poses.shape[1], maximum)
        manifold.fit(poses)
        return _PoseSurface(sequences, poses, manifold)

    def joined(self, other: _PoseSurface) -> _PoseSurface:
        """One surface through both, of no more coordinates than either has."""
        maximum = max(self.manifold.size, other.manifold.size, 1)
        return _PoseSurface.through(self.sequences + other.sequences, torch.cat([self.poses, other.poses]), maximum)

    def off(self, poses: Tensor) -> float:
        """How far others lie from it, as a share of its own motion."""
        error = (self.manifold.decode(self.manifold.encode(poses)) - poses).square().mean()
        return float((error / (self.poses - self.poses.mean(0)).square().mean().clamp_min(1e-300)).sqrt())


@torch.no_grad()
def _cluster_by_surface(poses: list[Tensor]) -> np.ndarray:
    """`[S]`: which surface each sequence's poses `[N, P]` lie on; one and the same where that cannot be told."""
    one = np.zeros(len(poses), np.int64)
    if len(poses) < 2 * MIN_SEQUENCES:
        return one
    # At random: kinds that alternate would be met by even steps as one.
    some = np.random.default_rng(0).permutation(len(poses))[:MAX_SURFACES].tolist()
    surfaces = _merge_surfaces([_PoseSurface.through((i,), poses[i], poses[i].shape[1]) for i in some])
    away = np.array([[surface.off(own) for surface in surfaces] for own in poses])
    found, sizes = away.argmin(1), [surface.manifold.size for surface in surfaces]
    shared = (
        np.bincount(found, minlength=len(surfaces)).min() >= MIN_SEQUENCES and away.min(1).max() <= MAX_JOINT_RESIDUAL
    )
    return found if shared and len(surfaces) <= MAX_CLUSTERS and max(sizes) <= MAX_COORDINATES else one


def _merge_surfaces(surfaces: list[_PoseSurface]) -> list[_PoseSurface]:
    """Those that one surface goes through as one, the nearest first, until all are apart."""
    pairs = {(a, b): a.joined(b) for i, a in enumerate(surfaces) for b in surfaces[:i]}
    while pairs:
        best = min(pairs, key=lambda pair: float(pairs[pair].manifold.residual))
        new = pairs[best]
        if new.manifold.residual > MAX_JOINT_RESIDUAL:
            break
        surfaces = [surface for surface in surfaces if surface not in best]
        pairs = {pair: both for pair, both in pairs.items() if not set(pair) & set(best)}
        pairs |= {(new, other): new.joined(other) for other in surfaces}
        surfaces.append(new)
    return surfaces
