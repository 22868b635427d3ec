"""Fixed points of the simulated scenes' true dynamics, in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from foreseen.analysis.fixed_points import classify
from foreseen.data.types import GroundTruth
from foreseen.simulate import bifurcating_hill, oscillating_ball, pendulum
from foreseen.simulate.equations import Surface
from foreseen.simulate.scenario import Numbers


@dataclass(frozen=True)
class TrueFixedPoint:
    """A position at which a body can stay.

    Attributes:
        name: in words.
        position: `[3]` in scene units.
        eigenvalues: complex, of the dynamics there, the largest real part first.
        kind, stability: as in `FixedPoint`.
    """

    name: str
    position: np.ndarray
    eigenvalues: Tensor
    kind: str
    stability: str


def true_fixed_points(dynamics: str, constants: Numbers) -> list[TrueFixedPoint]:
    """The fixed points of true dynamics; empty where their form is not known here."""
    return _FIXED_POINTS[dynamics](constants) if dynamics in _FIXED_POINTS else []


def has_known_energy(truth: GroundTruth) -> bool:
    """Whether the energy per mass of one body is g z + v^2 / 2."""
    return truth.dynamics in _FIXED_POINTS and len(truth.bodies) == 1


def drag_of(constants: Numbers) -> float | None:
    """Drag of true dynamics, per unit of time."""
    return constants.get("drag", constants.get("damping"))


def _point(name: str, position: tuple[float, ...], stiffness: list[float], drag: float) -> TrueFixedPoint:
    """`stiffness`: k of the linearised dynamics x'' = -k x - drag x' along each direction."""
    roots = [np.roots([1.0, drag, k]).astype(complex) for k in stiffness]
    eigenvalues = torch.from_numpy(np.concatenate(roots))
    eigenvalues = eigenvalues[eigenvalues.real.argsort(descending=True)]
    return TrueFixedPoint(name, np.array(position), eigenvalues, *classify(eigenvalues))


def _hill(constants: Numbers) -> list[TrueFixedPoint]:
    ground, width = bifurcating_hill.ground(constants), constants["half_width"]
    names = {"left valley": -width, "top": 0.0, "right valley": width}
    return [_on(ground, name, (x, 0.0), constants, axes=1) for name, x in names.items()]


def _bowl(constants: Numbers) -> list[TrueFixedPoint]:
    return [_on(oscillating_ball.bowl(constants["steepness"]), "bottom", (0.0, 0.0), constants, axes=2)]


def _on(surface: Surface, name: str, point: tuple[float, float], constants: Numbers, axes: int) -> TrueFixedPoint:
    """A point where a surface is horizontal; a body slides on it along `axes` directions."""
    q = np.array(point)
    curvature = np.diag(surface.hessian(q))[:axes]
    return _point(name, (*point, surface.height(q)), (constants["gravity"] * curvature).tolist(), constants["drag"])


def _pendulum(constants: Numbers) -> list[TrueFixedPoint]:
    length = constants["length"]
    hanging = pendulum.PIVOT - np.array([0.0, 0.0, length])
    return [_point("hanging down", tuple(hanging.tolist()), [constants["gravity"] / length], constants["damping"])]


_FIXED_POINTS: dict[str, Callable[[Numbers], list[TrueFixedPoint]]] = {
    "slide-on-double-well": _hill,
    "slide-in-bowl": _bowl,
    "damped-pendulum": _pendulum,
}
