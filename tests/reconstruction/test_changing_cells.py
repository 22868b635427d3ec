"""Cells that change, seen by cameras of one pose and several sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from foreseen.reconstruction.changing_cells import changing_cells
from foreseen.reconstruction.config import SilhouetteConfig
from moving_balls import LEFT, RIGHT, frames, info

TIMES = tuple(np.linspace(0, 1, 6).tolist())


def test_pictures_of_two_sizes_agree_with_each_of_them(tmp_path: Path) -> None:
    found = []
    for size in (24, 32):
        (tmp_path / str(size)).mkdir()
        found.append(frames(tmp_path / str(size), [LEFT, RIGHT], TIMES, size=size))
    alone = [changing_cells(own, info(TIMES), SilhouetteConfig(), 16, 1) for own in found]
    both = changing_cells(found[0] + found[1], info(TIMES), SilhouetteConfig(), 16, 1)
    assert both is not None and alone[0] is not None and alone[1] is not None
    assert both.any() and not both.all() and not (both & ~(alone[0] & alone[1])).any()
