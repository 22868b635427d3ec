"""Two systems in one static scene: in every other sequence a pendulum swings, in the others a ball slides in a bowl."""

from __future__ import annotations

import numpy as np

from foreseen.errors import UserError
from foreseen.simulate import oscillating_ball, pendulum
from foreseen.simulate.camera_rig import CameraRig
from foreseen.simulate.scenario import Numbers, Scenario, room
from foreseen.simulate.scene import Stage

BACK, WALL = 0.95, 1.15
"""Where the pendulum's post stands, behind the bowl's block, and the wall behind it (y) [m]."""


def _height(constants: Numbers, x: np.ndarray) -> np.ndarray:
    """Of the ball's centre in the bowl, at distances `x` from its middle."""
    surface = oscillating_ball.bowl(constants["steepness"])
    return np.array([surface.height(np.array([r, 0.0])) for r in x])


def bob_clearance(constants: Numbers) -> float:
    """The least gap between the bob and the bowl, however far it swings, as if the bowl went on past its rim
    [m]."""
    angle, r, length = np.linspace(0, np.pi / 2, 181), np.linspace(0, 0.9, 361), constants["length"]
    x, z = length * np.sin(angle), pendulum.PIVOT[2] - length * np.cos(angle)
    away = np.hypot(x[:, None] - r, z[:, None] - _height(constants, r)).min(1)
    above = np.sign(z - _height(constants, x)) * away
    return float(above.min()) + constants["radius"] - pendulum.BOB


def arm_clearance(constants: Numbers) -> float:
    """The gap between the pivot's arm and the top of a ball at the rim [m]."""
    rim = _height(constants, np.array([oscillating_ball.RIM]))
    return float(pendulum.PIVOT[2] - pendulum.ARM - rim[0]) - constants["radius"]


def stage(constants: Numbers, surroundings: bool) -> Stage:
    """The bowl, and the pendulum's stand behind it, whose arm ends above the bowl's middle."""
    if bob_clearance(constants) < 0.01:
        raise UserError("pendulum-and-ball: the bob meets the bowl: make length or steepness smaller")
    if arm_clearance(constants) < 0.01:
        raise UserError("pendulum-and-ball: the ball meets the pivot's arm: make steepness or radius smaller")
    block = oscillating_ball.block(constants)
    return Stage((block, *pendulum.stand(BACK), *(room(WALL) if surroundings else ())))


SCENARIO = Scenario(
    summary="a pendulum swings or, in every other sequence, a ball slides in a bowl",
    systems=(*pendulum.SCENARIO.systems, *oscillating_ball.SCENARIO.systems),
    stage=stage,
    rig=CameraRig(target=(0.0, 0.0, 0.48), distance=2.8, arc_degrees=34.0, elevation=(28.0, 42.0), width=1.85),
    sequences=24,
    frames=60,
    fps=20.0,
    cameras=3,
)
