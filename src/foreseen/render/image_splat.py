"""Sums of 2D Gaussians in the plane of a picture, differentiable in everything.

    value_c(p) = sum over i of weights_ic exp(-power_i(p)),    power = (u / s_1)^2 / 2 + (v / s_2)^2 / 2

with u, v the offset from the mean along the Gaussian's own axes. It is cut five standard deviations out.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreseen.nn.plane_kernels import threads
from foreseen.render.kernels import image_splat as kernel
from foreseen.scenes.image_gaussians import ImageGaussians

MAX_POWER = 12.5
"""Powers above it count as none: five standard deviations, 4e-6 of the peak."""


def splat_image(scene: ImageGaussians, width: int, height: int) -> Tensor:
    """The pictures `[..., height, width, C]`. First derivatives only; in memory the channels come first.

    Raises:
        UserError: tensors of shapes that do not fit.
    """
    scene.check()
    means, weights = scene.means, scene.weights
    if means.dtype != torch.float32 or means.device.type != "cpu":
        return splat_image_reference(scene, width, height)
    across, lean, down = _shape(scene)
    record = torch.stack([means[..., 0], means[..., 1], across, lean, down], dim=-1)
    leading, pictures = means.shape[:-2], math.prod(means.shape[:-2])
    many = (x.reshape(pictures, *x.shape[-2:]) for x in (record, weights))
    planes: Tensor = _SplatImage.apply(*many, width, height)
    return planes.reshape(*leading, weights.shape[-1], height, width).movedim(-3, -1)


def splat_image_reference(scene: ImageGaussians, width: int, height: int) -> Tensor:
    """The definition: any device, any precision; holds every Gaussian at every pixel."""
    means = scene.means
    x = torch.arange(width).to(means) + 0.5 - means[..., :1]
    y = torch.arange(height).to(means) + 0.5 - means[..., 1:]
    x, y = x[..., None, :], y[..., :, None]
    cos, sin = scene.angles.cos()[..., None, None], scene.angles.sin()[..., None, None]
    first, second = (s[..., None, None] for s in scene.scales.unbind(-1))
    power = ((cos * x + sin * y) / first).square() / 2 + ((cos * y - sin * x) / second).square() / 2
    return torch.einsum("...nhw,...nc->...hwc", torch.where(power <= MAX_POWER, (-power).exp(), 0), scene.weights)


def _shape(scene: ImageGaussians) -> tuple[Tensor, Tensor, Tensor]:
    """(across, lean, down) with power = across (x - lean y)^2 + down y^2."""
    cos, sin = scene.angles.cos(), scene.angles.sin()
    first, second = scene.scales.square().unbind(-1)
    xy, yy = cos * sin * (first - second), sin.square() * first + cos.square() * second
    return yy / (2 * first * second), xy / yy, 0.5 / yy


class _SplatImage(torch.autograd.Function):
    """The kernels behind autograd: records `[B, N, 5]` and weights `[B, N, C]` to planes `[B, C, H, W]`."""

    @staticmethod
    def forward(ctx: Any, record: Tensor, weights: Tensor, width: int, height: int) -> Tensor:
        planes = torch.empty(len(record), weights.shape[-1], height, width)
        kernel.draw(_array(record), _array(weights), np.float32(MAX_POWER), planes.numpy(), threads())
        ctx.save_for_backward(record, weights)
        return planes

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        record, weights = ctx.saved_tensors
        grads = torch.empty(record.shape), torch.empty(weights.shape)
        kernel.draw_backward(
            _array(record),
            _array(weights),
            np.float32(MAX_POWER),
            _array(gradient),
            *(g.numpy() for g in grads),
            threads(),
        )
        return *grads, None, None


def _array(x: Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.detach().numpy())
