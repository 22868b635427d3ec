"""Settings of a law of motion that is learned from poses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DynamicsConfig:
    """How a law of motion is fitted to poses."""

    widths: tuple[int, ...] = (256,)
    """Units of the hidden layers of the law's network."""
    structure: Literal["potential", "free"] = "potential"
    """potential: a force that is the gradient of a network; free: any force."""
    max_coordinates: int = 12
    """Coordinates of the law of motion at most."""
    steps_per_interval: int = 4
    """Steps of the solver for each usual interval between the poses."""
    segment: float = 0.12
    """Length of the stretches from which the law is solved in closed form, in windows."""
    max_segments: int = 512
    """So many of them at most, from all sequences: what a fit costs does not grow further."""
    shooting_lengths: tuple[float, ...] = (0.15, 0.4)
    """Lengths of the stretches that solutions are then made to follow, in windows."""
    max_shooting_segments: int = 64
    """So many of those at most."""
    iterations: int = 30
    """Rounds of shooting at most, for each of the lengths."""
    final_segment: float = 0.3
    """Length of the stretch whose end a forecast of a learned sequence starts from, in windows."""
    ensemble_size: int = 16
    """Laws that are drawn from what the sequences leave open: the spread of their forecasts is the uncertainty."""
    fit_at: tuple[float, ...] = (0.4, 0.9)
    """Shares of the budget at which the law is fitted where the trajectories are learned; at the last one they come to
    rest."""
