"""Simulated scenes with exact ground truth: known physics, pictures by our own ray caster."""

from foreseen.simulate.options import SimulateOptions
from foreseen.simulate.run import SCENARIOS, simulate

__all__ = ["SCENARIOS", "SimulateOptions", "simulate"]
