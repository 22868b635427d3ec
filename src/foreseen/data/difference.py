"""Where a picture differs from the static background: the one rule for which pixels count as moving."""

from __future__ import annotations

from torch import Tensor

DIFFERENCE = 0.08
"""Largest difference of a channel (0..1) that still counts as the background."""
DARKEST_SHADOW = 0.5
"""A shadow leaves at least this share of the background's brightness; what is darker is an object."""


def moving_mask(image: Tensor, background: Tensor) -> Tensor:
    """`[H, W]` bool: where `image` `[H, W, 3]` differs from `background` (`[H, W, 3]` or `[3]`) and from its
    shadows.

    A cast shadow is the background times a factor k. The factor nearest to the pixel is taken between
    `DARKEST_SHADOW` and 1, and the pixel is part of an object where some channel is still more than
    `DIFFERENCE` away. An object whose colour is the background's, only darker, looks like a shadow: the ceiling
    (the same rule applied to the true image) shows how much that costs.
    """
    background = background.to(image).expand_as(image)
    power = background.square().sum(-1).clamp(min=1e-6)
    factor = ((image * background).sum(-1) / power).clamp(DARKEST_SHADOW, 1.0)
    return (image - factor[..., None] * background).abs().amax(-1) > DIFFERENCE
