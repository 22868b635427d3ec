"""Round parts, fitted to silhouettes: their discs together are to cover what moves, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from foreseen.nn.splines import UniformBSpline
from foreseen.reconstruction.visual_hull import Silhouettes, SilhouetteView

PIXELS = 36_000
"""Pixels that are looked at: in each view a third of what moves, a third near it, a third anywhere; ..."""
MIN_PIXELS_PER_VIEW = 90
"""... at least so many of a view."""
NEARBY_PIXELS = 6
"""Pixels."""
EDGE_WIDTH = 0.12
"""Edge of a disc, in radii."""
ITERATIONS = (120, 240)
"""Steps of a fit that tells which parts are needless, and of the last one."""
RATE = 0.04
"""Step of the control points, in radii."""
JERK_WEIGHT = 3e-3
"""Weight of the trajectories' squared third differences, in radii."""
OCCLUDED_WEIGHT = 0.1
"""Weight of a pixel at which something at rest is seen, which may hide a part."""
MIN_OWN_SHARE = 0.3
"""A part is dropped where it alone explains less than this share of its disc."""
MIN_ROUND_OVERLAP = 0.85
"""Parts count as round where their discs and what moves overlap so far (intersection over union); balls reach 0.93."""
GIVE_UP_OVERLAP = 0.6
"""What overlaps less after the first steps never will be round."""


@dataclass(frozen=True)
class FittedSpheres:
    """Balls on smooth trajectories.

    Attributes:
        controls: `[n, K, 3]` B-spline control points of the centres over 0..1.
        radii: `[K]`.
        overlap: intersection over union of the discs and what moves, over the pixels that were looked at.
    """

    controls: np.ndarray
    radii: np.ndarray
    overlap: float = 0.0


@dataclass(frozen=True)
class _Pixels:
    """Rays `[P, 3]` from `origins`, spline weights `[P, n]` at their times, whether a part is seen `[P]`, and how much
    that counts `[P]`."""

    origins: Tensor
    directions: Tensor
    basis: Tensor
    is_foreground: Tensor
    weights: Tensor


def fit_spheres(
    views: Sequence[SilhouetteView], masks: Silhouettes, unknown: Sequence[np.ndarray] | None, start: FittedSpheres
) -> FittedSpheres:
    """Improves trajectories and radii, and drops parts that the others make needless (phantoms where the silhouettes
    of different parts meet). Gives up early where the parts are anything but round.

    Args:
        unknown: `[h, w]` bool for each view: pixels that say nothing (shadows, perhaps).
    """
    pixels = _draw(views, masks, unknown, len(start.controls))
    found = _optimize(pixels, start, ITERATIONS[0])
    if found.overlap < GIVE_UP_OVERLAP:
        return found
    while len(found.radii) > 1 and (alone := _exclusive_share(pixels, found)).min() < MIN_OWN_SHARE:
        kept = np.arange(len(found.radii)) != alone.argmin()
        found = _optimize(pixels, FittedSpheres(found.controls[:, kept], found.radii[kept]), ITERATIONS[0])
    return _optimize(pixels, found, ITERATIONS[1])


