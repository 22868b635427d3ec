"""Balls fitted to silhouettes: their discs together should cover the moving pixels, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from foreseen.nn.splines import UniformBSpline
from foreseen.reconstruction.ball_configs import SphereConfig
from foreseen.reconstruction.silhouettes import Silhouettes, SilhouetteView


@dataclass(frozen=True)
class FittedSpheres:
    """K balls on smooth trajectories.

    Attributes:
        controls: `[n, K, 3]` B-spline control points of the centres over times 0..1.
        radii: `[K]`, in scene units.
        overlap: intersection over union of discs and moving pixels, over the pixels of the fit.
    """

    controls: np.ndarray
    radii: np.ndarray
    overlap: float = 0.0


@dataclass(frozen=True)
class _PixelSamples:
    """P pixels of all views.

    Attributes:
        origins, directions: `[P, 3]` of their rays.
        basis: `[P, n]` spline weights at their times.
        is_foreground: `[P]` 1 where something moves, else 0.
        weights: `[P]` in the loss.
    """

    origins: Tensor
    directions: Tensor
    basis: Tensor
    is_foreground: Tensor
    weights: Tensor


def fit_spheres(
    views: Sequence[SilhouetteView],
    masks: Silhouettes,
    ignored: Sequence[np.ndarray] | None,
    start: FittedSpheres,
    config: SphereConfig,
) -> FittedSpheres:
    """Fits trajectories and radii, and drops balls that the others make needless (where silhouettes of different balls
    meet, hulls have false parts). Stops early if the parts are no balls.

    Args:
        ignored: `[h, w]` bool for each view: pixels that the fit leaves out, such as shadows.
    """
    pixels = _sample_pixels(views, masks, ignored, len(start.controls), config)
    spheres = _optimize(pixels, start, config.first_iterations, config)
    if spheres.overlap < config.give_up_overlap:
        return spheres
    while len(spheres.radii) > 1:
        shares = _exclusive_shares(pixels, spheres, config)
        if shares.min() >= config.min_exclusive_share:
            break
        kept = np.arange(len(spheres.radii)) != shares.argmin()
        spheres = FittedSpheres(spheres.controls[:, kept], spheres.radii[kept])
        spheres = _optimize(pixels, spheres, config.first_iterations, config)
    return _optimize(pixels, spheres, config.iterations, config)


def _sample_pixels(
    views: Sequence[SilhouetteView],
    masks: Silhouettes,
    ignored: Sequence[np.ndarray] | None,
    controls: int,
    config: SphereConfig,
) -> _PixelSamples:
    """Of each view as many moving pixels, pixels near these, and others."""
    per_kind = max(config.min_pixels_per_view, config.max_pixels // len(views)) // 3
    rng = np.random.default_rng(0)
    rays, is_foreground, weights, times = [], [], [], []
    for i, view in enumerate(views):
        moving = masks.moving[i]
        static = ~moving if ignored is None else ~moving & ~ignored[i]
        near = ndimage.binary_dilation(moving, iterations=config.nearby_pixels)
        for wanted, value in ((moving, 1.0), (static & near, 0.0), (static & ~near, 0.0)):
            rows, cols = np.nonzero(wanted)
            if not len(rows):
                continue
            picked = rng.choice(len(rows), per_kind)
            at = np.stack([cols[picked], rows[picked]], -1) + 0.5
            rays.append(view.camera.rays(torch.from_numpy(at).float()))
            is_foreground.append(np.full(len(picked), value))
            hidden = masks.occluders[i][rows[picked], cols[picked]] & (value == 0)
            # Each sample stands for as many pixels as there are of its kind.
            represented = min(len(rows), config.max_static_ratio * moving.sum() + 1) / len(picked)
            weights.append(np.where(hidden, config.occluded_weight, 1.0) * represented)
            times.append(np.full(len(picked), view.time))
    basis = UniformBSpline(controls).basis(torch.from_numpy(np.concatenate(times))).float()
    all_weights = np.concatenate(weights)
    return _PixelSamples(
        torch.cat([r.origins for r in rays]),
        torch.cat([r.directions for r in rays]),
        basis,
        torch.from_numpy(np.concatenate(is_foreground)).float(),
        torch.from_numpy(all_weights / all_weights.mean()).float(),
    )


def _coverage_logits(pixels: _PixelSamples, controls: Tensor, radii: Tensor, edge_width: float) -> Tensor:
    """`[P, K]`: positive where a ray passes within a ball; 1 means one soft edge inside."""
    centres = torch.einsum("pn,nkd->pkd", pixels.basis, controls)
    to = centres - pixels.origins[:, None]
    along = (to * pixels.directions[:, None]).sum(-1)
    beside = (to.square().sum(-1) - along.square()).clamp_min(1e-12).sqrt()
    return (radii - beside) / (edge_width * radii)


def _optimize(pixels: _PixelSamples, start: FittedSpheres, iterations: int, config: SphereConfig) -> FittedSpheres:
    """Gradient descent (Adam) on the binary cross entropy of the discs and the silhouettes."""
    controls = torch.from_numpy(start.controls).float().requires_grad_()
    log_radii = torch.from_numpy(np.log(start.radii)).float().requires_grad_()
    unit = float(start.radii.mean())
    rates = (config.position_lr * unit, config.radius_lr)
    optimizer = torch.optim.Adam([{"params": [p], "lr": rate} for p, rate in zip((controls, log_radii), rates)])
    for iteration in range(iterations):
        for group, rate in zip(optimizer.param_groups, rates):
            group["lr"] = rate * (1 - iteration / iterations)
        # Outside of all discs log(1 - p) is the sum of those of each; inside, p = 1 - that.
        logits = _coverage_logits(pixels, controls, log_radii.exp(), config.edge_width)
        outside = -torch.nn.functional.softplus(logits).sum(-1)
        inside = torch.log(-torch.expm1(outside.clamp_max(-1e-6)))
        error = -(pixels.weights * torch.where(pixels.is_foreground > 0, inside, outside)).mean()
        jerk = (controls.diff(n=3, dim=0) / unit).square().mean() if len(controls) > 3 else 0.0
        optimizer.zero_grad()
        (error + config.jerk_weight * jerk).backward()
        optimizer.step()
    radii = log_radii.exp().detach()
    overlap = _overlap(pixels, controls.detach(), radii, config)
    return FittedSpheres(controls.detach().double().numpy(), radii.double().numpy(), overlap)


@torch.no_grad()
def _overlap(pixels: _PixelSamples, controls: Tensor, radii: Tensor, config: SphereConfig) -> float:
    """Intersection over union of discs and moving pixels."""
    covered = (_coverage_logits(pixels, controls, radii, config.edge_width) > 0).any(-1).float()
    both = (pixels.weights * covered * pixels.is_foreground).sum()
    either = (pixels.weights * (covered + pixels.is_foreground - covered * pixels.is_foreground)).sum()
    return float(both / either)


@torch.no_grad()
def _exclusive_shares(pixels: _PixelSamples, spheres: FittedSpheres, config: SphereConfig) -> np.ndarray:
    """`[K]`: share of each ball's disc that is moving pixels which no other disc covers."""
    controls, radii = torch.from_numpy(spheres.controls).float(), torch.from_numpy(spheres.radii).float()
    covers = (_coverage_logits(pixels, controls, radii, config.edge_width) > 0).double() * pixels.weights[:, None]
    shares = []
    for k in range(covers.shape[1]):
        others = torch.cat([covers[:, :k], covers[:, k + 1 :]], dim=1).amax(-1)
        own = covers[:, k] * pixels.is_foreground
        shares.append(float((own * (others == 0)).sum() / covers[:, k].sum().clamp_min(1e-9)))
    return np.array(shares)
