"""Dynamics clusters: sequences with as many parts, of similar appearance, that move on one surface of poses."""

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
from foreseen.dynamics.config import ManifoldConfig
from foreseen.dynamics.manifold import Manifold
from foreseen.nn.threads import one_thread
from foreseen.reconstruction.config import ClusterConfig, ReconstructionConfig
from foreseen.reconstruction.silhouettes import SilhouetteView, StaticBackgrounds


@one_thread()
def cluster_sequences(
    frames: Sequence[Frame],
    backgrounds: StaticBackgrounds,
    centres: Sequence[Tensor],
    rotations: Sequence[Tensor],
    info: SceneInfo,
    search: float,
    config: ReconstructionConfig,
) -> Tensor:
    """`[S]` int64: the cluster of every sequence, numbered in the order in which they first come.

    Args:
        centres, rotations: for each sequence `[T, K, 3]` at its training times, rotations as rotation vectors.
        search: how far a part may reach from its centre, in scene units.
    """
    appearances = [
        _PartAppearance.of(chosen, backgrounds, path, info, search, config.clusters)
        for chosen, path in zip(_choose_by_sequence(frames, info, config.clusters), centres)
    ]
    similar = np.array([[a.is_similar(b, config.clusters) for b in appearances] for a in appearances])
    _, groups = connected_components(similar, directed=False)
    clusters = np.zeros(len(appearances), np.int64)
    for group in range(groups.max() + 1):
        sequences = np.flatnonzero(groups == group).tolist()
        radii = [np.nan_to_num(appearances[s].radius, nan=search) for s in sequences]
        radius = torch.tensor(np.median(radii, axis=0))
        poses = [_poses(centres[s], rotations[s], radius, config.clusters.max_poses) for s in sequences]
        clusters[sequences] = len(appearances) * (1 + group) + _cluster_by_surface(poses, config.clusters)
    _, first, clusters = np.unique(clusters, return_index=True, return_inverse=True)
    return torch.from_numpy(np.argsort(np.argsort(first))[clusters])