def _draw(
    views: Sequence[SilhouetteView], masks: Silhouettes, unknown: Sequence[np.ndarray] | None, controls: int
) -> _Pixels:
    each, rng = max(MIN_PIXELS_PER_VIEW, PIXELS // len(views)) // 3, np.random.default_rng(0)
    rays, seen, weights, times = [], [], [], []
    for i, view in enumerate(views):
        moving = masks.moving[i]
        free = ~moving if unknown is None else ~moving & ~unknown[i]
        near = ndimage.binary_dilation(moving, iterations=NEARBY_PIXELS)
        for wanted, value in ((moving, 1.0), (free & near, 0.0), (free & ~near, 0.0)):
            rows, cols = np.nonzero(wanted)
            if not len(rows):
                continue
            picked = rng.choice(len(rows), each)
            at = np.stack([cols[picked], rows[picked]], -1) + 0.5
            rays.append(view.camera.rays(torch.from_numpy(at).float()))
            seen.append(np.full(len(picked), value))
            hidden = masks.occluders[i][rows[picked], cols[picked]] & (value == 0)
            # Each pixel stands for as many as there are of its kind.
            weights.append(np.where(hidden, OCCLUDED_WEIGHT, 1.0) * min(len(rows), 4 * moving.sum() + 1) / len(picked))
            times.append(np.full(len(picked), view.time))
    basis = UniformBSpline(controls).basis(torch.from_numpy(np.concatenate(times))).float()
    total = np.concatenate(weights)
    return _Pixels(
        torch.cat([r.origins for r in rays]),
        torch.cat([r.directions for r in rays]),
        basis,
        torch.from_numpy(np.concatenate(seen)).float(),
        torch.from_numpy(total / total.mean()).float(),
    )


def _covered(pixels: _Pixels, controls: Tensor, radii: Tensor) -> Tensor:
    """`[P, K]` logits: how far each ray passes within each sphere."""
    centres = torch.einsum("pn,nkd->pkd", pixels.basis, controls)
    to = centres - pixels.origins[:, None]
    along = (to * pixels.directions[:, None]).sum(-1)
    beside = (to.square().sum(-1) - along.square()).clamp_min(1e-12).sqrt()
    return (radii - beside) / (EDGE_WIDTH * radii)


def _optimize(pixels: _Pixels, start: FittedSpheres, iterations: int) -> FittedSpheres:
    controls = torch.from_numpy(start.controls).float().requires_grad_()
    sizes = torch.from_numpy(np.log(start.radii)).float().requires_grad_()
    unit = float(start.radii.mean())
    optimizer = torch.optim.Adam([{"params": [controls], "lr": RATE * unit}, {"params": [sizes], "lr": 3e-3}])
    for rotation in range(iterations):
        for group, rate in zip(optimizer.param_groups, (RATE * unit, 3e-3)):
            group["lr"] = rate * (1 - rotation / iterations)
        # Outside of all discs log(1 - p) is the sum of those of each; inside, p = 1 - that.
        outside = -torch.nn.functional.softplus(_covered(pixels, controls, sizes.exp())).sum(-1)
        inside = torch.log(-torch.expm1(outside.clamp_max(-1e-6)))
        error = -(pixels.weights * torch.where(pixels.is_foreground > 0, inside, outside)).mean()
        jerk = (controls.diff(n=3, dim=0) / unit).square().mean() if len(controls) > 3 else 0.0
        optimizer.zero_grad()
        (error + JERK_WEIGHT * jerk).backward()
        optimizer.step()
    with torch.no_grad():
        found = (_covered(pixels, controls, sizes.exp()) > 0).any(-1).float()
        both = (pixels.weights * found * pixels.is_foreground).sum()
        either = (pixels.weights * (found + pixels.is_foreground - found * pixels.is_foreground)).sum()
    radii = sizes.exp().detach().double().numpy()
    return FittedSpheres(controls.detach().double().numpy(), radii, float(both / either))


@torch.no_grad()
def _exclusive_share(pixels: _Pixels, spheres: FittedSpheres) -> np.ndarray:
    """`[K]`: of the seen pixels that a part's disc covers, the share that no other covers."""
    controls, radii = torch.from_numpy(spheres.controls).float(), torch.from_numpy(spheres.radii).float()
    covers = (_covered(pixels, controls, radii) > 0).double() * pixels.weights[:, None]
    shares = []
    for k in range(covers.shape[1]):
        others = torch.cat([covers[:, :k], covers[:, k + 1 :]], dim=1).amax(-1)
        mine = covers[:, k] * pixels.is_foreground
        shares.append(float((mine * (others == 0)).sum() / covers[:, k].sum().clamp_min(1e-9)))
    return np.array(shares)
