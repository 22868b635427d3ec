"""3D Gaussians over time: those of the first time, and what of them changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from foreseen.errors import UserError
from foreseen.scenes.attribute_track import AttributeTrack
from foreseen.scenes.gaussians import Gaussians

ATTRIBUTES = ("means", "quaternions", "scales", "opacities", "harmonics", "extras")
"""What may change over time."""


@dataclass(frozen=True)
class MovingGaussians:
    """The same N Gaussians at any time.

    Attributes:
        first: the Gaussians at the first time.
        times: `[T]` float64, strictly ascending, T at least 1.
        tracks: by the name of an attribute of `Gaussians`; an attribute without a track is static.
        time_unit: such as "s"; empty where it is not stated.
    """

    first: Gaussians
    times: Tensor
    tracks: Mapping[str, AttributeTrack] = field(default_factory=dict)
    time_unit: str = ""

    def at(self, time: float) -> Gaussians:
        """The Gaussians at `time`: exact at each of the times, linear in between (quaternions the shorter way round and
        normalised). Before the first and after the last time they are as at the nearest one."""
        after = int(torch.searchsorted(self.times, time).clamp(max=len(self.times) - 1))
        before = after if float(self.times[after]) <= time else max(after - 1, 0)
        span = float(self.times[after] - self.times[before])
        share = (time - float(self.times[before])) / span if span > 0 else 0.0
        changed = {
            name: getattr(self.first, name).index_copy(
                0, track.index, _between(name, track.values, before, after, share)
            )
            for name, track in self.tracks.items()
        }
        return replace(self.first, **changed)


def _between(name: str, values: Tensor, before: int, after: int, share: float) -> Tensor:
    if before == after:
        return values[before]
    a, b = values[before], values[after]
    if name == "quaternions":
        a, b = (q / q.norm(dim=-1, keepdim=True) for q in (a, b))
        b = torch.where((a * b).sum(-1, keepdim=True) < 0, -b, b)
    mixed = torch.lerp(a, b, share)
    return mixed / mixed.norm(dim=-1, keepdim=True) if name == "quaternions" else mixed


def gather_motion(frames: Iterable[tuple[float, Gaussians]], time_unit: str = "") -> MovingGaussians:
    """Moving Gaussians from all Gaussians at each time. Besides the first frame only what changes is kept in memory.

    Args:
        frames: times, strictly ascending, and the Gaussians then, the same ones in the same order.

    Raises:
        UserError: times that do not ascend, or another number of Gaussians, coefficients or channels than at first.
    """
    times: list[float] = []
    collected: dict[str, _Collected] = {}
    first: Gaussians | None = None
    for time, gaussians in frames:
        if first is None:
            first = gaussians
            collected = {name: _Collected(value) for name, value in _attributes(first).items()}
        elif time <= times[-1]:
            raise UserError(f"times of moving Gaussians ascend, but {time:g} comes after {times[-1]:g}.")
        present = _attributes(gaussians)
        for name in ATTRIBUTES:
            before, now = (
                tuple(attributes[name].shape) if name in attributes else None
                for attributes in (_attributes(first), present)
            )
            if before != now:
                raise UserError(
                    f"at time {time:g} the Gaussians' {name} have the shape {now}, but {before} at first: the 4D form "
                    "holds the same Gaussians at all times; write a PLY sequence."
                )
        for name, value in present.items():
            collected[name].add(value)
        times.append(time)
    if first is None:
        raise UserError("moving Gaussians need one time at least.")
    tracks = {name: track for name, rows in collected.items() if (track := rows.track()) is not None}
    return MovingGaussians(first, torch.tensor(times, dtype=torch.float64), tracks, time_unit)


def _attributes(gaussians: Gaussians) -> dict[str, Tensor]:
    values = {name: getattr(gaussians, name) for name in ATTRIBUTES}
    return {name: value for name, value in values.items() if value is not None}


class _Collected:
    """The rows of one attribute that differ from those of the first frame, frame by frame."""

    def __init__(self, first: Tensor) -> None:
        self.first = first
        self.frames: list[tuple[Tensor, Tensor]] = []

    def add(self, values: Tensor) -> None:
        rows = (values != self.first).flatten(1).any(1) if values.ndim > 1 else values != self.first
        index = rows.nonzero()[:, 0]
        self.frames.append((index, values[index]))

    def track(self) -> AttributeTrack | None:
        """None where nothing changes."""
        index = torch.unique(torch.cat([rows for rows, _ in self.frames]))
        if not len(index):
            return None
        values = self.first[index].expand(len(self.frames), *self.first[index].shape).clone()
        for frame, (rows, changed) in zip(values, self.frames):
            frame[torch.searchsorted(index, rows)] = changed
        return AttributeTrack(index, values)
