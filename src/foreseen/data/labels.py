"""Poses and velocities of a sequence's bodies at some times, from the ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from foreseen.data.types import GroundTruth

SAME_TIME = 1e-6
"""Times that differ by less than this share of the ground truth's time range count as equal."""


@dataclass(frozen=True)
class PoseLabels:
    """Poses and velocities of B bodies at T times. With T = 1 they are initial conditions.

    Attributes:
        bodies: names.
        times: `[T]` float64, in the data set's unit.
        positions: `[T, B, 3]` float64, in scene units.
        velocities: `[T, B, 3]` float64, in scene units per time unit.
        rotations: `[T, B, 3, 3]` float64, body to world; the identity where they are not known.
    """

    bodies: tuple[str, ...]
    times: Tensor
    positions: Tensor
    velocities: Tensor
    rotations: Tensor

    def at(self, index: int) -> PoseLabels:
        """The labels at one time, T = 1."""
        at = slice(index, index + 1 or None)
        return PoseLabels(self.bodies, self.times[at], self.positions[at], self.velocities[at], self.rotations[at])


def labels_at(truth: GroundTruth | None, times: Sequence[float]) -> PoseLabels | None:
    """The ground truth at `times`, all of which it must have; None where it is absent or lacks one of them."""
    if truth is None or len(truth.times) == 0 or len(times) == 0:
        return None
    wanted = np.asarray(times, dtype=np.float64)
    nearest = np.abs(truth.times[None, :] - wanted[:, None]).argmin(1)
    slack = SAME_TIME * max(float(np.ptp(truth.times)), 1e-12)
    if (np.abs(truth.times[nearest] - wanted) > slack).any():
        return None

    def rows(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float64)[nearest])

    rotations = truth.state.get("rotations")
    shape = (len(truth.times), len(truth.bodies), 3, 3)
    if rotations is None or np.shape(rotations) != shape:
        rotations = np.broadcast_to(np.eye(3), shape)
    return PoseLabels(
        truth.bodies, torch.from_numpy(wanted), rows(truth.positions), rows(truth.velocities), rows(rotations)
    )
