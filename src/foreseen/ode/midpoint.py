"""The explicit midpoint method: two evaluations a step, order 2."""

from foreseen.ode.tableau import Tableau

MIDPOINT = Tableau(order=2, nodes=(0.0, 1 / 2), coupling=((), (1 / 2,)), weights=(0.0, 1.0))
