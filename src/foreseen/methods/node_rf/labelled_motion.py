"""Labels of several sequences: positions and velocities of the bodies, in the units of the networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import PoseLabels
from foreseen.errors import UserError


class LabelledMotion(nn.Module):
    """Positions and velocities of B bodies at the training times of S sequences, padded to T times with zeros.

    Positions are relative to the scene's centre, in half its longest side, so that the scene is [-1, 1]. Velocities are
    per window length, divided by the largest component of any label, so that they are in [-1, 1] as well: the
    encodings are made for this range. A window length is the longest span of one sequence's training times.

    Attributes:
        counts: training times of each sequence.
        start_times: first training time of each, in the data set's unit.
        length: the window length, in the data set's unit.
        times: `[S, T]`, in window lengths from the sequence's first.
        positions, velocities: `[S, T, 3 * B]`, body after body.
        speed: `[]`, the velocity that counts as 1, in half sides per window length.

    Raises:
        UserError: sequences without labels, with different bodies, or with fewer than two training times.
    """

    times: Tensor
    positions: Tensor
    velocities: Tensor
    speed: Tensor

    def __init__(self, info: SceneInfo) -> None:
        super().__init__()
        check_sequences(info)
        self.info, self.bodies = info, info.bodies[0]
        self.counts = tuple(len(times) for times in info.times)
        self.start_times = tuple(times[0] for times in info.times)
        self.length = max(times[-1] - times[0] for times in info.times)
        low, high = torch.tensor(info.bounds, dtype=torch.float64)
        self.middle, self.half_side = (low + high) / 2, max(float((high - low).max()) / 2, 1e-9)
        shape = (len(self.counts), max(self.counts))
        times = torch.zeros(shape, dtype=torch.float64)
        for i, of_sequence in enumerate(info.times):
            since_start = torch.tensor(of_sequence, dtype=torch.float64) - of_sequence[0]
            times[i, : len(of_sequence)] = since_start / self.length
        self.register_buffer("times", times.float(), persistent=False)
        self.register_buffer("positions", torch.zeros(*shape, self.width))
        self.register_buffer("velocities", torch.zeros(*shape, self.width))
        self.register_buffer("speed", torch.ones(()))

    @property
    def width(self) -> int:
        """Number of coordinates of all bodies: 3 * B."""
        return 3 * len(self.bodies)

    def set_labels(self, labels: Sequence[PoseLabels | None]) -> None:
        """Keeps the labels at the training times. Raises `UserError` where a sequence has no labels."""
        names = _names(self.info)
        present = [label if label is not None else _refuse(name) for name, label in zip(names, labels, strict=True)]
        largest = max(float(label.velocities.abs().max()) for label in present)
        self.speed.fill_(largest * self.length / self.half_side)
        self.speed.clamp_(min=1e-6)
        for i, label in enumerate(present):
            positions, velocities = self.in_units(label)
            self.positions[i, : self.counts[i]] = positions
            self.velocities[i, : self.counts[i]] = velocities

    def in_units(self, labels: PoseLabels) -> tuple[Tensor, Tensor]:
        """Positions and velocities `[T, 3 * B]` of labels. Raises `UserError` for another number of bodies."""
        if len(labels.bodies) != len(self.bodies):
            raise UserError(
                f"this run learned {_count(self.bodies)}, and the initial conditions have {_count(labels.bodies)}: "
                "give positions and velocities of as many."
            )
        positions = (labels.positions - self.middle) / self.half_side
        velocities = labels.velocities * self.length / (self.half_side * float(self.speed))
        return positions.flatten(1).to(self.positions), velocities.flatten(1).to(self.velocities)


def check_sequences(info: SceneInfo) -> None:
    """Raises `UserError` for sequences with different bodies, or with labels at fewer than two training times."""
    names, first = _names(info), info.bodies[0] if info.bodies else ()
    for name, times, bodies in zip(names, info.times, info.bodies or [()] * len(names), strict=True):
        if not bodies:
            _refuse(name)
        if len(times) < 2:
            raise UserError(
                f"node-rf needs training frames of each sequence at 2 times or more; '{name}' has {len(times)}: "
                "give more frames, or a larger --observe-until."
            )
        if len(bodies) != len(first):
            raise UserError(
                f"node-rf learns sequences of the same bodies; '{names[0]}' has {_count(first)} and "
                f"'{name}' {_count(bodies)}: give a folder with sequences of one kind."
            )


def _names(info: SceneInfo) -> tuple[str, ...]:
    return info.names or tuple(str(i) for i in range(len(info.times)))


def _refuse(name: str) -> PoseLabels:
    raise UserError(
        f"node-rf needs the bodies' positions at all training times to learn several sequences, and '{name}' lacks "
        "them: give a data set with ground truth, or one sequence."
    )


def _count(bodies: tuple[str, ...]) -> str:
    return f"{len(bodies)} {'body' if len(bodies) == 1 else 'bodies'}"
