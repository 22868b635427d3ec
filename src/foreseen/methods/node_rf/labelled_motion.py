"""What is known of the bodies of several sequences: where they are and how fast, in a network's units."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import PoseLabels
from foreseen.errors import UserError


class LabelledMotion(nn.Module):
    """Positions and velocities of B bodies at the training times of S sequences, padded to T times with zeros.

    Positions are counted in halves of the scene's longest side from its middle, so that the scene is [-1, 1].
    Velocities are that per window length, as a share of the largest component that any label has: [-1, 1] again, which
    is what encodings of either are made for. A window length is the longest span of one sequence's training times.

    Attributes:
        counts: training times of each sequence.
        starts: first training time of each, in the data set's unit.
        length: the window length, in the data set's unit.
        times: `[S, T]`, in window lengths from the sequence's first.
        positions, velocities: `[S, T, 3 * B]`, body after body.
        speed: `[]`, the velocity that counts as 1, in half sides per window length.

    Raises `UserError` for sequences without labels, of different bodies, or with fewer than two training times.
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
        for i, own in enumerate(info.times):
            times[i, : len(own)] = (torch.tensor(own, dtype=torch.float64) - own[0]) / self.length
        self.register_buffer("times", times.float(), persistent=False)
        self.register_buffer("positions", torch.zeros(*shape, self.width))
        self.register_buffer("velocities", torch.zeros(*shape, self.width))
        self.register_buffer("speed", torch.ones(()))

    @property
    def width(self) -> int:
        """Numbers that say where all bodies are: 3 * B."""
        return 3 * len(self.bodies)

    def set_labels(self, labels: Sequence[PoseLabels | None]) -> None:
        """Takes over what is known at the training times. Raises `UserError` where a sequence has no labels."""
        names = _names(self.info)
        known = [one if one is not None else _refuse(name) for name, one in zip(names, labels, strict=True)]
        self.speed.fill_(max(float(one.velocities.abs().max()) for one in known) * self.length / self.half_side)
        self.speed.clamp_(min=1e-6)
        for i, one in enumerate(known):
            positions, velocities = self.in_units(one)
            self.positions[i, : self.counts[i]] = positions
            self.velocities[i, : self.counts[i]] = velocities

    def in_units(self, labels: PoseLabels) -> tuple[Tensor, Tensor]:
        """Positions and velocities `[T, 3 * B]` of labels. Raises `UserError` where the bodies are not as many."""
        if len(labels.bodies) != len(self.bodies):
            raise UserError(
                f"this run learned {_count(self.bodies)}, and the initial conditions tell of {_count(labels.bodies)}: "
                "give positions and velocities of as many."
            )
        positions = (labels.positions - self.middle) / self.half_side
        velocities = labels.velocities * self.length / (self.half_side * float(self.speed))
        return positions.flatten(1).to(self.positions), velocities.flatten(1).to(self.velocities)


def check_sequences(info: SceneInfo) -> None:
    """Raises `UserError` where the sequences are not ones of the same bodies, known at two training times or more."""
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
                f"node-rf's paper preset learns sequences of the same bodies; '{names[0]}' has {_count(first)} and "
                f"'{name}' {_count(bodies)}: give a folder with those of one kind."
            )


def _names(info: SceneInfo) -> tuple[str, ...]:
    return info.names or tuple(str(i) for i in range(len(info.times)))


def _refuse(name: str) -> PoseLabels:
    raise UserError(
        f"node-rf's paper preset needs positions of what moves to learn several sequences, and '{name}' has none: "
        "give a data set with truth, or --preset fast."
    )


def _count(bodies: tuple[str, ...]) -> str:
    return f"{len(bodies)} {'body' if len(bodies) == 1 else 'bodies'}"
