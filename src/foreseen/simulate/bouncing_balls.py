"""Balls bounce in a tray: contacts by MuJoCo."""

from __future__ import annotations

import math

import mujoco
import numpy as np

from foreseen.errors import UserError
from foreseen.simulate.camera_rig import CameraRig
from foreseen.simulate.scenario import BodyMotion, Numbers, Scenario, ScenarioSystem, SequenceIndex, room
from foreseen.simulate.scene import Body, Box, Material, Solid, Sphere, Stage

RADII = (0.15, 0.12, 0.135)
HALF, TALL, THICK, WALL = 0.58, 0.05, 0.02, 1.0
COLORS = ((0.75, 0.10, 0.06), (0.08, 0.22, 0.62), (0.80, 0.48, 0.04))
DENSITY, STIFFNESS, STEP = 300.0, 4e5, 5e-4
"""Density of the balls [kg/m^3]; contact stiffness over mass [1/s^2], with which a contact lasts 5 ms and balls sink in
by some millimetres; time step [s]."""

AXES = ("x", "y", "z", "vx", "vy", "vz")


def draw(rng: np.random.Generator, constants: Numbers, which: SequenceIndex) -> Numbers:
    """Balls in the air that do not touch, with random velocities."""
    del constants, which
    positions: list[np.ndarray] = []
    for radius in RADII:
        while True:
            reach = HALF - radius - 0.03
            position = np.array([*rng.uniform(-reach, reach, 2), rng.uniform(0.35, 0.85)])
            if all(np.linalg.norm(position - p) > radius + r + 0.03 for p, r in zip(positions, RADII)):
                break
        positions.append(position)
    velocities = np.column_stack([rng.uniform(-0.9, 0.9, (len(RADII), 2)), rng.uniform(-0.3, 0.6, len(RADII))])
    rows = np.column_stack([positions, velocities])
    return {f"{name}{b + 1}": float(rows[b, k]) for b in range(len(RADII)) for k, name in enumerate(AXES)}


def _document(constants: Numbers, step: float) -> str:
    """MuJoCo's description of the tray. A contact is a spring and a damper with the ratio that gives the
    restitution: e = exp(-pi zeta / sqrt(1 - zeta^2)), so zeta = -ln e / sqrt(pi^2 + ln^2 e)."""
    log = math.log(constants["restitution"])
    zeta = -log / math.sqrt(math.pi**2 + log**2)
    solref = f"{-STIFFNESS:g} {-2 * zeta * math.sqrt(STIFFNESS):.6g}"
    walls = "".join(
        f'<geom type="plane" size="9 9 1" pos="{x * HALF} {y * HALF} 0" zaxis="{-x} {-y} 0"/>'
        for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1))
    )
    balls = "".join(
        f'<body pos="0 0 {b + 1}"><freejoint/><geom type="sphere" size="{r}" density="{DENSITY}"/></body>'
        for b, r in enumerate(RADII)
    )
    return f"""<mujoco><option timestep="{step!r}" gravity="0 0 {-constants["gravity"]!r}"/>
        <default>
          <geom solref="{solref}" solimp="0.99 0.99 0.001" friction="{constants["friction"]} 0 0"/>
        </default>
        <worldbody><geom type="plane" size="9 9 1"/>{walls}{balls}</worldbody></mujoco>"""


def _check(constants: Numbers, start: np.ndarray) -> None:
    if not 0.05 <= constants["restitution"] <= 0.99:
        raise UserError(f"bouncing-balls: restitution={constants['restitution']:g} must lie in 0.05..0.99")
    for b, radius in enumerate(RADII):
        if np.abs(start[b, :2]).max() > HALF - radius or start[b, 2] < radius:
            raise UserError(
                f"bouncing-balls: ball {b + 1} starts in a wall: keep |x| and |y| below {HALF - radius:.3g}"
                f" and z above {radius:g} [m]"
            )
        for other in range(b):
            if np.linalg.norm(start[b, :3] - start[other, :3]) < radius + RADII[other]:
                raise UserError(f"bouncing-balls: balls {other + 1} and {b + 1} start inside each other: move one")


