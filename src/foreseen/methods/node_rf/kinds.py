"""Which sequences are of one kind: as many parts, that look alike and move on one surface. Nobody tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from foreseen.data.difference import moving_mask
from foreseen.data.types import Frame
from foreseen.methods.base import SceneInfo
from foreseen.methods.hulls import Stills, View
from foreseen.methods.node_rf.manifold import TOLERANCE, Manifold

GLIMPSES, MOST_GLIMPSES = 12, 480
"""Frames in which the parts of one sequence are looked at, and those of all together, if three of each are fewer."""
REACH, COLOUR = 1.5, 0.15
"""Parts that reach so many times as far, or differ so much in a channel (0..1), do not look alike."""
POSES = 24
"""Times of a sequence at which its surface is compared with the others'."""
APART = 0.2
"""Two surfaces are not one where the one that is laid through both, of no more coordinates than either, leaves so large
a share of the motion."""
MOST, LEAST, WIDEST = 4, 3, 2
"""Surfaces tell kinds apart where there are few, each of several sequences and of few coordinates: else every sequence
may have its own way on a surface that none of them shows."""


def find_kinds(
    frames: Sequence[Frame],
    stills: Stills,
    centres: Sequence[Tensor],
    turns: Sequence[Tensor],
    info: SceneInfo,
    search: float,
) -> Tensor:
    """`[S]` int64: the kind of every sequence, 0, 1, ... in the order in which they first come.

    Args:
        centres, turns: for each sequence `[T, K, 3]` at its training times.
        search: how far a part reaches at most, in scene units.
    """
    looks = [_Look.of(own, stills, path, info, search) for own, path in zip(_by_sequence(frames, info), centres)]
    alike = np.array([[a.like(b) for b in looks] for a in looks])
    _, groups = connected_components(alike, directed=False)
    kinds = np.zeros(len(looks), np.int64)
    for group in range(groups.max() + 1):
        members = np.flatnonzero(groups == group).tolist()
        reach = torch.tensor(np.nanmedian([looks[s].reach for s in members], axis=0)).nan_to_num(search)
        poses = [_poses(centres[s], turns[s], reach) for s in members]
        kinds[members] = len(looks) * (1 + group) + _by_surface(poses)
    _, first, kinds = np.unique(kinds, return_index=True, return_inverse=True)
    return torch.from_numpy(np.argsort(np.argsort(first))[kinds])


