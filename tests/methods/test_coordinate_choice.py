"""The choice of the code's coordinates by sequences that are left out."""

import torch
from torch import Tensor

from foreseen.methods.node_rf.coordinate_choice import LabelledPaths, choose_coordinates
from foreseen.methods.node_rf.fast_config import EncoderConfig, LatentODEConfig

ODE = LatentODEConfig(width=24, gain=2.0, step=0.05, polynomial_degree=3)
ENCODER = EncoderConfig(width=48)


def paths(positions: Tensor, velocities: Tensor, times: Tensor) -> LabelledPaths:
    """Paths `[S, T, 3]` that are seen at all `times` `[T]`."""
    count = len(positions)
    valid = torch.ones(count, len(times), dtype=torch.bool)
    return LabelledPaths(positions, velocities, times.expand(count, -1), valid)


def swings_in_a_bowl(count: int) -> LabelledPaths:
    """Narrow ellipses in a shallow bowl, in different directions: distances along the few paths lead through the
    middle, where they cross."""
    times = torch.linspace(0, 1, 30)
    turn = torch.linspace(0, torch.pi, count + 1)[:-1, None]
    long, wide = torch.linspace(0.6, 0.9, count)[:, None], 0.15
    u, v = long * (6 * times).cos(), wide * (6 * times).sin()
    du, dv = -6 * long * (6 * times).sin(), 6 * wide * (6 * times).cos()
    x, y = u * turn.cos() - v * turn.sin(), u * turn.sin() + v * turn.cos()
    dx, dy = du * turn.cos() - dv * turn.sin(), du * turn.sin() + dv * turn.cos()
    positions = torch.stack([x, y, 0.2 * (x**2 + y**2)], -1)
    return paths(positions, torch.stack([dx, dy, 0.4 * (x * dx + y * dy)], -1), times)


def trips_round_a_horseshoe(count: int) -> LabelledPaths:
    """Constant speed along most of a circle: a projection on one axis folds it."""
    times = torch.linspace(0, 1, 30)
    speed = torch.linspace(2.2, 3.2, count)[:, None]
    angle = 0.5 + speed * times + torch.linspace(0, 0.8, count)[:, None]
    zero = torch.zeros_like(angle)
    positions = torch.stack([angle.cos(), angle.sin(), zero], -1)
    return paths(positions, torch.stack([-speed * angle.sin(), speed * angle.cos(), zero], -1), times)


def test_swings_that_cross_are_told_by_a_projection() -> None:
    torch.manual_seed(0)
    choice = choose_coordinates(swings_in_a_bowl(8), ENCODER, ODE)
    assert choice.coordinates == "projection" and choice.error < 0.25


def test_a_bent_path_is_told_by_distances_along_it() -> None:
    torch.manual_seed(0)
    only_one = EncoderConfig(width=48, max_dims=1)
    choice = choose_coordinates(trips_round_a_horseshoe(6), only_one, ODE)
    assert choice.coordinates == "surface" and choice.error < 0.25


def test_one_sequence_leaves_no_choice() -> None:
    choice = choose_coordinates(swings_in_a_bowl(2).only(torch.tensor([True, False])), ENCODER, ODE)
    assert choice.coordinates == ENCODER.coordinates[0] and choice.error != choice.error
