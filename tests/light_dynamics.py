"""Settings of dynamics that are fitted in a moment, for tests of what is done with a fit and not of how good it is."""

from typing import Any

from foreseen.dynamics.config import InitialStateConfig, ManifoldConfig

LIGHT: dict[str, Any] = {
    "widths": (8,),
    "shooting_lengths": (0.4,),
    "max_shooting_segments": 4,
    "iterations": 2,
    "steps_per_interval": 2,
    "ensemble_size": 2,
    "manifold": ManifoldConfig(degrees=(3, 3, 3)),
    "initial_states": InitialStateConfig(iterations=2),
}
"""Of `DynamicsConfig` and `SharedDynamicsConfig`: few units, solver steps, segments and iterations."""

LIGHT_FLAGS = (
    "--multi-sequence.ensemble-size",
    "2",
    "--multi-sequence.steps-per-interval",
    "2",
    "--multi-sequence.max-shooting-segments",
    "16",
    "--multi-sequence.initial-states.iterations",
    "3",
)
"""Flags of `rigid-ode` on several sequences whose forecasts are still looked at: less light than `LIGHT`."""
