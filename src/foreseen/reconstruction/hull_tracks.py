"""Parts tracked through a sequence of visual hulls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from foreseen.reconstruction.config import PartsConfig, ReconstructionConfig
from foreseen.reconstruction.visual_hull import VisualHull


@dataclass
class HullTrack:
    """One part in T hulls, one entry for each.

    Attributes:
        times: in 0..1.
        centres: `[3]` each: mean of the part's cells.
        axes: `[3]` each: first principal axis, a unit vector.
        tails: `[3]` each: third moment, which points to where the part reaches out; its length is 0 (symmetric) to 1.
        colors: `[3]` each: mean colour.
        elongations: first principal axis over the second.
        sizes: how far the part reaches from its centre.
    """

    times: list[float] = field(default_factory=list)
    centres: list[np.ndarray] = field(default_factory=list)
    axes: list[np.ndarray] = field(default_factory=list)
    tails: list[np.ndarray] = field(default_factory=list)
    colors: list[np.ndarray] = field(default_factory=list)
    elongations: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)

    def predict(self, time: float) -> np.ndarray:
        """The centre at another time, at constant velocity."""
        if len(self.times) < 2:
            return self.centres[-1]
        back = max(0, len(self.times) - 3)
        velocity = (self.centres[-1] - self.centres[back]) / (self.times[-1] - self.times[back])
        return self.centres[-1] + velocity * (time - self.times[-1])

    @staticmethod
    def joined(backward: HullTrack, forward: HullTrack) -> HullTrack:
        """Two tracks that start at the same hull, one of them backward in time."""
        return HullTrack(*([*getattr(backward, f.name)[:0:-1], *getattr(forward, f.name)] for f in fields(HullTrack)))


def track_parts(hulls: Sequence[VisualHull], extent: float, config: ReconstructionConfig) -> list[HullTrack]:
    """Tracks of the parts, forward and backward in time from where the hulls have one component for each part. The
    number of parts is the largest number of components that many hulls have.

    Args:
        extent: longest side of the scene.
    """
    if not hulls:
        return []
    counts = np.array([h.num_components for h in hulls])
    num_parts = max(c for c in np.unique(counts) if np.mean(counts >= c) >= config.parts.min_component_share)
    first, last = _longest_run(counts == num_parts)
    start = (first + last) // 2
    sizes = np.bincount(hulls[start].component_ids).tolist()
    seeds = sorted(range(len(sizes)), key=lambda i: -sizes[i])[: config.max_parts]
    forward = _track(hulls[start:], seeds, extent, config)
    backward = _track(hulls[start::-1], seeds, extent, config)
    whole = [HullTrack.joined(*pair) for pair in zip(backward, forward)]
    return [track for track in whole if len(track.times) >= config.parts.min_track_share * len(hulls)]


def _track(
    hulls: Sequence[VisualHull], seeds: Sequence[int], extent: float, config: ReconstructionConfig
) -> list[HullTrack]:
    """Tracks through the hulls, in their order; track k starts with component `seeds[k]` of the first one."""
    tracks = [HullTrack() for _ in seeds]
    for i, hull in enumerate(hulls):
        track_ids = _assign_cells(tracks, hull, extent, config.parts) if i else _seeded(seeds, hull)
        _extend(tracks, hull, track_ids, config.hulls.min_cells, config.parts)
    return tracks


def _longest_run(flags: np.ndarray) -> tuple[int, int]:
    """First and last index of the longest run of True."""
    labels, count = ndimage.label(flags)
    best = max(range(1, count + 1), key=lambda i: int((labels == i).sum()))
    indices = np.nonzero(labels == best)[0]
    return int(indices[0]), int(indices[-1])


def _seeded(seeds: Sequence[int], hull: VisualHull) -> np.ndarray:
    """`[P]`: track of each cell, -1 for none; track k takes component `seeds[k]`."""
    track_ids = np.full(len(hull.points), -1)
    for k, component in enumerate(seeds):
        track_ids[hull.component_ids == component] = k
    return track_ids


def _extend(
    tracks: Sequence[HullTrack], hull: VisualHull, track_ids: np.ndarray, min_cells: int, config: PartsConfig
) -> None:
    """Adds one hull to every track that has enough of its cells."""
    for k, track in enumerate(tracks):
        cells = hull.points[track_ids == k]
        if len(cells) < min_cells:
            continue
        centred = cells - cells.mean(0)
        values, vectors = np.linalg.eigh(np.cov(cells.T) + 1e-9 * np.eye(3))
        distances = np.linalg.norm(centred, axis=-1, keepdims=True)
        tail = (distances**2 * centred).sum(0) / (distances**3).sum()
        track.times.append(hull.time)
        track.centres.append(cells.mean(0))
        track.axes.append(vectors[:, 2])
        track.tails.append(tail)
        track.colors.append(hull.colors[track_ids == k].mean(0))
        track.elongations.append(float(np.sqrt(values[2] / values[1])))
        track.sizes.append(float(np.quantile(distances, config.size_quantile)))


def _assign_cells(tracks: Sequence[HullTrack], hull: VisualHull, extent: float, config: PartsConfig) -> np.ndarray:
    """`[P]`: track of each cell, -1 for none. Components are matched one to one to predicted positions (Hungarian
    algorithm); where there are fewer components than parts, parts share them cell by cell."""
    predicted = np.array([track.predict(hull.time) for track in tracks])
    track_colors = np.array([np.median(track.colors, axis=0) for track in tracks])
    color_scale = config.color_distance * extent
    components = hull.means(hull.points)
    cost = np.linalg.norm(predicted[:, None] - components[None], axis=-1)
    cost = cost + color_scale * np.linalg.norm(track_colors[:, None] - hull.means(hull.colors)[None], axis=-1)
    cell_color_cost = color_scale * np.linalg.norm(hull.colors[:, None] - track_colors[None], axis=-1)
    track_ids = np.full(len(hull.points), -1)
    centres = predicted.copy()
    for k, j in zip(*linear_sum_assignment(cost)):
        if cost[k, j] < config.match_distance * extent:
            centres[k] = components[j] if len(components) >= len(tracks) else predicted[k]
    for _ in range(config.assignment_iterations):
        distance = np.linalg.norm(hull.points[:, None] - centres[None], axis=-1) + cell_color_cost
        track_ids = np.where(distance.min(1) < config.cell_distance * extent, distance.argmin(1), -1)
        for k in range(len(tracks)):
            if (track_ids == k).any():
                centres[k] = hull.points[track_ids == k].mean(0)
    return track_ids
