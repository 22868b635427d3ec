"""What truth tells of the bodies at some times."""

import numpy as np
import pytest
import torch

from foreseen.data.labels import labels_at
from foreseen.data.types import GroundTruth

TIMES = np.linspace(2.0, 3.0, 11)


def truth(**state: np.ndarray) -> GroundTruth:
    """Two bodies whose numbers say which time, body and axis they are of."""
    places = TIMES[:, None, None] * 100 + np.arange(2)[:, None] * 10 + np.arange(3)
    return GroundTruth(TIMES, ("ball", "rod"), places, -places, "none", {}, state)


def test_labels_are_those_of_the_times() -> None:
    labels = labels_at(truth(), [2.3, 2.0, 2.9])
    assert labels is not None and labels.bodies == ("ball", "rod")
    assert labels.times.tolist() == [2.3, 2.0, 2.9]
    assert labels.positions.dtype == torch.float64 and labels.positions.shape == (3, 2, 3)
    torch.testing.assert_close(labels.positions[:, 1, 2], torch.tensor([242.0, 212.0, 302.0]).double())
    assert torch.equal(labels.velocities, -labels.positions)


def test_what_does_not_turn_is_upright() -> None:
    labels = labels_at(truth(), [2.0, 2.1])
    assert labels is not None
    assert torch.equal(labels.rotations, torch.eye(3).double().expand(2, 2, 3, 3))
    odd = labels_at(truth(rotations=np.zeros((11, 3))), [2.0])
    assert odd is not None and torch.equal(odd.rotations[0, 0], torch.eye(3).double()), "another kind of rotations"


def test_rotations_are_told() -> None:
    rotated = np.broadcast_to(np.eye(3)[[1, 2, 0]], (11, 2, 3, 3)) * np.arange(11)[:, None, None, None]
    labels = labels_at(truth(rotations=rotated), [2.4])
    assert labels is not None
    torch.testing.assert_close(labels.rotations[0, 1], 4 * torch.eye(3).double()[[1, 2, 0]])


def test_times_that_truth_does_not_know_are_not_made_up() -> None:
    assert labels_at(None, [2.0]) is None
    assert labels_at(truth(), []) is None
    assert labels_at(truth(), [2.05]) is None
    assert labels_at(truth(), [2.0, 3.1]) is None
    assert labels_at(truth(), [2.1 + 1e-8]) is not None, "as a file may round it"


def test_one_time_of_truth_counts_only_exactly() -> None:
    whole = truth()
    one = GroundTruth(TIMES[:1], whole.bodies, whole.positions[:1], whole.velocities[:1], "none", {})
    assert labels_at(one, [2.0]) is not None and labels_at(one, [2.0001]) is None


@pytest.mark.parametrize("index", [0, 1, 2, -1, -3])
def test_one_time_of_labels(index: int) -> None:
    labels = labels_at(truth(), [2.0, 2.5, 3.0])
    assert labels is not None
    one = labels.at(index)
    assert one.bodies == labels.bodies and one.times.shape == (1,) and one.rotations.shape == (1, 2, 3, 3)
    assert one.times[0] == labels.times[index]
    assert torch.equal(one.positions[0], labels.positions[index])
    assert torch.equal(one.velocities[0], labels.velocities[index])
