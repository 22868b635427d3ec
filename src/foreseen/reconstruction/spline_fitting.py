"""Splines through values with gaps in time."""

from __future__ import annotations

import numpy as np
import torch

from foreseen.nn.splines import UniformBSpline


def fit_spline(
    times: np.ndarray, values: np.ndarray, controls: int, smoothness: float, curvature_weight: float
) -> np.ndarray:
    """Control points `[n, D]` of the least-squares B-spline through `values` `[T, D]` at `times` `[T]` in 0..1.

    Args:
        controls: n.
        smoothness: weight of the control points' third differences.
        curvature_weight: weight of their second differences.
    """
    basis = UniformBSpline(controls).basis(torch.from_numpy(times)).numpy()
    jerk = np.diff(np.eye(controls), 3, axis=0) * smoothness
    curvature = np.diff(np.eye(controls), 2, axis=0) * curvature_weight
    left = np.concatenate([basis, jerk, curvature])
    right = np.concatenate([values, np.zeros((len(jerk) + len(curvature), values.shape[1]))])
    return np.linalg.lstsq(left, right, rcond=None)[0]
