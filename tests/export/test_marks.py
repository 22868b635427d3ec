"""Dots where parts may be."""

import numpy as np
import torch

from foreseen.export.marks import COLOUR, mark_points
from foreseen.geometry.cameras import Camera

CAMERA = Camera(torch.eye(4), 40.0, 40.0, 32.0, 24.0, 64, 48, 0.1, 9.0)


def test_a_dot_is_where_the_point_projects() -> None:
    grey = np.full((48, 64, 3), 100, np.uint8)
    point = torch.tensor([[0.5, -0.25, 2.0]])
    found = mark_points(grey, CAMERA, point)
    x, y = CAMERA.project(point)[0][0].tolist()
    rows, columns = np.nonzero((found != grey).any(-1))
    assert abs(columns.mean() + 0.5 - x) < 0.5 and abs(rows.mean() + 0.5 - y) < 0.5
    assert len(rows) < 24 and found[int(y), int(x)].astype(int).sum() > 0.6 * sum(COLOUR)
    assert (grey == 100).all(), "the picture that was given stays as it was"


def test_points_behind_and_far_outside_leave_no_mark() -> None:
    grey = np.full((48, 64, 3), 100, np.uint8)
    points = torch.tensor([[0.0, 0.0, -2.0], [1e6, 0.0, 1.0], [float("nan"), 0.0, 1.0]])
    assert np.array_equal(mark_points(grey, CAMERA, points), grey)
