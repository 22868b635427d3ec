"""Initial conditions as a user types them."""

import pytest
import torch

from foreseen.data.typed_values import bodies_named, typed_labels
from foreseen.errors import UserError


def test_one_body() -> None:
    labels = typed_labels("x=0.7, vz=-1,v=2", ("bead",), 3.0)
    assert labels.bodies == ("bead",) and labels.times.tolist() == [3.0]
    position, velocity = labels.positions[0, 0], labels.velocities[0, 0]
    assert position[0] == 0.7 and torch.isnan(position[1:]).all()
    assert velocity[0] == 2 and velocity[2] == -1 and torch.isnan(velocity[1])


def test_several_bodies_are_named() -> None:
    labels = typed_labels("right.y=1,left.vx=2", ("left", "right"), 0.0)
    assert labels.positions[0, 1, 1] == 1 and labels.velocities[0, 0, 0] == 2
    assert int(torch.isfinite(labels.positions).sum() + torch.isfinite(labels.velocities).sum()) == 2
    with pytest.raises(UserError, match='unknown name "x"'):
        typed_labels("x=1", ("left", "right"), 0.0)


def test_the_names_tell_which_bodies_are_meant() -> None:
    known = [("left", "right"), ("bead",), ("left", "middle")]
    assert bodies_named("x=0.7, v=2", known) == ("bead",)
    assert bodies_named("left.x=1", known) == ("left", "right")
    assert bodies_named("left.x=1,middle.vy=2", known) == ("left", "middle")
    assert bodies_named("nobody.x=1", known) == ("left", "right"), "which then names what is wrong"


def test_nothing_typed() -> None:
    with pytest.raises(UserError, match="name a position, such as x="):
        typed_labels(" , ", ("bead",), 0.0)
