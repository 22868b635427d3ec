"""Loss terms of Node-RF as published."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from foreseen.nn.lipschitz import lipschitz_product
from foreseen.render import RayResult


def color_losses(result: RayResult, colors: Tensor) -> dict[str, Tensor]:
    """Mean squared colour error of both networks, colors `[N, 3]`; Node-RF's L_NeRF up to the constant that
    turns its sum over rays into a mean, which has no effect with Adam.

    Both terms are minimised. The authors' code adds the coarse one after the total has been formed, so that
    there the network that places the samples never learns.
    """
    fine = (result.rgb - colors).square().mean()
    terms = {"color": fine, "_psnr": -10 * torch.log10(fine.detach().clamp_min(1e-10))}
    if result.coarse_rgb is not None:
        terms["color_coarse"] = (result.coarse_rgb - colors).square().mean()
    return terms


def label_losses(
    pairs: Mapping[str, tuple[Tensor, Tensor, float]], encode: Callable[[Tensor], Tensor] | None
) -> dict[str, Tensor]:
    """Node-RF's L_p and L_v: for each name, from the prediction `[T, K]`, the label `[T, M]` and a weight, the mean
    absolute error (K = M), as in the paper. With `encode` the mean squared error from the encoded label, as in the
    authors' code."""
    if encode is None:
        return {name: weight * (predicted - label).abs().mean() for name, (predicted, label, weight) in pairs.items()}
    return {
        name: weight * (predicted - encode(label)).square().mean() for name, (predicted, label, weight) in pairs.items()
    }


def lipschitz_loss(networks: nn.Module, weight: float) -> dict[str, Tensor]:
    """`weight` times the product of all layers' bounds: Node-RF's L_lip."""
    return {"lipschitz": weight * lipschitz_product(networks)}
