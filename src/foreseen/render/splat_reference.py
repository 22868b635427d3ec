"""Splatting of 3D Gaussians in plain torch, on any device and in any precision: the definition.

`docs/rendering.md` has the equations. The kernels behind `foreseen.render.splat` are held to this, forward and back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from foreseen.geometry.cameras import Camera
from foreseen.geometry.rotations import quaternion_matrix
from foreseen.render.harmonics import harmonics_basis
from foreseen.scenes.gaussians import Gaussians

LOW_PASS = 0.3
"""Variance [pixels^2] that every Gaussian gains on the picture (Kerbl et al. 2023)."""
ALPHA_MAX, ALPHA_MIN = 0.99, 1 / 255
"""Alphas are cut to the first; where alpha is below the second a Gaussian is not drawn."""
MIN_TRANSMITTANCE = 1e-4
"""A Gaussian that would lower a pixel's transmittance to this or below is not drawn, nor anything behind it."""
MIN_DEPTH = 0.01
"""Gaussians with a centre nearer to the camera's plane than this [scene units] are not drawn."""
MARGIN = 0.3
"""The local affine map is evaluated no further outside the picture than this share of half its size (Kerbl et al.
2023)."""
TILE = 16
"""Pixels of a tile's side."""

Window = tuple[int, int, int, int]
"""A part of a picture: left, top, width, height, in pixels."""


@dataclass(frozen=True)
class Projection:
    """The V visible Gaussians, projected to the picture.

    Attributes:
        index: `[V]` indices of the scene's Gaussians, ascending.
        centres: `[V, 2]` x and y, in pixels of the window.
        covariances: `[V, 3]` xx, xy, yy, in pixels^2, low-pass included.
        depths: `[V]` along z.
        opacities: `[V]`, compensated where the scene is antialiased.
        colors: `[V, 3]`, 0 or more.
        radii: `[V, 2]` half width and height of the box around what has an alpha of `ALPHA_MIN`, in pixels.
    """

    index: Tensor
    centres: Tensor
    covariances: Tensor
    depths: Tensor
    opacities: Tensor
    colors: Tensor
    radii: Tensor

    def keep(self, mask: Tensor) -> Projection:
        """The Gaussians of `mask` `[V]`."""
        return Projection(*(getattr(self, name)[mask] for name in self.__dataclass_fields__))


def bounds(camera: Camera) -> tuple[float, float]:
    """Smallest and largest distance [scene units] of visible centres; no limit in normalised device coordinates."""
    return (camera.near, camera.far) if camera.ndc is None else (0.0, math.inf)


def project_reference(scene: Gaussians, camera: Camera, window: Window, means2d: Tensor | None = None) -> Projection:
    """The Gaussians that reach into `window` (EWA: Zwicker et al. 2001). `means2d` `[N, 2]` move their centres."""
    local, index = _before_the_camera(scene, camera)
    distinct = torch.nn.functional.normalize(scene.quaternions[index], dim=-1)
    rotated = quaternion_matrix(distinct) * scene.scales[index][:, None, :]
    axes = camera.camera_to_world.to(local)[:3, :3].T @ rotated
    x, y, z = local.unbind(-1)
    slopes = torch.stack([x, y], dim=-1) / z[:, None]
    focal = local.new_tensor([camera.fx, camera.fy])
    middle = local.new_tensor([camera.cx, camera.cy])
    size = local.new_tensor([camera.width, camera.height])
    edge = MARGIN * size / (2 * focal)
    held = torch.maximum(torch.minimum(slopes, (size - middle) / focal + edge), -(middle / focal + edge))
    rows = (focal / z[:, None])[..., None] * (axes[:, :2] - held[..., None] * axes[:, 2:])  # [V, 2, 3]: sqrt of Sigma
    xx, yy = rows.square().sum(-1).unbind(-1)
    xy = (rows[:, 0] * rows[:, 1]).sum(-1)
    sharp = torch.linalg.cross(rows[:, 0], rows[:, 1]).square().sum(-1)  # determinant before the low-pass
    blurred = sharp + LOW_PASS * (xx + yy) + LOW_PASS**2
    opacities = scene.opacities[index]
    if scene.antialiased:
        opacities = opacities * (sharp / blurred).clamp(min=1e-12).sqrt()
    centres = slopes * focal + middle - local.new_tensor(window[:2])
    if means2d is not None:
        centres = centres + means2d[index].to(centres)
    covariances = torch.stack([xx + LOW_PASS, xy, yy + LOW_PASS], dim=-1)
    reach = 2 * (opacities.detach() / ALPHA_MIN).clamp(min=1e-30).log()
    radii = (covariances[:, [0, 2]].detach() * reach[:, None].clamp(min=0)).sqrt()
    directions = scene.means[index] - camera.position.to(local)
    basis = harmonics_basis(torch.nn.functional.normalize(directions, dim=-1), scene.harmonics.shape[1])
    colors = (0.5 + torch.einsum("vk,vkc->vc", basis, scene.harmonics[index])).clamp(min=0)
    projected = Projection(index, centres, covariances, z, opacities, colors, radii)
    finite = torch.stack([x.flatten(1).isfinite().all(1) for x in (centres, covariances, colors)]).all(0)
    inside = (centres + radii >= 0.5).all(1) & (centres - radii <= local.new_tensor(window[2:]) - 0.5).all(1)
    return projected.keep(finite & (reach >= 0) & inside)


