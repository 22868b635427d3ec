"""How far one picture is from another. Images are `[H, W, 3]` float in 0..1, masks `[H, W]` bool; every
figure is a float.

A metric that cannot be had for a pair (image too small, nothing in the mask) is None, never a made-up number.
`docs/evaluation.md` has the formulas.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03
# Wang et al. 2003, "Multiscale structural similarity for image quality assessment", section 3.2.
MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SMALLEST_MSE = 1e-10
"""PSNR stops at 100 dB, so that the mean over frames stays a number when a picture is exact."""


def psnr(image: Tensor, truth: Tensor, mask: Tensor | None = None) -> float | None:
    """10 log10(1 / MSE) [dB] over the pixels of `mask` (all without one); at most 100. None for an empty
    mask."""
    error = (image - truth).square()
    if mask is not None:
        error = error[mask]
    if error.numel() == 0:
        return None
    return -10 * math.log10(max(float(error.mean()), SMALLEST_MSE))


def _blur(planes: Tensor) -> Tensor:
    """Planes `[C, 1, H, W]` under the Gaussian window, without padding: `[C, 1, H - 10, W - 10]`."""
    x = torch.arange(WINDOW, dtype=planes.dtype) - WINDOW // 2
    kernel = torch.exp(-(x**2) / (2 * SIGMA**2))
    kernel = kernel / kernel.sum()
    return F.conv2d(F.conv2d(planes, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def _structure(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM and its contrast-structure factor, of planes `[C, 1, H, W]`; data range 1, no padding."""
    c1, c2 = K1**2, K2**2
    mean_a, mean_b, square_a, square_b, product = _blur(torch.cat([a, b, a * a, b * b, a * b])).chunk(5)
    variance_a, variance_b = (square_a - mean_a**2).clamp(min=0), (square_b - mean_b**2).clamp(min=0)
    covariance = product - mean_a * mean_b
    contrast = (2 * covariance + c2) / (variance_a + variance_b + c2)
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance * contrast, contrast


def _planes(image: Tensor) -> Tensor:
    """`[H, W, C]` -> `[C, 1, H, W]` float64: variances as differences of squares lose float32's digits on
    flat areas."""
    return image.to(torch.float64).permute(2, 0, 1)[:, None]


def ssim_map(image: Tensor, truth: Tensor) -> Tensor:
    """SSIM at every pixel `[H, W]`, mean of the channels; the image is mirrored at its border. Needs 6 pixels
    a side.

    Source: Wang et al. 2004, with the 11 x 11 Gaussian window of sigma 1.5.
    """
    pad = (WINDOW // 2,) * 4
    a, b = (F.pad(_planes(x), pad, mode="reflect") for x in (image, truth))
    return _structure(a, b)[0].mean(dim=(0, 1))


def ssim(image: Tensor, truth: Tensor, mask: Tensor | None = None) -> float | None:
    """Mean SSIM: of the pixels whose window lies inside the image, or of the pixels of `mask`.

    None where the image is smaller than the window, or the mask is empty.
    """
    if min(image.shape[:2]) < WINDOW or (mask is not None and not bool(mask.any())):
        return None
    if mask is not None:
        return float(ssim_map(image, truth)[mask].mean())
    return float(_structure(_planes(image), _planes(truth))[0].mean())


def ms_ssim(image: Tensor, truth: Tensor) -> float | None:
    """SSIM over five scales, each half of the one before. None where a side is shorter than 176 pixels (11 *
    2^4).

    Source: Wang et al. 2003. A negative factor of a scale counts as 0: it has no real power.
    """
    if min(image.shape[:2]) < WINDOW * 2 ** (len(MS_WEIGHTS) - 1):
        return None
    a, b = _planes(image), _planes(truth)
    value = torch.ones(a.shape[0], dtype=a.dtype)
    for scale, weight in enumerate(MS_WEIGHTS):
        full, contrast = _structure(a, b)
        last = scale == len(MS_WEIGHTS) - 1
        value = value * (full if last else contrast).mean(dim=(1, 2, 3)).clamp(min=0) ** weight
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return float(value.mean())


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
