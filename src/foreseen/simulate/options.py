"""Options of a simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from foreseen.errors import UserError


@dataclass(frozen=True)
class SimulateOptions:
    """Options of `foreseen simulate`. None: the scenario's own default."""

    sequences: int | None = None
    """Number of sequences, each with its own initial conditions. Of four or more, the last quarter is marked "test":
    unseen sequences; --unseen sets their number."""
    unseen: int | None = None
    """Number of sequences that are marked "test", the last ones; None: a quarter."""
    frames: int | None = None
    """Number of times in a sequence, the same for all cameras. Every eighth is marked "test": unseen times."""
    cameras: int | None = None
    """Number of fixed training cameras on an arc. With two or more, another is added and marked "test": an unseen
    view."""
    size: int = 160
    """Width and height of a picture [pixels]."""
    fps: float | None = None
    """Frames per second."""
    seed: int = 0
    """Random seed of initial conditions that are not given, and of the viewpoints of --monocular."""
    initial: str = ""
    """Initial conditions of the first sequence, such as "angle=0.6,velocity=0"; those of the next one after a
    semicolon. Those that are not named are drawn at random."""
    constants: str = ""
    """Constants of the equations of motion, such as "damping=0"."""
    background: Literal["room", "plain"] = "room"
    """room: a floor, a wall and static objects. plain: nothing; pictures with alpha, on a stated white background."""
    monocular: bool = False
    """One picture at a time, each from another random viewpoint, as in D-NeRF's data; a fixed camera is added and
    marked "test"."""
    samples: int = 3
    """Rays per pixel and axis: anti-aliasing."""
    workers: int = 0
    """Threads that render; 0: as many as there are processors."""

    def __post_init__(self) -> None:
        minimum = {"sequences": 1, "frames": 2, "cameras": 1, "size": 8, "samples": 1, "workers": 0, "seed": 0}
        for name, bound in minimum.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise UserError(f"--{name} {value}: give {bound} or more")
        if self.unseen is not None and not 0 <= self.unseen < (self.sequences or math.inf):
            raise UserError(f"--unseen {self.unseen}: give 0 or more, and fewer than --sequences")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise UserError(f"--fps {self.fps:g}: give a number of frames per second above 0")
