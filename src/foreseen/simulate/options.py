"""What a user may ask of a simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from foreseen.errors import UserError


@dataclass(frozen=True)
class SimulateOptions:
    """Options of `foreseen simulate`. None stands for what is usual in the scenario."""

    sequences: int | None = None
    """How many runs of the world, each with its own initial conditions. From four on, the last quarter is
    marked "test": unseen sequences; --unseen says how many."""
    unseen: int | None = None
    """How many of the sequences are marked "test", the last ones; None: a quarter."""
    frames: int | None = None
    """Times a sequence, in all cameras at once. Every eighth is marked "test": unseen times."""
    cameras: int | None = None
    """Fixed training cameras on an arc. From two on, one more is added and marked "test": an unseen view."""
    size: int = 160
    """Width and height of a picture [pixels]."""
    fps: float | None = None
    """Times a second."""
    seed: int = 0
    """Of the initial conditions that are not typed, and of the places of moving cameras."""
    initial: str = ""
    """Initial conditions such as "angle=0.6,velocity=0", of the first sequence; those of the next after a
    semicolon. What is not named is drawn."""
    constants: str = ""
    """Constants of the law such as "damping=0"."""
    background: Literal["room", "plain"] = "room"
    """room: a floor, a wall, things that stand about. plain: nothing, pictures with alpha, stated on
    white."""
    monocular: bool = False
    """One camera at a time, each time from another place, as in D-NeRF's data; a fixed one is added and
    marked "test"."""
    samples: int = 3
    """Rays a pixel and axis: anti-aliasing."""
    workers: int = 0
    """Threads that draw; 0: as many as there are processors."""

    def __post_init__(self) -> None:
        minimum = {"sequences": 1, "frames": 2, "cameras": 1, "size": 8, "samples": 1, "workers": 0, "seed": 0}
        for name, bound in minimum.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise UserError(f"--{name} {value}: give {bound} or more")
        if self.unseen is not None and not 0 <= self.unseen < (self.sequences or math.inf):
            raise UserError(f"--unseen {self.unseen}: give 0 or more, and fewer than --sequences")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise UserError(f"--fps {self.fps:g}: give a positive number of times a second")
