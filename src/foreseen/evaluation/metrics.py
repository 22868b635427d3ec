"""Differences of two images. Images are `[H, W, 3]` float in 0..1, masks `[H, W]` bool; every result is a float.

A metric that is not defined for a pair (image too small, empty mask) is None, never a made-up number.
`docs/evaluation.md` has the formulas.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

WINDOW, SIGMA = 11, 1.5
"""Width and standard deviation of SSIM's Gaussian window [pixels] (Wang et al. 2004)."""
K1, K2 = 0.01, 0.03
"""SSIM's stabilising constants, as published."""
MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the five scales of MS-SSIM (Wang et al. 2003, "Multiscale structural similarity for image quality
assessment", section 3.2)."""
MIN_MSE = 1e-10
"""Lower bound of the mean squared error: PSNR is at most 100 dB, so that means stay finite when an image is exact."""


def psnr(image: Tensor, truth: Tensor, mask: Tensor | None = None) -> float | None:
    """10 log10(1 / MSE) [dB] over the pixels of `mask` (all pixels without one); at most 100. None for an empty
    mask."""
    error = (image - truth).square()
    if mask is not None:
        error = error[mask]
    if error.numel() == 0:
        return None
    return -10 * math.log10(max(float(error.mean()), MIN_MSE))


def _blur(image: np.ndarray) -> np.ndarray:
    """`[H, W, C]` under the Gaussian window, mirrored at the border."""
    x = np.arange(WINDOW) - WINDOW // 2
    kernel = np.exp(-(x**2) / (2 * SIGMA**2))
    kernel = kernel / kernel.sum()
    return cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101)


def _structure(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SSIM and its contrast-structure factor at every pixel `[H, W, C]`; data range 1."""
    c1, c2 = K1**2, K2**2
    mean_a, mean_b = _blur(a), _blur(b)
    variance_a, variance_b = (np.maximum(_blur(x * x) - m * m, 0) for x, m in ((a, mean_a), (b, mean_b)))
    covariance = _blur(a * b) - mean_a * mean_b
    contrast = (2 * covariance + c2) / (variance_a + variance_b + c2)
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance * contrast, contrast


def _exact(image: Tensor) -> np.ndarray:
    """float64: variances as differences of squares lose float32's digits on flat areas."""
    return image.detach().cpu().double().numpy()


def _inside(values: np.ndarray) -> np.ndarray:
    """The pixels whose window lies inside the image."""
    return values[WINDOW // 2 : -(WINDOW // 2), WINDOW // 2 : -(WINDOW // 2)]


def ssim_map(image: Tensor, truth: Tensor) -> Tensor | None:
    """SSIM at every pixel `[H, W]` float64, mean of the channels; the image is mirrored at its border.

    None where the image is smaller than the window. Source: Wang et al. 2004, with the 11 x 11 Gaussian window of
    sigma 1.5.
    """
    if min(image.shape[:2]) < WINDOW:
        return None
    return torch.from_numpy(_structure(_exact(image), _exact(truth))[0].mean(-1))


def mean_ssim(found: Tensor | None, mask: Tensor | None = None) -> float | None:
    """Mean of a `ssim_map`: over the pixels whose window lies inside the image, or over those of `mask`.

    None where there is no map, or the mask is empty.
    """
    if found is None or (mask is not None and not bool(mask.any())):
        return None
    return float(_inside(found.numpy()).mean() if mask is None else found[mask].mean())


def ms_ssim(image: Tensor, truth: Tensor) -> float | None:
    """SSIM over five scales, each half of the one before. None where a side is shorter than 176 pixels (11 * 2^4).

    Source: Wang et al. 2003. A negative factor of a scale counts as 0: it has no real power.
    """
    if min(image.shape[:2]) < WINDOW * 2 ** (len(MS_WEIGHTS) - 1):
        return None
    a, b = _exact(image), _exact(truth)
    value = np.ones(a.shape[-1])
    for scale, weight in enumerate(MS_WEIGHTS):
        full, contrast = _structure(a, b)
        last = scale == len(MS_WEIGHTS) - 1
        value = value * _inside(full if last else contrast).mean((0, 1)).clip(min=0) ** weight
        a, b = _halved(a), _halved(b)
    return float(value.mean())


def _halved(image: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels; an odd row or column at the end is left out."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    return image[: 2 * height, : 2 * width].reshape(height, 2, width, 2, -1).mean((1, 3))


def mask_iou(mask: Tensor, truth: Tensor) -> float | None:
    """Pixels in both masks over pixels in either; None where both are empty."""
    union = int((mask | truth).sum())
    return None if union == 0 else int((mask & truth).sum()) / union


def centroid(mask: Tensor) -> tuple[float, float] | None:
    """Mean pixel centre (x, y) of a mask, in pixels; None where it is empty."""
    rows, columns = torch.nonzero(mask, as_tuple=True)
    if rows.numel() == 0:
        return None
    return float(columns.double().mean()) + 0.5, float(rows.double().mean()) + 0.5


def centroid_error(mask: Tensor, truth: Tensor) -> float | None:
    """Distance between the centroids of two masks [pixels]; None where one of them is empty."""
    a, b = centroid(mask), centroid(truth)
    return None if a is None or b is None else math.dist(a, b)
