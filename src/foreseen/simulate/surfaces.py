"""The ground under a ball whose centre keeps to a given surface."""

from __future__ import annotations

import numpy as np

from foreseen.errors import UserError


def parallel_curve(
    x: np.ndarray, height: np.ndarray, slope: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """The curve at distance `radius` below the curve z = height(x), as ascending x and its z.

    The law moves the ball's centre; what it rolls past lies a radius off, along the normal.

    Raises:
        UserError: the curve bends down more tightly than the ball: no ground touches it only there.
    """
    length = np.sqrt(1 + slope**2)
    below = x + radius * slope / length
    if (np.diff(below) <= 0).any():
        raise UserError(f"a ball of radius={radius:g} is too big for this ground's sharpest crest: make it smaller")
    return below, height - radius / length
