"""Time that stands or runs."""

import pytest

from foreseen.viewer import Player


def player(**words: object) -> Player:
    return Player(1.0, 3.0, 1.0, **words)  # type: ignore[arg-type]


def test_it_stands_until_it_plays() -> None:
    one = player()
    assert not one.advance(0.5) and one.time == 1.0
    one.toggle()
    assert one.advance(0.5) and one.time == 1.5
    one.toggle()
    assert not one.advance(0.5) and one.time == 1.5


def test_speed_and_rate_multiply() -> None:
    one = player(playing=True, rate=0.5, speed=2.0)
    one.advance(0.25)
    assert one.time == pytest.approx(1.25)


def test_it_loops_by_the_length_of_the_range() -> None:
    one = player(playing=True)
    one.advance(2.0 * 7 + 0.5)
    assert one.time == pytest.approx(1.5) and one.playing


def test_without_loop_it_stops_at_the_end_and_begins_anew() -> None:
    one = player(playing=True, loop=False)
    assert one.advance(99.0)
    assert one.time == 3.0 and not one.playing
    one.toggle()
    assert one.playing and one.time == 1.0


def test_one_may_jump_while_it_plays() -> None:
    one = player(playing=True)
    one.seek(2.5)
    one.advance(0.1)
    assert one.time == pytest.approx(2.6)


def test_it_never_leaves_its_range() -> None:
    one = player()
    one.seek(9.0)
    assert one.time == 3.0
    one.span(0.0, 2.0)
    assert one.time == 2.0
    one.seek(-5.0)
    assert one.time == 0.0


def test_one_time_only() -> None:
    one = Player(1.0, 1.0, 1.0)
    one.toggle()
    one.advance(1.0)
    assert one.time == 1.0 and not one.playing


def test_a_clock_that_goes_back_changes_nothing() -> None:
    one = player(playing=True)
    assert not one.advance(-3.0) and one.time == 1.0
