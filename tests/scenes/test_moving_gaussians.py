"""Gaussians over time: kept where they change, exact at the times, on the way in between."""

from dataclasses import replace

import pytest
import torch

from foreseen.errors import UserError
from foreseen.scenes.gaussians import Gaussians
from foreseen.scenes.moving_gaussians import MovingGaussians, gather_motion
from random_gaussians import random_gaussians

TIMES = (0.5, 1.0, 3.0)


def frames() -> list[tuple[float, Gaussians]]:
    """Gaussian 2 flies, 1 and 4 turn, 4 fades late."""
    rest = random_gaussians(6)
    found = []
    for i, time in enumerate(TIMES):
        means, rotated, opacities = (x.clone() for x in (rest.means, rest.quaternions, rest.opacities))
        means[2] += i * torch.tensor([1.0, 0, -2])
        rotated[[1, 4]] += 0.1 * i
        opacities[4] = 0.75 if i == 2 else opacities[4]
        found.append((time, replace(rest, means=means, quaternions=rotated, opacities=opacities)))
    return found


def test_only_what_changes_is_kept() -> None:
    moving = gather_motion(frames(), "s")
    assert {name: track.index.tolist() for name, track in moving.tracks.items()} == {
        "means": [2],
        "quaternions": [1, 4],
        "opacities": [4],
    }
    assert moving.times.tolist() == list(TIMES) and moving.time_unit == "s"


def test_at_the_times_it_is_exact_and_outside_it_rests() -> None:
    given = frames()
    moving = gather_motion(given)
    for time, gaussians in [*given, (-9.0, given[0][1]), (9.0, given[-1][1])]:
        found = moving.at(time)
        for name in ("means", "quaternions", "scales", "opacities", "harmonics"):
            assert torch.equal(getattr(found, name), getattr(gaussians, name)), (time, name)


def test_in_between_it_is_linear_and_turns_the_shorter_way() -> None:
    given = frames()
    moving = gather_motion(given)
    found = moving.at(1.5)  # a quarter of the way from the second to the third
    torch.testing.assert_close(found.means[2], given[0][1].means[2] + 1.25 * torch.tensor([1.0, 0, -2]))
    assert float(found.opacities[4]) == pytest.approx(0.75 * float(given[1][1].opacities[4]) + 0.25 * 0.75)
    assert torch.equal(found.means[3], given[0][1].means[3])
    half = torch.tensor(0.5).sqrt()
    rest = random_gaussians(1)
    ends = [torch.tensor([[1.0, 0, 0, 0]]), -5 * torch.tensor([[half, 0, half, 0]])]  # a quarter turn about y
    turning = gather_motion([(t, replace(rest, quaternions=q)) for t, q in zip((0.0, 1.0), ends)])
    eighth = torch.tensor([torch.pi / 8]).cos().item(), torch.tensor([torch.pi / 8]).sin().item()
    torch.testing.assert_close(turning.at(0.5).quaternions, torch.tensor([[eighth[0], 0, eighth[1], 0]]))


def test_one_time_is_a_motion_too() -> None:
    rest = random_gaussians(3)
    moving = gather_motion([(2.0, rest)])
    assert not moving.tracks and torch.equal(moving.at(0.0).means, rest.means)


def test_refuses_other_gaussians_and_times_that_go_back() -> None:
    with pytest.raises(
        UserError, match=r"at time 1 the Gaussians' means have the shape \(4, 3\), but \(5, 3\) at first"
    ):
        gather_motion([(0.0, random_gaussians(5)), (1.0, random_gaussians(4))])
    with pytest.raises(UserError, match="extras have the shape None, but"):
        gather_motion([(0.0, random_gaussians(5, extras=1)), (1.0, random_gaussians(5))])
    with pytest.raises(UserError, match="times of moving Gaussians ascend, but 1 comes after 1"):
        gather_motion([(1.0, random_gaussians(5)), (1.0, random_gaussians(5))])
    with pytest.raises(UserError, match="one time at least"):
        gather_motion([])


def test_gaussians_without_tracks_rest() -> None:
    rest = random_gaussians(2)
    assert torch.equal(MovingGaussians(rest, torch.tensor([0.0], dtype=torch.float64)).at(5.0).means, rest.means)
