"""What is drawn around the pictures."""

import numpy as np
import pytest
import torch

from foreseen.export.compose import (
    FORECAST,
    GAIN,
    MARGIN,
    OBSERVED,
    Timeline,
    compose,
    difference_picture,
    to_bytes,
)  # fmt: skip

LINE = Timeline(0.0, 2.0, 1.0, "s")


def panel(colour: int, height: int = 240, width: int = 300) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def count(frame: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((frame == np.array(colour)).all(-1).sum())


def test_difference_is_absolute_and_amplified() -> None:
    a, b = torch.full((2, 2, 3), 0.5), torch.full((2, 2, 3), 0.6)
    assert np.array_equal(difference_picture(a, b), difference_picture(b, a))
    assert difference_picture(a, b)[0, 0, 0] == round(0.1 * GAIN * 255)
    assert difference_picture(a, a).max() == 0
    assert difference_picture(a, a + 1).min() == 255


def test_panels_stand_side_by_side_unchanged() -> None:
    frame = compose([("truth", panel(50)), ("forecast", panel(90)), ("difference", panel(130))], 0.5, LINE)
    assert frame.shape[0] % 2 == 0 and frame.shape[1] % 2 == 0
    for index, colour in enumerate((50, 90, 130)):
        left = MARGIN + index * (300 + MARGIN)
        rows = np.flatnonzero((frame[:, left + 150] == colour).all(-1))
        assert len(rows) >= 240 and (frame[rows[0] : rows[0] + 240, left : left + 300] == colour).all()


def test_small_pictures_are_enlarged_without_blur() -> None:
    small = np.zeros((24, 40, 3), np.uint8)
    small[10, 20] = (255, 0, 255)
    frame = compose([("", small)], 0.0, LINE)
    assert count(frame, (255, 0, 255)) == 10 * 10
    assert frame.shape[1] == 400 + 2 * MARGIN


@pytest.mark.parametrize(("time", "seen", "coming"), [(0.5, True, False), (1.0, True, False), (1.5, True, True)])
def test_the_bar_changes_colour_at_the_border(time: float, seen: bool, coming: bool) -> None:
    frame = compose([("", panel(0))], time, LINE)
    bar = frame[240:]
    assert (count(bar, OBSERVED) > 200) == seen
    assert (count(bar, FORECAST) > 200) == coming


def test_a_filled_bar_is_half_blue_half_orange() -> None:
    bar = compose([("", panel(0))], 2.0, LINE)[240:]
    row = next(r for r in bar if count(r[None], OBSERVED) > 50 and count(r[None], FORECAST) > 50)
    blue = np.flatnonzero((row == np.array(OBSERVED)).all(-1))
    orange = np.flatnonzero((row == np.array(FORECAST)).all(-1))
    assert blue.max() < orange.min()
    assert blue.max() == pytest.approx(MARGIN + 150, abs=3)


def test_what_was_not_filmed_is_an_empty_panel() -> None:
    frame = compose([("truth", None), ("forecast", panel(90))], 1.5, LINE)
    assert frame.shape[1] == 2 * 300 + 3 * MARGIN + 1 * ((3 * MARGIN) % 2)
    assert not (frame[100:200, MARGIN + 5 : MARGIN + 60] == 90).any()


def test_bytes_are_rounded_and_clipped() -> None:
    assert to_bytes(torch.tensor([[[-0.5, 0.5, 1.5]]])).tolist() == [[[0, 128, 255]]]


def test_a_clip_of_one_time_has_a_full_bar() -> None:
    assert Timeline(1.0, 1.0, 1.0).share(1.0) == 1.0
    assert not Timeline(1.0, 1.0, 1.0).is_forecast(1.0)
    assert LINE.is_forecast(1.01) and not LINE.is_forecast(1.0)
