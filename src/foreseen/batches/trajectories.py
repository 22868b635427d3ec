"""Batches of windows of particle trajectories: spec, batch and sampler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreseen.core.batch import BatchSpec, Sampler, samples
from foreseen.core.scene_info import SceneInfo, sequence_names
from foreseen.data.particles import Particles
from foreseen.data.types import Dataset, Frame
from foreseen.errors import UserError


@dataclass(frozen=True)
class TrajectorySpec(BatchSpec):
    """How windows are drawn: every start in every sequence is equally likely.

    Attributes:
        windows: number of windows in a batch.
        steps: times in a window.
        stride: a window takes every so-many-th time of the sequence.
        particles: particles in a window, drawn without repetition; 0: all, which takes sequences of equally many.
    """

    windows: int = 1
    steps: int = 8
    stride: int = 1
    particles: int = 0


@dataclass(frozen=True)
class TrajectoryBatch:
    """B windows of P particles at T times.

    Attributes:
        positions: `[B, T, P, 3]` float32, in scene units.
        velocities: `[B, T, P, 3]`, in scene units per time unit; None where a sequence has none.
        object_ids: `[B, P]` int64.
        times: `[B, T]`, in the data set's unit.
        sequences: `[B]` int64, index of the sequence.
    """

    positions: Tensor
    velocities: Tensor | None
    object_ids: Tensor
    times: Tensor
    sequences: Tensor

    @property
    def pixels(self) -> int:
        """Number of positions in the batch, which count as pixels for the reported speed."""
        return self.positions[..., 0].numel()

    def to(self, device: torch.device) -> TrajectoryBatch:
        """The same batch on another device."""
        return TrajectoryBatch(
            positions=self.positions.to(device),
            velocities=None if self.velocities is None else self.velocities.to(device),
            object_ids=self.object_ids.to(device),
            times=self.times.to(device),
            sequences=self.sequences.to(device),
        )


@dataclass(frozen=True)
class _Trajectories:
    """The part of a sequence's particles that training may see."""

    sequence: int
    particles: Particles
    seen: np.ndarray
    """`[T]` indices of its times inside the observed window."""

    def starts(self, spec: TrajectorySpec) -> int:
        """Number of windows."""
        return max(len(self.seen) - (spec.steps - 1) * spec.stride, 0)


@samples(TrajectorySpec)
class TrajectorySampler(Sampler):
    """Draws windows from the particles of the training sequences, inside of the observed window of time."""

    def __init__(
        self,
        frames: Sequence[Frame],
        names: Sequence[str],
        info: SceneInfo,
        seed: int,
        memory_mb: int = 1024,
        say: Callable[[str], None] | None = None,
        particles: Sequence[Particles | None] = (),
    ) -> None:
        del names, memory_mb  # particles are told apart by their place, and are small
        super().__init__(frames, info, seed, say)
        self.trajectories = [
            _Trajectories(index, known, _seen_times(known, info.times[index]))
            for index, known in enumerate(particles)
            if known is not None
        ]
        if not self.trajectories:
            raise UserError("the training sequences have no particles: give a data set that has them")

    @classmethod
    def of(cls, data: Dataset, frames: Sequence[Frame], info: SceneInfo, seed: int, **options: Any) -> Sampler:
        """A sampler for the sequences that `frames` are of."""
        names = sequence_names(data, frames)
        by_name = {s.name: s.particles for s in data.sequences}
        return cls(frames, names, info, seed, particles=[by_name[name] for name in names], **options)

    def batch(self, spec: TrajectorySpec, step: int) -> TrajectoryBatch:
        """The next batch: `spec.windows` windows, on the CPU."""
        del step
        counts = torch.tensor([trajectories.starts(spec) for trajectories in self.trajectories])
        if not counts.any():
            raise UserError(
                f"no sequence has {spec.steps} observed times in a row (stride {spec.stride}): ask for less"
            )
        ends = counts.cumsum(0)
        drawn = torch.randint(int(ends[-1]), (spec.windows,), generator=self.generator)
        owners = torch.searchsorted(ends, drawn, right=True)
        starts = drawn - (ends - counts)[owners]
        windows = [
            self._window(self.trajectories[owner], start, spec)
            for owner, start in zip(owners.tolist(), starts.tolist(), strict=True)
        ]
        positions, velocities, ids, times, sequences = zip(*windows, strict=True)
        if len({len(own) for own in ids}) > 1:
            raise UserError("sequences differ in their number of particles: draw a number of them (particles=N)")
        whole = [v for v in velocities if v is not None]
        return TrajectoryBatch(
            torch.stack(positions),
            torch.stack(whole) if len(whole) == len(velocities) else None,
            torch.stack(ids),
            torch.stack(times),
            torch.tensor(sequences),
        )

    def _window(
        self, trajectories: _Trajectories, start: int, spec: TrajectorySpec
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor, int]:
        """Positions and velocities `[T, P, 3]`, object ids `[P]`, times `[T]` and the sequence's index."""
        rows = trajectories.seen[start : start + spec.steps * spec.stride : spec.stride]
        ids = torch.from_numpy(np.array(trajectories.particles.object_ids))
        if spec.particles > len(ids):
            raise UserError(f"a sequence has {len(ids)} particles, fewer than {spec.particles}: ask for less")
        columns = torch.arange(len(ids))
        if spec.particles:
            columns = torch.randperm(len(ids), generator=self.generator)[: spec.particles]

        def values(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array[rows].astype(np.float32))[:, columns]

        velocities = trajectories.particles.velocities
        times = torch.from_numpy(trajectories.particles.times[rows].astype(np.float32))
        return (
            values(trajectories.particles.positions),
            None if velocities is None else values(velocities),
            ids[columns],
            times,
            trajectories.sequence,
        )


def _seen_times(particles: Particles, times: Sequence[float]) -> np.ndarray:
    """Indices of the particles' times from the first to the last training time, rounding allowed for."""
    slack = 1e-6 * max(times[-1] - times[0], 1e-12)
    return np.flatnonzero((particles.times >= times[0] - slack) & (particles.times <= times[-1] + slack))
