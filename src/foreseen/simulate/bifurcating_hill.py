"""A bead on a hill between two valleys. Re-creation of a scene of the Node-RF paper, whose numbers are not public."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from foreseen.errors import UserError
from foreseen.simulate.camera_rig import CameraRig
from foreseen.simulate.equations import Surface, slide
from foreseen.simulate.scenario import BodyMotion, Numbers, Scenario, ScenarioSystem, SequenceIndex, room
from foreseen.simulate.scene import Body, HeightField, Material, Sphere, Stage
from foreseen.simulate.surfaces import parallel_curve

REACH, THICK, WALL = 0.84, 0.22, 0.9
SETTLED_SECONDS = 3.0
"""With the default constants the bead stays in one valley after so many seconds."""


def _curve(constants: Numbers, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """h, h' and h'' of h(x) = hill (x^2 - w^2)^2 / w^4 + valley, with w = `half_width`."""
    w, a = constants["half_width"], constants["hill"] / constants["half_width"] ** 4
    d = x**2 - w**2
    return a * d**2 + constants["valley"], 4 * a * x * d, 4 * a * (3 * x**2 - w**2)


def ground(constants: Numbers) -> Surface:
    """The curve as a surface that is level along y, so that `equations.slide` applies; the bead stays at y = 0."""
    return Surface(
        height=lambda q: float(_curve(constants, q[0])[0]),
        gradient=lambda q: np.array([_curve(constants, q[0])[1], 0.0]),
        hessian=lambda q: np.diag([_curve(constants, q[0])[2], 0.0]),
    )


def final_side(constants: Numbers, x: float, velocity: float) -> float:
    """-1 or 1: the valley where a bead ends."""
    positions, _ = _slide(constants, x, velocity, np.array([0.0, SETTLED_SECONDS]))
    return float(np.sign(positions[-1, 0]))


def separatrix(constants: Numbers, velocity: float, side: float) -> float:
    """Where on the outer slope of one side (-1 or 1) a bead must start to come to rest on the hill's top [m].

    A bead that starts farther out crosses to the other valley. Found by bisection to 0.1 mm between the valley and the
    end of the ground; the nearer of these two where there is no such point.
    """
    low, high = constants["half_width"], REACH
    for _ in range(12):
        middle = 0.5 * (low + high)
        if final_side(constants, side * middle, velocity) == side:
            low = middle
        else:
            high = middle
    return side * 0.5 * (low + high)


def draw(rng: np.random.Generator, constants: Numbers, which: SequenceIndex) -> Numbers:
    """Starts alternate between the sides. Seen: two on an outer slope that stay on their side, one that crosses over,
    one near the top, and so on; none leaves the ground. Unseen: every other one within 1 cm of the separatrix, where
    small differences decide.
    """
    kind, velocity = which.index % 4, float(rng.uniform(-0.3, 0.3))
    side = (-1.0) ** (which.index + which.index // 4)
    if which.unseen and kind % 2 == 0:
        x = abs(separatrix(constants, velocity, side)) + rng.uniform(0.002, 0.01) * rng.choice([-1.0, 1.0])
    else:
        x = rng.uniform(*((0.62, 0.73), (0.62, 0.73), (0.77, 0.82), (0.03, 0.15))[kind])
    if side * velocity > 0 and _flies_off(constants, float(x), velocity):
        velocity = -velocity
    return {"x": float(side * x), "velocity": velocity}


def _flies_off(constants: Numbers, x: float, velocity: float) -> bool:
    """Whether the energy of a bead at x is enough for the end of the ground, were there no drag."""
    height, slope, _ = _curve(constants, np.array([x, REACH]))
    return bool(0.5 * velocity**2 * (1 + slope[0] ** 2) > constants["gravity"] * (height[1] - height[0]))


def _slide(constants: Numbers, x: float, velocity: float, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    start, push = np.array([x, 0.0]), np.array([velocity, 0.0])
    return slide(ground(constants), start, push, times, gravity=constants["gravity"], drag=constants["drag"])


def solve(constants: Numbers, initial: Numbers, times: np.ndarray) -> BodyMotion:
    """See `equations.slide`: in one dimension x'' = -(g h' + h' h'' x'^2) / (1 + h'^2) - drag x'. The bead does not
    rotate."""
    positions, velocities = _slide(constants, initial["x"], initial["velocity"], times)
    if (np.abs(positions[:, 0]) > REACH).any():
        raise UserError(f"bifurcating-hill: the bead leaves the ground (ends at {REACH:g} m): start lower or slower")
    rotations = np.broadcast_to(np.eye(3), (len(times), 1, 3, 3)).copy()
    return BodyMotion(positions[:, None], velocities[:, None], rotations)


def bodies(constants: Numbers) -> tuple[Body, ...]:
    """The bead."""
    return (Body("bead", (Sphere(Material((0.76, 0.07, 0.04)), radius=constants["radius"]),)),)


def stage(constants: Numbers, surroundings: bool) -> Stage:
    """A block whose top is the curve of the bead's centre, moved by a radius along the normal."""
    x = np.linspace(-REACH, REACH, 801)
    height, slope, _ = _curve(constants, x)
    out, depth = parallel_curve(x, height, slope, constants["radius"])
    edge = float(out[-1])
    profile = np.interp(np.linspace(-edge, edge, 385), out, depth)
    if profile.min() <= 0:
        raise UserError("bifurcating-hill: the valley lies under the floor: make valley larger or radius smaller")
    block = HeightField(
        Material((0.36, 0.45, 0.25), (0.30, 0.40, 0.20), 0.16),
        heights=np.stack([profile, profile], 1),
        half_extents=(edge, THICK),
        base=0.0,
    )
    drawn = Stage((block, *(room(WALL) if surroundings else ())))
    return replace(drawn, light=replace(drawn.light, direction=(-0.3, -0.8, 1.0)))


SCENARIO = Scenario(
    summary="a bead comes down a hill into one of two valleys (re-creation of a scene of the Node-RF paper)",
    systems=(
        ScenarioSystem(
            dynamics="slide-on-double-well",
            constants={
                "gravity": 9.81,
                "hill": 0.34,
                "half_width": 0.5,
                "valley": 0.17,
                "drag": 0.8,
                "radius": 0.088,
            },
            initial={"x": "[m]", "velocity": "along x [m/s]"},
            draw=draw,
            solve=solve,
            bodies=bodies,
        ),
    ),
    stage=stage,
    rig=CameraRig(target=(0.0, 0.0, 0.5), distance=3.0, arc_degrees=30.0, elevation=(12.0, 20.0), width=1.95),
    sequences=12,
    frames=90,
    fps=25.0,
    cameras=1,
)
