"""Settings of the reconstruction."""

import pytest

from foreseen.errors import UserError
from foreseen.reconstruction.ball_configs import RotationConfig
from foreseen.reconstruction.config import ReconstructionConfig


@pytest.mark.parametrize(("wanted", "expected"), [(0.0, 8), (7.9, 8), (20.4, 20), (1e6, 120)])
def test_the_number_of_control_points_is_limited(wanted: float, expected: int) -> None:
    assert ReconstructionConfig().num_controls(wanted) == expected


def test_each_search_range_has_a_spacing() -> None:
    with pytest.raises(UserError, match="2 search ranges and 3 search spacings: give a spacing for each range"):
        RotationConfig(search_ranges=(0.4, 0.1))
