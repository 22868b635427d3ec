"""Textbook equations of motion, integrated to near machine precision (SciPy's DOP853)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp


def _integrate(f: Callable[[float, np.ndarray], np.ndarray], start: np.ndarray, times: np.ndarray) -> np.ndarray:
    """`[T, D]` at ascending `times`."""
    span = (float(times[0]), float(times[-1]))
    solution = solve_ivp(f, span, start, method="DOP853", t_eval=times, rtol=1e-10, atol=1e-12)
    if not solution.success:
        raise RuntimeError(f"the equation of motion could not be integrated: {solution.message}")
    return solution.y.T


def swing(
    angle: float, velocity: float, times: np.ndarray, *, gravity: float, length: float, damping: float
) -> tuple[np.ndarray, np.ndarray]:
    """Angle and angular velocity `[T]` of a pendulum: angle'' = -(gravity / length) sin(angle) - damping
    angle'.

    A point mass on a rigid massless rod, with friction in proportion to the velocity [rad, rad/s, m/s^2, m,
    1/s].
    """

    def f(_: float, y: np.ndarray) -> np.ndarray:
        return np.array([y[1], -gravity / length * np.sin(y[0]) - damping * y[1]])

    y = _integrate(f, np.array([angle, velocity]), times)
    return y[:, 0], y[:, 1]


@dataclass(frozen=True)
class Surface:
    """A smooth surface z = h(x, y) with its derivatives; q is `[2]`."""

    height: Callable[[np.ndarray], float]
    gradient: Callable[[np.ndarray], np.ndarray]
    hessian: Callable[[np.ndarray], np.ndarray]


def slide(
    surface: Surface,
    start: np.ndarray,
    velocity: np.ndarray,
    times: np.ndarray,
    *,
    gravity: float,
    drag: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities `[T, 3]` of a point mass that slides on a surface without friction, through a
    medium.

    With q = (x, y) and p = grad h, the kinetic energy is m/2 q'^T (I + p p^T) q' and the potential m g h.
    Lagrange's equations with the force -m drag v against the velocity v = (q', p.q') are

        (I + p p^T) (q'' + drag q') = -p (g + q'^T H q'),    H the Hessian of h,

    and since (I + p p^T)^-1 p = p / (1 + |p|^2):

        q'' = -p (g + q'^T H q') / (1 + |p|^2) - drag q'.

    Args:
        start, velocity: q and q' `[2]` at the first time [m, m/s].
        gravity, drag: [m/s^2], [1/s].
    """

    def f(_: float, y: np.ndarray) -> np.ndarray:
        q, v = y[:2], y[2:]
        p = surface.gradient(q)
        pull = (gravity + v @ surface.hessian(q) @ v) / (1 + p @ p)
        return np.concatenate([v, -p * pull - drag * v])

    y = _integrate(f, np.concatenate([start, velocity]), times)
    heights = np.array([surface.height(q) for q in y[:, :2]])
    climbs = np.array([surface.gradient(q) @ v for q, v in zip(y[:, :2], y[:, 2:])])
    return np.column_stack([y[:, :2], heights]), np.column_stack([y[:, 2:], climbs])