def _choose_by_sequence(frames: Sequence[Frame], info: SceneInfo, config: ClusterConfig) -> list[list[Frame]]:
    """Some frames of every sequence, spread over its times and cameras."""
    per_sequence = max(config.min_frames, config.max_total_frames // len(info.times))
    count = min(config.frames_per_sequence, per_sequence)
    names = info.names or tuple({frame.sequence for frame in frames})
    by_sequence: dict[str, list[Frame]] = {name: [] for name in names}
    for frame in sorted(frames, key=lambda f: (f.time, f.camera_id)):
        by_sequence[frame.sequence].append(frame)
    return [
        [own[i] for i in np.linspace(0, len(own) - 1, min(count, len(own))).round().astype(int)]
        for own in by_sequence.values()
    ]


@dataclass(frozen=True)
class _PartAppearance:
    """The size and colour of a sequence's K parts, from silhouettes.

    Attributes:
        low, middle, high: `[K, 4]` quartiles over the frames, of the logarithm of how far a part reaches from its
            centre, in scene units, and of its mean colour; NaN if it was not seen. Quartiles, because a frame shows too
            much or too little where parts touch or are occluded.
    """

    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray

    @staticmethod
    def of(
        frames: Sequence[Frame],
        backgrounds: StaticBackgrounds,
        centres: Tensor,
        info: SceneInfo,
        search: float,
        config: ClusterConfig,
    ) -> _PartAppearance:
        """From frames of one sequence; `centres` `[T, K, 3]` of its parts."""
        times = np.array(info.times[info.names.index(frames[0].sequence)])
        observations = []
        for frame in frames:
            view = SilhouetteView.of(frame, 0.0, 1.0, backgrounds.config)
            static_image = backgrounds.of(view)
            if static_image is not None:
                t = int(np.abs(times - frame.time).argmin())
                observations.append(_observe_parts(view, static_image, centres[t], search, config.radius_quantile))
        seen = np.array(observations).reshape(-1, centres.shape[1], 4)
        quartiles = np.full((3, centres.shape[1], 4), np.nan)
        for k in range(centres.shape[1]):
            own = seen[~np.isnan(seen[:, k, 0]), k]
            if len(own):
                quartiles[:, k] = np.quantile(own, (0.25, 0.5, 0.75), axis=0)
        return _PartAppearance(*quartiles)

    @property
    def radius(self) -> np.ndarray:
        """`[K]` median of how far the parts reach, in scene units."""
        return np.exp(self.middle[:, 0])

    def is_similar(self, other: _PartAppearance, config: ClusterConfig) -> bool:
        """As many parts, none of which looks different. Parts that were not seen do not look different."""
        if len(self.low) != len(other.low):
            return False
        apart = (self.low > other.high) | (other.low > self.high)
        limits = (np.log(config.max_size_ratio), *[config.max_color_difference] * 3)
        return not (apart & (np.abs(self.middle - other.middle) > limits)).any()


def _observe_parts(
    view: SilhouetteView, static_image: np.ndarray, centres: Tensor, search: float, radius_quantile: float
) -> np.ndarray:
    """`[K, 4]`: for each part at `centres` `[K, 3]` the logarithm of its reach, and its mean colour, in one view: of
    the moving pixels nearer to it than `search` and than to other parts. NaN if there are none."""
    moving = moving_mask(torch.from_numpy(view.image), torch.from_numpy(static_image)).numpy()
    rows, columns = moving.nonzero()
    pixels, depths = view.camera.project(centres.float())
    positions = np.stack([columns + 0.5, rows + 0.5], -1)
    away = np.linalg.norm(positions[:, None] - pixels.numpy(), axis=-1) * (depths.numpy() / view.camera.fx)
    nearest, observed = away.argmin(1), np.full((len(centres), 4), np.nan)
    for k in range(len(centres)):
        own = (nearest == k) & (away[:, k] <= search)
        if own.any():
            observed[k, 0] = np.log(max(float(np.quantile(away[own, k], radius_quantile)), 1e-9))
            observed[k, 1:] = view.image[rows[own], columns[own]].mean(0)
    return observed


def _poses(centres: Tensor, rotations: Tensor, radius: Tensor, max_poses: int) -> Tensor:
    """`[N, 6 K]` of a sequence: centres, and rotation vectors times the part's radius `[K]`, all in scene units."""
    chosen = torch.linspace(0, len(centres) - 1, min(max_poses, len(centres))).round().long()
    return torch.cat([centres[chosen], rotations[chosen] * radius[:, None]], dim=-1).double().flatten(1)


@dataclass(frozen=True, eq=False)
class _PoseSurface:
    """Some sequences, their poses `[N, P]`, and the surface through them."""

    sequences: tuple[int, ...]
    poses: Tensor
    manifold: Manifold

    @staticmethod
    def through(
        sequences: tuple[int, ...], poses: Tensor, max_coordinates: int, config: ManifoldConfig
    ) -> _PoseSurface:
        """The surface through some poses, of at most so many generalized coordinates."""
        manifold = Manifold(poses.shape[1], max_coordinates, config)
        manifold.fit(poses)
        return _PoseSurface(sequences, poses, manifold)

    def joined(self, other: _PoseSurface) -> _PoseSurface:
        """One surface through the poses of both, of no more coordinates than either has."""
        maximum = max(self.manifold.size, other.manifold.size, 1)
        return _PoseSurface.through(
            self.sequences + other.sequences, torch.cat([self.poses, other.poses]), maximum, self.manifold.config
        )

    def misfit(self, poses: Tensor) -> float:
        """Root mean square distance of other poses from the surface, as a share of its own motion."""
        error = (self.manifold.decode(self.manifold.encode(poses)) - poses).square().mean()
        return float((error / (self.poses - self.poses.mean(0)).square().mean().clamp_min(1e-300)).sqrt())


@torch.no_grad()
def _cluster_by_surface(poses: Sequence[Tensor], config: ClusterConfig) -> np.ndarray:
    """`[S]`: the surface that each sequence's poses `[N, P]` lie on; all 0 if this cannot be told."""
    all_in_one = np.zeros(len(poses), np.int64)
    if len(poses) < 2 * config.min_sequences:
        return all_in_one
    # At random: of clusters that alternate, even steps would meet one only.
    chosen = np.random.default_rng(0).permutation(len(poses))[: config.max_surfaces].tolist()
    surfaces = [_PoseSurface.through((i,), poses[i], poses[i].shape[1], config.manifold) for i in chosen]
    surfaces = _merge_surfaces(surfaces, config.max_joint_residual)
    misfits = np.array([[surface.misfit(own) for surface in surfaces] for own in poses])
    nearest = misfits.argmin(1)
    all_fit = misfits.min(1).max() <= config.max_joint_residual
    enough = np.bincount(nearest, minlength=len(surfaces)).min() >= config.min_sequences
    few = len(surfaces) <= config.max_clusters
    simple = max(surface.manifold.size for surface in surfaces) <= config.max_coordinates
    return nearest if all_fit and enough and few and simple else all_in_one


def _merge_surfaces(surfaces: list[_PoseSurface], max_residual: float) -> list[_PoseSurface]:
    """Joins the pair of surfaces with the smallest joint residual, again and again while it is small enough."""
    pairs = {(a, b): a.joined(b) for i, a in enumerate(surfaces) for b in surfaces[:i]}
    while pairs:
        best = min(pairs, key=lambda pair: float(pairs[pair].manifold.residual))
        new = pairs[best]
        if new.manifold.residual > max_residual:
            break
        surfaces = [surface for surface in surfaces if surface not in best]
        pairs = {pair: joint for pair, joint in pairs.items() if not set(pair) & set(best)}
        pairs |= {(new, other): new.joined(other) for other in surfaces}
        surfaces.append(new)
    return surfaces
