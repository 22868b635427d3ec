"""Distortion taken out: a point is seen where the pinhole camera projects it."""

import cv2
import numpy as np
import pytest

from foreseen.data.lens import LensDistortion

LENS = LensDistortion(110.0, 105.0, 62.0, 46.0, 120, 90, (-0.25, 0.08, 0.004, -0.006, 0.01))


def dot_picture(pixel: np.ndarray) -> np.ndarray:
    """A soft dot about `pixel` (x, y; centres at +0.5)."""
    y, x = np.mgrid[: LENS.height, : LENS.width] + 0.5
    return np.exp(-((x - pixel[0]) ** 2 + (y - pixel[1]) ** 2) / (2 * 1.5**2)).astype(np.float32)


def centroid(picture: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: LENS.height, : LENS.width] + 0.5
    return np.array([(picture * x).sum(), (picture * y).sum()]) / picture.sum()


@pytest.mark.parametrize("point", [(0.0, 0.0), (0.3, 0.2), (-0.35, 0.25), (0.35, -0.25)])
def test_a_dot_moves_to_its_pinhole_projection(point: tuple[float, float]) -> None:
    matrix = np.array([[LENS.fx, 0, LENS.cx], [0, LENS.fy, LENS.cy], [0, 0, 1]])
    seen = cv2.projectPoints(np.array([[*point, 1.0]]), np.zeros(3), np.zeros(3), matrix, np.array(LENS.coefficients))
    straight = LENS.undistort(dot_picture(seen[0].ravel()))
    fx, fy, cx, cy = LENS.pinhole()
    expected = np.array([fx * point[0] + cx, fy * point[1] + cy])
    assert np.abs(centroid(straight) - expected).max() < 0.1


def test_without_distortion_nothing_moves() -> None:
    lens = LensDistortion(110.0, 105.0, 62.0, 46.0, 120, 90, (0.0, 0.0, 0.0, 0.0, 0.0))
    picture = np.random.default_rng(0).random((90, 120, 3)).astype(np.float32)
    assert np.allclose(lens.pinhole(), (110, 105, 62, 46))
    assert np.allclose(lens.undistort(picture), picture, atol=1e-5)


def test_ids_are_not_mixed() -> None:
    ids = np.where(np.arange(120) < 60, 3, 200)[None].repeat(90, axis=0).astype(np.uint16)
    assert set(np.unique(LENS.undistort(ids, nearest=True))) == {3, 200}
