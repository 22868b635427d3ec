"""A scenario of somebody else: a ball on a spring, with the exact solution."""

from __future__ import annotations

import numpy as np

from foreseen.errors import UserError
from foreseen.simulate.camera_rig import CameraRig
from foreseen.simulate.scenario import BodyMotion, Numbers, Scenario, ScenarioSystem, SequenceIndex, room
from foreseen.simulate.scene import Body, Material, Sphere, Stage

HEIGHT = 0.5


def draw(rng: np.random.Generator, constants: Numbers, which: SequenceIndex) -> Numbers:
    """A start up to 0.4 m from the middle."""
    return {"x": rng.uniform(0.2, 0.4) * rng.choice([-1, 1])}


def solve(constants: Numbers, initial: Numbers, times: np.ndarray) -> BodyMotion:
    """x'' = -stiffness x, with x' = 0 at time 0."""
    if not constants["stiffness"] > 0:
        raise UserError(f"spring: stiffness is {constants['stiffness']:g} 1/s^2: give a number above 0")
    rate = np.sqrt(constants["stiffness"])
    x, v = initial["x"] * np.cos(rate * times), -rate * initial["x"] * np.sin(rate * times)
    zero, height = np.zeros_like(times), np.full_like(times, HEIGHT)
    positions, velocities = np.stack([x, zero, height], -1), np.stack([v, zero, zero], -1)
    rotations = np.broadcast_to(np.eye(3), (len(times), 1, 3, 3)).copy()
    return BodyMotion(positions[:, None], velocities[:, None], rotations)


def bodies(constants: Numbers) -> tuple[Body, ...]:
    """The ball."""
    return (Body("ball", (Sphere(Material((0.1, 0.3, 0.8)), radius=0.1),)),)


def stage(constants: Numbers, surroundings: bool) -> Stage:
    """A room, or nothing."""
    return Stage(tuple(room(1.0)) if surroundings else ())


SCENARIO = Scenario(
    summary="a ball on a spring",
    systems=(
        ScenarioSystem(
            dynamics="spring",
            constants={"stiffness": 9.0},
            initial={"x": "[m]"},
            draw=draw,
            solve=solve,
            bodies=bodies,
        ),
    ),
    stage=stage,
    rig=CameraRig(target=(0.0, 0.0, HEIGHT), distance=2.5, arc_degrees=40.0, elevation=(10.0, 30.0), width=1.6),
    sequences=1,
    frames=40,
    fps=20.0,
    cameras=3,
)
