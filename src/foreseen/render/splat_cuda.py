"""Splatting on CUDA by `gsplat` (nerfstudio-project/gsplat, Apache-2.0), an optional package.

Colours come from our own harmonics; projection, sorting and compositing are gsplat's. It differs from
`foreseen.render.splat_reference` where it cuts alpha: at 0.999 instead of 0.99, so opaque middles differ a little.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.render.harmonics import harmonics_basis
from foreseen.render.splat_reference import LOW_PASS, MIN_DEPTH, TILE, Window, bounds
from foreseen.scenes.gaussians import Gaussians

CHANNELS = (1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 256, 257, 512)
"""Numbers of channels for which gsplat is compiled, in all versions from 1.5 on."""


def require_gsplat() -> Any:
    """The module. Raises `UserError` where it is not installed."""
    try:
        import gsplat
    except ImportError as missing:
        raise UserError('Gaussians on CUDA need gsplat: pip install "gsplat>=1.5", or give --device cpu.') from missing
    return gsplat


def splat_cuda(
    scene: Gaussians, features: Tensor, camera: Camera, window: Window, means2d: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What `foreseen.render.splat.splat_reference` gives, from tensors on CUDA."""
    gsplat = require_gsplat()
    left, top, width, height = window
    pose = camera.camera_to_world.to(scene.means)
    rotation = pose[:3, :3].T
    rigid = torch.cat([rotation, -rotation @ pose[:3, 3:]], dim=1)
    view = torch.cat([rigid, rigid.new_tensor([[0.0, 0.0, 0.0, 1.0]])])[None]
    lens = view.new_tensor([[camera.fx, 0.0, camera.cx], [0.0, camera.fy, camera.cy], [0.0, 0.0, 1.0]])[None]
    directions = scene.means - pose[:3, 3]
    distance = directions.norm(dim=-1)
    near, far = bounds(camera)
    opacities = torch.where((distance >= near) & (distance <= far), scene.opacities, 0)
    radii, centres, depths, conics, compensations = gsplat.fully_fused_projection(
        scene.means, None, scene.quaternions, scene.scales, view, lens, camera.width, camera.height,
        eps2d=LOW_PASS, near_plane=MIN_DEPTH, calc_compensations=scene.antialiased,
    )  # fmt: skip
    opacities = opacities[None] if compensations is None else opacities[None] * compensations
    centres = centres - centres.new_tensor([left, top])
    if means2d is not None:
        centres = centres + means2d
    columns, rows = -(-width // TILE), -(-height // TILE)
    _, keys, entries = gsplat.isect_tiles(centres, radii, depths, TILE, columns, rows)
    starts = gsplat.isect_offset_encode(keys, 1, columns, rows)
    basis = harmonics_basis(directions / distance.clamp(min=1e-12)[:, None], scene.harmonics.shape[1])
    colors = (0.5 + torch.einsum("nk,nkc->nc", basis, scene.harmonics)).clamp(min=0)
    blocks = torch.cat([colors, depths[0][:, None], features], dim=-1).split(CHANNELS[-1], dim=-1)
    drawn = [
        gsplat.rasterize_to_pixels(
            centres, conics, padded(block)[None], opacities, width, height, TILE, starts, entries
        )
        for block in blocks
    ]
    summed = torch.cat([sums[0, ..., : block.shape[-1]] for (sums, _), block in zip(drawn, blocks)], dim=-1)
    transmittance = 1 - drawn[0][1][0, ..., 0]
    rgb = summed[..., :3] + transmittance[..., None] * summed.new_tensor(scene.background)
    seen = torch.where((opacities[0] > 0)[:, None], radii[0], 0).to(centres)
    return rgb, summed[..., 3], transmittance, summed[..., 4:], seen


def padded(columns: Tensor) -> Tensor:
    """`columns` `[N, C]`, and zeros beside them up to the next number of channels that gsplat has a kernel for."""
    wanted = next(count for count in CHANNELS if count >= columns.shape[-1])
    return torch.nn.functional.pad(columns, (0, wanted - columns.shape[-1]))
