"""A rod and a bob swing about a pivot."""

from __future__ import annotations

import numpy as np

from foreseen.errors import UserError
from foreseen.simulate.camera_rig import CameraRig
from foreseen.simulate.equations import swing
from foreseen.simulate.scenario import UPRIGHT, BodyMotion, Numbers, Scenario, ScenarioSystem, SequenceIndex, room
from foreseen.simulate.scene import Body, Box, Capsule, Material, Solid, Sphere, Stage

PIVOT = np.array([0.0, 0.0, 0.9])
BOB, ROD, ARM, WALL = 0.09, 0.014, 0.022, 0.6


def draw(rng: np.random.Generator, constants: Numbers, which: SequenceIndex) -> Numbers:
    """35 to 45 degrees to either side, and a gentle push."""
    del constants, which
    side = rng.choice([-1.0, 1.0])
    return {"angle": side * np.radians(rng.uniform(35, 45)), "velocity": rng.uniform(-0.4, 0.4)}


def solve(constants: Numbers, initial: Numbers, times: np.ndarray) -> BodyMotion:
    """See `equations.swing`. The body's origin is the bob's centre, its z axis points to the pivot."""
    if not 0.2 <= constants["length"] <= 0.75:
        raise UserError(f"pendulum: length={constants['length']:g} leaves the picture; give 0.2 to 0.75 [m]")
    angle, velocity = swing(initial["angle"], initial["velocity"], times, **constants)
    sine, cosine, zero, length = np.sin(angle), np.cos(angle), np.zeros_like(angle), constants["length"]
    rotations = np.stack(
        [
            np.stack([cosine, zero, -sine], -1),
            np.stack([zero, zero + 1, zero], -1),
            np.stack([sine, zero, cosine], -1),
        ],
        -2,
    )
    positions = PIVOT + length * np.stack([sine, zero, -cosine], -1)
    velocities = (length * velocity)[:, None] * np.stack([cosine, zero, sine], -1)
    state = {"angle": angle, "angular_velocity": velocity}
    return BodyMotion(positions[:, None], velocities[:, None], rotations[:, None], state)


def bodies(constants: Numbers) -> tuple[Body, ...]:
    """Rod and bob, one rigid body."""
    length = constants["length"]
    # Brass: a grey rod before a grey wall looks like its own shadow, to a mask as to the eye.
    brass = Material((0.62, 0.36, 0.02))
    rod = Capsule(brass, position=(0, 0, length / 2), radius=ROD, half_length=length / 2)
    bob = Sphere(Material((0.76, 0.07, 0.04)), radius=BOB)
    return (Body("pendulum", (bob, rod)),)


def stand(back: float) -> tuple[Solid, ...]:
    """A post at y = `back`, with an arm to the pivot."""
    wood, steel = Material((0.30, 0.17, 0.09)), Material((0.10, 0.11, 0.13))
    half = 0.5 * (back + 0.04)
    return (
        Box(wood, position=(0, back, 0.48), half_extents=(0.035, 0.035, 0.48)),
        Box(wood, position=(0, back - 0.05, 0.02), half_extents=(0.24, 0.16, 0.02)),
        Capsule(steel, position=(0, back - half, float(PIVOT[2])), rotation=UPRIGHT, radius=ARM, half_length=half),
    )


def stage(constants: Numbers, surroundings: bool) -> Stage:
    """A stand behind the pendulum."""
    del constants
    return Stage(stand(0.3) + (room(WALL) if surroundings else ()))


SCENARIO = Scenario(
    summary="a rod and a bob swing about a pivot, lightly damped",
    systems=(
        ScenarioSystem(
            dynamics="damped-pendulum",
            constants={"gravity": 9.81, "length": 0.5, "damping": 0.1},
            initial={"angle": "from hanging straight down [rad]", "velocity": "angular [rad/s]"},
            draw=draw,
            solve=solve,
            bodies=bodies,
        ),
    ),
    stage=stage,
    rig=CameraRig(target=(0.0, 0.0, 0.55), distance=2.2, arc_degrees=36.0, elevation=(6.0, 20.0), width=1.55),
    sequences=1,
    frames=72,
    fps=20.0,
    cameras=4,
)
