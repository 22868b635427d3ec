"""Lens distortion, which is removed from pictures when they are loaded: all cameras are then pinholes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np


@dataclass(frozen=True)
class LensDistortion:
    """A distorting camera at the size of its files.

    Attributes:
        fx, fy, cx, cy: intrinsics in pixels, pixel centres at +0.5.
        coefficients: (k1, k2, p1, p2, k3) of the Brown-Conrady model, in OpenCV's order.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    coefficients: tuple[float, float, float, float, float]

    def pinhole(self) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy of the pinhole camera that `undistort` gives: the widest without empty corners."""
        k = _pinhole_matrix(self)
        return float(k[0, 0]), float(k[1, 1]), float(k[0, 2] + 0.5), float(k[1, 2] + 0.5)

    def undistort(self, picture: np.ndarray, nearest: bool = False) -> np.ndarray:
        """`[H, W]` or `[H, W, C]` at the size of the files, undistorted; `nearest` for ids and depths."""
        x, y = _maps(self)
        how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        return cv2.remap(picture, x, y, how, borderMode=cv2.BORDER_REPLICATE)


def _matrix(lens: LensDistortion) -> np.ndarray:
    # OpenCV's pixel centres lie on whole numbers.
    return np.array([[lens.fx, 0, lens.cx - 0.5], [0, lens.fy, lens.cy - 0.5], [0, 0, 1]])


@lru_cache(maxsize=256)
def _pinhole_matrix(lens: LensDistortion) -> np.ndarray:
    size = (lens.width, lens.height)
    return cv2.getOptimalNewCameraMatrix(_matrix(lens), np.array(lens.coefficients), size, 0, size)[0]


@lru_cache(maxsize=8)
def _maps(lens: LensDistortion) -> tuple[np.ndarray, np.ndarray]:
    size = (lens.width, lens.height)
    return cv2.initUndistortRectifyMap(
        _matrix(lens), np.array(lens.coefficients), None, _pinhole_matrix(lens), size, cv2.CV_32FC1
    )
