"""The energy of one body under gravity."""

from __future__ import annotations

import numpy as np


def specific_energy(times: np.ndarray, positions: np.ndarray, gravity: float) -> np.ndarray:
    """Energy per mass `[T]` of a body at `positions` `[T, 3]`, z up, with the velocity from central differences; NaN
    at both ends."""
    energy = np.full(len(times), np.nan)
    if len(times) > 2:
        velocity = (positions[2:] - positions[:-2]) / (times[2:] - times[:-2])[:, None]
        energy[1:-1] = 0.5 * (velocity**2).sum(-1) + gravity * positions[1:-1, 2]
    return energy
