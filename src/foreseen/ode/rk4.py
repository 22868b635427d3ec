"""The classical Runge-Kutta method: four evaluations a step, order 4."""

from foreseen.ode.tableau import Tableau

RK4 = Tableau(
    order=4,
    nodes=(0.0, 1 / 2, 1 / 2, 1.0),
    coupling=((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
    weights=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
)