def _by_sequence(frames: Sequence[Frame], info: SceneInfo) -> list[list[Frame]]:
    """Some frames of every sequence, spread over its times and cameras."""
    count = min(GLIMPSES, max(3, MOST_GLIMPSES // len(info.times)))
    names = info.sequences or tuple({frame.sequence for frame in frames})
    own: dict[str, list[Frame]] = {name: [] for name in names}
    for frame in sorted(frames, key=lambda f: (f.time, f.camera_id)):
        own[frame.sequence].append(frame)
    return [[f[i] for i in np.linspace(0, len(f) - 1, min(count, len(f))).round().astype(int)] for f in own.values()]


@dataclass(frozen=True)
class _Look:
    """What the silhouettes of a sequence's K parts say.

    Attributes:
        reach: `[K]`, how far a part goes out from its centre, in scene units; not a number where it was not seen.
        colour: `[K, 3]`, its mean colour.
    """

    reach: np.ndarray
    colour: np.ndarray

    @staticmethod
    def of(frames: Sequence[Frame], stills: Stills, centres: Tensor, info: SceneInfo, search: float) -> _Look:
        """Medians over the frames, in which the parts are at `centres` `[T, K, 3]`."""
        found = [[np.full(4, np.nan)] * centres.shape[1]]
        for frame in frames:
            view = View.of(frame, 0.0, 1.0)
            still = stills.of(view)
            if still is not None:
                times = np.array(info.times[info.sequences.index(frame.sequence)])
                found.append(_glimpse(view, still, centres[int(np.abs(times - frame.time).argmin())], search))
        with np.errstate(all="ignore"):
            median = np.nanmedian(np.array(found), axis=0) if len(found) > 1 else np.array(found[0])
        return _Look(median[:, 0], median[:, 1:])

    def like(self, other: _Look) -> bool:
        """As many parts, none of which looks different; what was not seen does not."""
        if len(self.reach) != len(other.reach):
            return False
        farther = np.abs(np.log(self.reach / other.reach)) > np.log(REACH)
        return not (farther | (np.abs(self.colour - other.colour) > COLOUR).any(-1)).any()


def _glimpse(view: View, still: np.ndarray, centres: Tensor, search: float) -> list[np.ndarray]:
    """For each part at `centres` `[K, 3]` reach and mean colour `[4]` in one view: of what moves nearer to it than
    `search`, and not nearer to another."""
    moving = moving_mask(torch.from_numpy(view.image), torch.from_numpy(still)).numpy()
    rows, columns = moving.nonzero()
    pixels, depths = view.camera.project(centres.float())
    places = np.stack([columns + 0.5, rows + 0.5], -1)
    away = np.linalg.norm(places[:, None] - pixels.numpy(), axis=-1) * (depths.numpy() / view.camera.fx)
    nearest, found = away.argmin(1) if away.size else np.zeros(0, int), []
    for k in range(len(centres)):
        own = (nearest == k) & (away[:, k] <= search)
        colours = view.image[rows[own], columns[own]]
        found.append(np.array([np.quantile(away[own, k], 0.95), *colours.mean(0)]) if own.any() else np.full(4, np.nan))
    return found


def _poses(centres: Tensor, turns: Tensor, reach: Tensor) -> Tensor:
    """`[N, 6 K]` of a sequence, turns as the way that the parts' rims go."""
    some = torch.linspace(0, len(centres) - 1, min(POSES, len(centres))).round().long()
    return torch.cat([centres[some], turns[some] * reach[:, None]], dim=-1).double().flatten(1)


@dataclass
class _Surface:
    """Some sequences, their poses `[N, P]`, and the surface through them."""

    members: list[int]
    poses: Tensor
    manifold: Manifold

    @staticmethod
    def through(members: list[int], poses: Tensor, most: int) -> _Surface:
        """Of `most` coordinates at most."""
        manifold = Manifold(poses.shape[1], most)
        manifold.fit(poses)
        return _Surface(members, poses, manifold)

    def holds(self, poses: Tensor) -> bool:
        """Whether others lie on it."""
        if self.manifold.size == 0:
            return False
        error = (self.manifold.decode(self.manifold.encode(poses)) - poses).square().mean().sqrt()
        return bool(error <= TOLERANCE * (self.poses - self.poses.mean(0)).square().mean().sqrt())

    def joined(self, other: _Surface) -> _Surface | None:
        """One surface for both; None where they are apart."""
        most = max(self.manifold.size, other.manifold.size, 1)
        both = _Surface.through(self.members + other.members, torch.cat([self.poses, other.poses]), most)
        return both if both.manifold.left <= APART else None


@torch.no_grad()
def _by_surface(poses: list[Tensor]) -> np.ndarray:
    """`[S]`: which surface each sequence's poses `[N, P]` lie on; one and the same where that cannot be told."""
    one = np.zeros(len(poses), np.int64)
    if len(poses) < 2 * LEAST:
        return one
    surfaces: list[_Surface] = []
    for index, own in enumerate(poses):
        on = next((surface for surface in surfaces if surface.holds(own)), None)
        if on is not None:
            on.members.append(index)
            continue
        surfaces = _joined([*surfaces, _Surface.through([index], own, own.shape[1])])
        if len(surfaces) > MOST:
            return one
    if any(len(surface.members) < LEAST or surface.manifold.size > WIDEST for surface in surfaces):
        return one
    for label, surface in enumerate(surfaces):
        one[surface.members] = label
    return one


def _joined(surfaces: list[_Surface]) -> list[_Surface]:
    """The last one joined with the others, as far as they are not apart."""
    *rest, last = surfaces
    for i, other in enumerate(rest):
        both = other.joined(last)
        if both is not None:
            return _joined([*rest[:i], *rest[i + 1 :], both])
    return surfaces
