"""What tells one explicit Runge-Kutta solver from another."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tableau:
    """A Butcher tableau: stage i evaluates f at `t + nodes[i] h` and `y + h sum_j coupling[i][j] k_j`, and
    the step is `y + h sum_i weights[i] k_i`.

    Source: Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, section II.1.

    Attributes:
        order: order of convergence, at the grid and (with cubic Hermite dense output) between.
    """

    order: int
    nodes: tuple[float, ...]
    coupling: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
