"""What a scenario is: systems with equations of motion, what is rendered, the cameras, and default numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from foreseen.errors import UserError
from foreseen.simulate.camera_rig import CameraRig
from foreseen.simulate.scene import Body, Box, Material, Plane, Poses, Solid, Sphere, Stage

Numbers = dict[str, float]


@dataclass(frozen=True)
class BodyMotion:
    """B bodies at T times.

    Attributes:
        positions, velocities: `[T, B, 3]` of the centres of mass [m], [m/s].
        rotations: `[T, B, 3, 3]`, body to world.
        state: other state by name, `[T, ...]` each.
    """

    positions: np.ndarray
    velocities: np.ndarray
    rotations: np.ndarray
    state: dict[str, np.ndarray] = field(default_factory=dict)

    def poses(self, index: int) -> Poses:
        """Poses of the bodies at one time."""
        return Poses(self.rotations[index], self.positions[index])


@dataclass(frozen=True)
class SequenceIndex:
    """A sequence's number, among the seen or among the unseen sequences."""

    index: int
    unseen: bool


@dataclass(frozen=True)
class ScenarioSystem:
    """What moves in a sequence, and its equations of motion.

    Attributes:
        dynamics: name of the equations of motion, stored with the ground truth.
        constants: their constants and default values; lengths in metres, times in seconds.
        initial: names of the initial conditions and what they mean.
        draw: seeded initial conditions of one sequence, one number for each name.
        solve: constants, initial conditions and T times (from 0) -> the motion. Raises `UserError` for impossible
            values.
        bodies: constants -> the moving bodies, as they are rendered.
    """

    dynamics: str
    constants: Numbers
    initial: dict[str, str]
    draw: Callable[[np.random.Generator, Numbers, SequenceIndex], Numbers]
    solve: Callable[[Numbers, Numbers, np.ndarray], BodyMotion]
    bodies: Callable[[Numbers], tuple[Body, ...]]

    def constants_of(self, constants: Numbers) -> Numbers:
        """Those of a scenario's constants that belong to this system."""
        return {name: constants[name] for name in self.constants}


@dataclass(frozen=True)
class Scenario:
    """A simulated world.

    Attributes:
        summary: one line for the user.
        systems: sequence i has system i modulo their number; a constant that two systems share has one value.
        stage: constants of all systems, and whether the room is rendered -> the static solids, the same in every
            sequence, and the light.
        rig: the cameras.
        sequences, frames, fps, cameras: default numbers.
    """

    summary: str
    systems: tuple[ScenarioSystem, ...]
    stage: Callable[[Numbers, bool], Stage]
    rig: CameraRig
    sequences: int
    frames: int
    fps: float
    cameras: int

    @property
    def constants(self) -> Numbers:
        """Constants of all systems."""
        return {name: value for system in self.systems for name, value in system.constants.items()}

    @property
    def initial(self) -> dict[str, str]:
        """Names of the initial conditions of all systems, and what they mean."""
        return {name: meaning for system in self.systems for name, meaning in system.initial.items()}

    def system(self, which: SequenceIndex, typed: Numbers) -> ScenarioSystem:
        """The system of a sequence: that of its number, or the next that has the given initial conditions.

        Raises:
            UserError: no system has them all.
        """
        first = which.index % len(self.systems)
        for system in self.systems[first:] + self.systems[:first]:
            if typed.keys() <= system.initial.keys():
                return system
        choice = ", or ".join(", ".join(system.initial) for system in self.systems)
        raise UserError(f"--initial: {', '.join(typed)}: one sequence has either {choice}")


UPRIGHT = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
"""Rotates a plane's normal from z to -y: a wall seen from the front."""


def room(wall: float) -> tuple[Solid, ...]:
    """A checked floor at z = 0, a checked wall at y = `wall` [m], and two static solids in front of the wall."""
    return (
        Plane(Material((0.62, 0.57, 0.50), (0.40, 0.37, 0.34), 0.25)),
        Plane(Material((0.46, 0.55, 0.64), (0.53, 0.61, 0.68), 0.4), position=(0, wall, 0), rotation=UPRIGHT),
        Box(
            Material((0.16, 0.36, 0.24)),
            position=(0.78, wall - 0.22, 0.11),
            rotation=_about_z(0.5),
            half_extents=(0.11, 0.11, 0.11),
        ),
        Sphere(Material((0.70, 0.52, 0.14)), position=(-0.82, wall - 0.2, 0.12), radius=0.12),
    )


def _about_z(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
