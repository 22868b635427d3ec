"""How many pixels can be rendered in time."""

from hypothesis import given
from hypothesis import strategies as st

from foreseen.viewer import AdaptiveResolution
from foreseen.viewer.resolution import scaled

WINDOW = (1600, 900)
windows = st.tuples(st.integers(8, 4000), st.integers(8, 3000))


def settled(seconds_per_pixel: float, rate: float = 12.0) -> tuple[int, int]:
    one = AdaptiveResolution(rate=rate)
    for _ in range(30):
        width, height = one.moving(WINDOW)
        one.measured(width * height, seconds_per_pixel * width * height)
    return one.moving(WINDOW)


def test_what_moves_is_rendered_in_time() -> None:
    for cost in (1e-6, 4e-6, 2e-5):
        width, height = settled(cost)
        assert width * height * cost <= 1.35 / 12  # it stays within its hysteresis
        assert width * height * cost >= 0.5 / 12 or height == 540


def test_twice_the_rate_half_the_pixels() -> None:
    slow, fast = settled(1e-5, 8.0), settled(1e-5, 16.0)
    assert 1.4 < (slow[0] * slow[1]) / (fast[0] * fast[1]) < 3.0


def test_limits() -> None:
    assert settled(1e-12)[1] == AdaptiveResolution().lines
    assert settled(10.0)[1] == AdaptiveResolution().min_lines


def test_sizes_do_not_flicker() -> None:
    one = AdaptiveResolution()
    one.measured(1000, 0.01)
    first = one.moving(WINDOW)
    for seconds in (0.011, 0.0095, 0.0105, 0.009, 0.0112):
        one.measured(1000, seconds)
        assert one.moving(WINDOW) == first


@given(windows, st.integers(8, 1200), st.floats(1e-9, 1.0))
def test_refinement_grows_and_ends_at_the_finest(window: tuple[int, int], lines: int, cost: float) -> None:
    one = AdaptiveResolution(lines=lines)
    one.measured(1000, 1000 * cost)
    size, seen = one.moving(one.finest(window)), 0
    while (finer := one.refine(size, one.finest(window))) is not None:
        assert finer[1] > size[1]
        size, seen = finer, seen + 1
    assert size == one.finest(window) and seen < 12


@given(windows, st.integers(1, 4000))
def test_scaled_keeps_the_form_and_never_grows(window: tuple[int, int], lines: int) -> None:
    width, height = scaled(window, lines)
    assert 1 <= width <= window[0] and 1 <= height <= min(window[1], lines)
    assert abs(width - window[0] * height / window[1]) <= 1.0
