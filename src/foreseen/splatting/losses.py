"""Losses of a rendered picture, and of the Gaussians' opacities and scales."""

from __future__ import annotations

import torch
from torch import Tensor

from foreseen.nn.ssim import TAPS, ssim
from foreseen.scenes.gaussians import Gaussians
from foreseen.splatting.config import CloudConfig


def picture_losses(rgb: Tensor, image: Tensor, ssim_weight: float) -> dict[str, Tensor]:
    """Mean absolute difference and 1 - SSIM of pictures `[H, W, 3]` (Kerbl et al. 2023, equation 7). Pictures smaller
    than the window of SSIM are compared by their difference alone."""
    difference = (rgb - image).abs().mean()
    mse = (rgb.detach() - image).square().mean()
    terms = {"_psnr": -10 * torch.log10(mse.clamp_min(1e-10))}
    if not ssim_weight or min(rgb.shape[:2]) < TAPS:
        return {"color": difference, **terms}
    terms |= {"color": (1 - ssim_weight) * difference, "ssim": ssim_weight * (1 - ssim(rgb, image))}
    return terms


def size_losses(scene: Gaussians, config: CloudConfig) -> dict[str, Tensor]:
    """Mean opacity and mean scale (Kheradmand et al. 2024, equation 10)."""
    terms = {}
    if config.opacity_weight:
        terms["opacity"] = config.opacity_weight * scene.opacities.mean()
    if config.scale_weight:
        terms["scale"] = config.scale_weight * scene.scales.mean()
    return terms