def solve(constants: Numbers, initial: Numbers, times: np.ndarray) -> BodyMotion:
    """Rigid balls under gravity with contacts and friction. The walls of the tray go on above what is rendered."""
    start = np.array([[initial[f"{name}{b + 1}"] for name in AXES] for b in range(len(RADII))])
    _check(constants, start)
    gap = float(times[1] - times[0])
    count = math.ceil(gap / STEP)
    model = mujoco.MjModel.from_xml_string(_document(constants, gap / count))
    data = mujoco.MjData(model)
    data.qpos[:] = np.column_stack([start[:, :3], np.tile([1.0, 0, 0, 0], (len(RADII), 1))]).ravel()
    data.qvel[:] = np.column_stack([start[:, 3:], np.zeros((len(RADII), 3))]).ravel()
    rows = []
    for index in range(len(times)):
        if index:
            mujoco.mj_step(model, data, nstep=count)
        mujoco.mj_kinematics(model, data)
        velocity = data.qvel.reshape(-1, 6)
        rotation = data.xmat[1:].reshape(-1, 3, 3).copy()
        # MuJoCo gives a free joint's angular velocity in the body's axes.
        spin = np.einsum("bij,bj->bi", rotation, velocity[:, 3:])
        rows.append((data.xpos[1:].copy(), velocity[:, :3].copy(), rotation, spin))
    positions, velocities, rotations, spins = (np.stack(column) for column in zip(*rows))
    return BodyMotion(positions, velocities, rotations, {"angular_velocity": spins})


def bodies(constants: Numbers) -> tuple[Body, ...]:
    """Balls of two colours, so that their rotation is visible."""
    del constants
    return tuple(
        Body(f"ball-{b + 1}", (Sphere(Material(color, (0.78, 0.74, 0.66), 1.0), radius=radius),))
        for b, (radius, color) in enumerate(zip(RADII, COLORS))
    )


def stage(constants: Numbers, surroundings: bool) -> Stage:
    """The tray's inside and its low rim."""
    del constants
    wood, out = Material((0.36, 0.21, 0.11)), HALF + THICK
    rim: tuple[Solid, ...] = tuple(
        Box(wood, position=(x * out, y * out, TALL), half_extents=half)
        for x, y, half in (
            (1, 0, (THICK, out + THICK, TALL)),
            (-1, 0, (THICK, out + THICK, TALL)),
            (0, 1, (out + THICK, THICK, TALL)),
            (0, -1, (out + THICK, THICK, TALL)),
        )
    )
    inside = Box(
        Material((0.60, 0.62, 0.62), (0.46, 0.49, 0.50), 0.29), position=(0, 0, -0.009), half_extents=(HALF, HALF, 0.01)
    )
    return Stage((*rim, inside, *(room(WALL) if surroundings else ())))


SCENARIO = Scenario(
    summary="three balls bounce in a tray, off the floor, the walls and one another (MuJoCo)",
    systems=(
        ScenarioSystem(
            dynamics="rigid-contacts",
            constants={"gravity": 9.81, "restitution": 0.85, "friction": 0.3},
            initial={
                f"{name}{b + 1}": f"of ball {b + 1} {'[m/s]' if name.startswith('v') else '[m]'}"
                for b in range(len(RADII))
                for name in AXES
            },
            draw=draw,
            solve=solve,
            bodies=bodies,
        ),
    ),
    stage=stage,
    rig=CameraRig(target=(0.0, 0.0, 0.36), distance=2.8, arc_degrees=40.0, elevation=(14.0, 26.0), width=1.85),
    sequences=1,
    frames=72,
    fps=30.0,
    cameras=4,
)
