"""The ground under a ball whose centre moves on a given surface."""

from __future__ import annotations

import numpy as np

from foreseen.errors import UserError


def parallel_curve(
    x: np.ndarray, height: np.ndarray, slope: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """The curve at distance `radius` below the curve z = height(x), as ascending x and its z.

    The equations of motion are those of the ball's centre; the ground lies a radius away, along the normal.

    Raises:
        UserError: the curve's crest is sharper than the ball: no ground touches the ball at one point only.
    """
    length = np.sqrt(1 + slope**2)
    below = x + radius * slope / length
    if (np.diff(below) <= 0).any():
        raise UserError(f"a ball of radius={radius:g} is too big for this ground's sharpest crest: make it smaller")
    return below, height - radius / length
