"""Structural similarity as a loss: one compiled pass for the value, one for its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreseen.errors import UserError
from foreseen.nn import ssim_kernels
from foreseen.nn.plane_kernels import threads
from foreseen.nn.simd import WIDTH

TAPS, SIGMA = ssim_kernels.TAPS, 1.5
C1, C2 = 0.01**2, 0.03**2


def ssim(image: Tensor, truth: Tensor) -> Tensor:
    """Mean structural similarity of images `[..., H, W, C]` with values in 0..1, over all windows inside the image.

    The 11 x 11 Gaussian window of sigma 1.5 (Wang et al. 2004), as in `foreseen.evaluation`. Differentiable in
    `image`; `truth` gets no gradient. Images with the channels first are `[..., C, H, W, 1]`: the mean is the same.

    Raises:
        UserError: the images are smaller than the window, or not of one shape.
    """
    if image.shape != truth.shape or image.ndim < 3 or min(image.shape[-3:-1]) < TAPS:
        raise UserError(
            f"SSIM needs two images [..., H, W, C] of one shape, at least {TAPS} pixels high and wide; "
            f"they are {list(image.shape)} and {list(truth.shape)}."
        )
    compiled = image.dtype == truth.dtype == torch.float32 and image.device.type == truth.device.type == "cpu"
    if not compiled or image.shape[-2] * image.shape[-1] < WIDTH:
        return ssim_reference(image, truth)
    value: Tensor = _SSIM.apply(image, truth.detach())
    return value


def ssim_reference(image: Tensor, truth: Tensor) -> Tensor:
    """The definition: any device, any precision."""
    shape = image.shape[-3:]
    a, b = (x.reshape(-1, *shape).permute(0, 3, 1, 2).flatten(0, 1)[:, None] for x in (image, truth.detach()))
    taps = torch.from_numpy(_taps()).to(image)

    def blurred(x: Tensor) -> Tensor:
        return torch.conv2d(torch.conv2d(x, taps[None, None, :, None]), taps[None, None, None, :])

    mean_a, mean_b = blurred(a), blurred(b)
    levels = mean_a.square() + mean_b.square()
    spread = blurred(a.square() + b.square()) - levels
    covariance = blurred(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    return (top / ((levels + C1) * (spread + C2))).mean()


def _taps() -> np.ndarray:
    x = np.arange(TAPS) - TAPS // 2
    weights = np.exp(-(x**2) / (2 * SIGMA**2))
    return np.asarray(weights / weights.sum(), np.float64)


class _SSIM(torch.autograd.Function):
    """The kernels behind autograd. First derivatives only."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, truth: Tensor) -> Tensor:
        height, width, channels = image.shape[-3:]
        a, b = (np.ascontiguousarray(x.detach().numpy()).reshape(-1, height, width * channels) for x in (image, truth))
        rows, wide = height - TAPS + 1, width * channels + (TAPS - 1) * channels + 2 * WIDTH
        slopes = np.zeros((3, len(a), rows, wide if ctx.needs_input_grad[0] else 0), np.float32)
        taps = _taps().astype(np.float32)
        count = len(a) * rows * (width - TAPS + 1) * channels
        found = ssim_kernels.similarity(a, b, channels, taps, np.float32(C1), np.float32(C2), slopes, threads())
        ctx.kept, ctx.shape = (a, b, channels, taps, slopes, count), image.shape
        return image.new_tensor(found / count)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        a, b, channels, taps, slopes, count = ctx.kept
        grad = torch.empty(a.shape)
        scale = np.float32(float(gradient) / count)
        ssim_kernels.similarity_backward(a, b, channels, taps, slopes, scale, grad.numpy(), threads())
        return grad.reshape(ctx.shape), None
