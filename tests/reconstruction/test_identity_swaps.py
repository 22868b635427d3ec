"""Balls whose tracks were swapped."""

import numpy as np
import pytest

from foreseen.reconstruction.ball_configs import IdentityConfig
from foreseen.reconstruction.identity_swaps import find_identity_swaps
from foreseen.reconstruction.silhouettes import SilhouetteView
from moving_balls import LEFT, RIGHT, camera, picture

TIMES = np.linspace(0, 1, 12)
RADII = np.array([LEFT[1], RIGHT[1]])
PLACES = np.array([[path(t) for path, _ in (LEFT, RIGHT)] for t in TIMES])


def views(alike: bool) -> list[SilhouetteView]:
    """A red ball and a blue one; if alike, both grey."""
    found = []
    for i, time in enumerate(TIMES):
        for angle in (-0.6, 0.5) if i % 4 else (0.5,):
            at = camera(angle)
            image = picture(at, [LEFT, RIGHT], time)
            if alike:
                image = np.where((image < 1).any(-1, keepdims=True), np.float32(0.4), image)
            found.append(SilhouetteView(at, time, image))
    return found


def swapped(since: int) -> np.ndarray:
    positions = PLACES.copy()
    positions[since:] = positions[since:, ::-1]
    return positions


def test_a_swap_is_found() -> None:
    found = find_identity_swaps(views(False), TIMES, swapped(8), RADII, IdentityConfig())
    assert (found[:8] == [0, 1]).all() and (found[8:] == [1, 0]).all()


@pytest.mark.parametrize("alike", [False, True])
def test_no_swap_is_found_without_reason(alike: bool) -> None:
    """Tracks that are right; and balls of one colour, on any tracks."""
    assert (find_identity_swaps(views(alike), TIMES, PLACES, RADII, IdentityConfig()) == [0, 1]).all()
    if alike:
        assert (find_identity_swaps(views(True), TIMES, swapped(8), RADII, IdentityConfig()) == [0, 1]).all()


def test_no_swap_is_found_if_a_ball_is_never_seen() -> None:
    away = PLACES.copy()
    away[:, 1] += 50.0
    assert (find_identity_swaps(views(False), TIMES, away, RADII, IdentityConfig()) == [0, 1]).all()
