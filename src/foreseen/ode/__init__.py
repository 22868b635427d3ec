"""Solvers of ordinary differential equations: one file each, dense output, gradients."""

from foreseen.ode.integrate import SOLVERS, integrate, integrate_from

__all__ = ["SOLVERS", "integrate", "integrate_from"]
