"""A ball slides to and fro in a bowl. Re-creation of a scene of the Node-RF paper; its own numbers are not
public."""

from __future__ import annotations

import numpy as np

from foreseen.errors import UserError
from foreseen.simulate.camera_rig import CameraRig
from foreseen.simulate.equations import Surface, slide
from foreseen.simulate.scenario import BodyMotion, Numbers, Scenario, ScenarioSystem, SequenceIndex, room
from foreseen.simulate.scene import Body, HeightField, Material, Sphere, Stage
from foreseen.simulate.surfaces import parallel_curve

LIFT, EDGE, RIM, WALL = 0.16, 0.72, 0.62, 1.0


def bowl(steepness: float) -> Surface:
    """z = LIFT + steepness (x^2 + y^2): where the ball's centre lies."""
    return Surface(
        height=lambda q: LIFT + steepness * float(q @ q),
        gradient=lambda q: 2 * steepness * q,
        hessian=lambda _: 2 * steepness * np.eye(2),
    )


def draw(rng: np.random.Generator, constants: Numbers, which: SequenceIndex) -> Numbers:
    """From anywhere between a third of the way up and the rim, with a push to any side."""
    del constants, which
    r, a, v, b = (
        rng.uniform(0.3, 0.5),
        rng.uniform(0, 2 * np.pi),
        rng.uniform(0, 0.8),
        rng.uniform(0, 2 * np.pi),
    )
    return {"x": r * np.cos(a), "y": r * np.sin(a), "vx": v * np.cos(b), "vy": v * np.sin(b)}


def solve(constants: Numbers, initial: Numbers, times: np.ndarray) -> BodyMotion:
    """See `equations.slide`. The ball slides and does not rotate."""
    start, push = np.array([initial["x"], initial["y"]]), np.array([initial["vx"], initial["vy"]])
    surface = bowl(constants["steepness"])
    positions, velocities = slide(surface, start, push, times, gravity=constants["gravity"], drag=constants["drag"])
    if (np.linalg.norm(positions[:, :2], axis=1) > RIM).any():
        raise UserError(f"oscillating-ball: the ball leaves the bowl (rim at {RIM:g} m): start lower or slower")
    rotations = np.broadcast_to(np.eye(3), (len(times), 1, 3, 3)).copy()
    return BodyMotion(positions[:, None], velocities[:, None], rotations)


def bodies(constants: Numbers) -> tuple[Body, ...]:
    """The ball."""
    return (Body("ball", (Sphere(Material((0.80, 0.16, 0.03)), radius=constants["radius"]),)),)


def block(constants: Numbers) -> HeightField:
    """A block with the bowl carved into it, a radius below the surface on which the ball's centre moves."""
    k, radius = constants["steepness"], constants["radius"]
    reach = np.linspace(0, RIM + 0.1, 400)
    out, depth = parallel_curve(reach, LIFT + k * reach**2, 2 * k * reach, radius)
    rim = float(np.interp(RIM, out, depth))
    axis = np.linspace(-EDGE, EDGE, 145)
    heights = np.minimum(np.interp(np.hypot(*np.meshgrid(axis, axis, indexing="ij")), out, depth), rim)
    paint = Material((0.55, 0.44, 0.30), (0.47, 0.37, 0.25), 0.18)
    return HeightField(paint, heights=heights, half_extents=(EDGE, EDGE), base=0.0)


def stage(constants: Numbers, surroundings: bool) -> Stage:
    """The bowl."""
    return Stage((block(constants), *(room(WALL) if surroundings else ())))


SCENARIO = Scenario(
    summary="a ball slides in a bowl, lightly damped (re-creation of a scene of the Node-RF paper)",
    systems=(
        ScenarioSystem(
            dynamics="slide-in-bowl",
            constants={"gravity": 9.81, "steepness": 0.9, "drag": 0.25, "radius": 0.09},
            initial={"x": "[m]", "y": "[m]", "vx": "[m/s]", "vy": "[m/s]"},
            draw=draw,
            solve=solve,
            bodies=bodies,
        ),
    ),
    stage=stage,
    rig=CameraRig(target=(0.0, 0.0, 0.2), distance=2.7, arc_degrees=34.0, elevation=(32.0, 46.0), width=1.7),
    sequences=8,
    frames=60,
    fps=20.0,
    cameras=3,
)
