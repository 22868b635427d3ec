"""Simulated scenes with exact truth: known physics, pictures by a ray caster of our own."""

from foreseen.simulate.options import SimulateOptions
from foreseen.simulate.run import SCENARIOS, simulate

__all__ = ["SCENARIOS", "SimulateOptions", "simulate"]
