"""Euler's method: one evaluation a step, order 1."""

from foreseen.ode.tableau import Tableau

EULER = Tableau(order=1, nodes=(0.0,), coupling=((),), weights=(1.0,))