def _before_the_camera(scene: Gaussians, camera: Camera) -> tuple[Tensor, Tensor]:
    """Centres in the camera's axes `[V, 3]`, and the indices of their Gaussians."""
    pose = camera.camera_to_world.to(scene.means)
    local = (scene.means - pose[:3, 3]) @ pose[:3, :3]
    near, far = bounds(camera)
    distance = local.norm(dim=-1)
    index = torch.nonzero((local[:, 2] > MIN_DEPTH) & (distance >= near) & (distance <= far))[:, 0]
    return local[index], index


def composite_reference(projected: Projection, features: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Sums of `features` `[V, C]`, weighted by each Gaussian's alpha and the transmittance before it, `[H, W, C]`; and
    the transmittance behind all of them `[H, W]`."""
    order = projected.depths.detach().argsort(stable=True)
    projected, features = projected.keep(order), features[order]
    rows = []
    for top in range(0, height, TILE):
        row = [
            _composite_tile(projected, features, left, top, min(TILE, width - left), min(TILE, height - top))
            for left in range(0, width, TILE)
        ]
        rows.append(torch.cat(row, dim=1))
    picture = torch.cat(rows, dim=0)
    return picture[..., :-1], picture[..., -1]


def _composite_tile(projected: Projection, features: Tensor, left: int, top: int, width: int, height: int) -> Tensor:
    """`[height, width, C + 1]`: sums of features, and the transmittance behind all of them."""
    x, y = projected.centres.detach().unbind(-1)
    rx, ry = projected.radii.unbind(-1)
    here = (x + rx >= left) & (x - rx <= left + width) & (y + ry >= top) & (y - ry <= top + height)
    projected, features = projected.keep(here), features[here]
    across = torch.arange(width).to(features) + left + 0.5
    down = torch.arange(height).to(features) + top + 0.5
    dx = (across - projected.centres[:, :1])[:, None, :]
    dy = (down - projected.centres[:, 1:])[:, :, None]
    xx, xy, yy = (v[:, None, None] for v in projected.covariances.unbind(-1))
    power = (yy * dx.square() - 2 * xy * dx * dy + xx * dy.square()) / (2 * (xx * yy - xy.square()))
    alpha = (projected.opacities[:, None, None] * (-power).exp()).clamp(max=ALPHA_MAX)
    alpha = torch.where(alpha >= ALPHA_MIN, alpha, 0)
    behind = (1 - alpha).cumprod(0)
    before = torch.cat([torch.ones_like(alpha[:1]), behind[:-1]]) if len(alpha) else alpha
    weights = torch.where(behind > MIN_TRANSMITTANCE, before * alpha, 0)
    sums = torch.einsum("nhw,nc->hwc", weights, features)
    return torch.cat([sums, 1 - weights.sum(0)[..., None]], dim=-1)
