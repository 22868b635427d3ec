"""Packed rendering of composed fields: samples only where something is, composited ray by ray.

The quadrature is that of `foreseen.render.volume`, with equal steps. Steps in empty space are skipped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreseen.geometry.rays import Rays
from foreseen.nn.plane_kernels import threads
from foreseen.render.kernels import packed
from foreseen.render.result import RayResult
from foreseen.scenes.composed_field import ComposedField

MIN_TRANSMITTANCE = 1e-3
"""A ray ends when its transmittance through the cached densities is below this. No cell counts as thicker than
`packed.CELL_THICKNESS`: a cell stores its largest density, and a ray may miss what is opaque in it. Larger: faster, and
faint content behind is lost."""


@dataclass(frozen=True)
class PackedSamples:
    """M samples on N rays, ray after ray, near to far.

    Attributes:
        ray_index, component: `[M]` int64.
        distances: `[M]` along the ray.
        starts: `[N + 1]` int64; ray r's samples are starts[r] to starts[r + 1].
    """

    ray_index: Tensor
    component: Tensor
    distances: Tensor
    starts: Tensor


def march_rays(scene: ComposedField, rays: Rays, *, stratified: bool = False) -> RayResult:
    """Renders rays `[N]`. `stratified` shifts the samples of each ray by a random share of a step (torch's global
    generator), otherwise by half a step."""
    count = rays.origins.shape[0]
    jitter = torch.rand(count) if stratified else torch.full((count,), 0.5)
    samples = sample(scene, rays, jitter)
    density, color = query_samples(scene, rays, samples)
    # NDC directions are not of unit length; densities are per unit length of the space.
    scale = rays.directions.norm(dim=-1)
    lengths = scene.step * scene.ray_strides[samples.component] * scale[samples.ray_index]
    background = torch.tensor(scene.background, device=color.device).expand(count, 3)
    rgb, depth, opacity = composite(density, color, samples, lengths, background)
    return RayResult(rgb=rgb, depth=depth, opacity=opacity, samples=samples.distances.numel())


@torch.no_grad()
def sample(scene: ComposedField, rays: Rays, jitter: Tensor) -> PackedSamples:
    """The steps of each ray at which some part's cached density is above the threshold."""
    count = rays.origins.shape[0]
    rotations, centres, cells = (
        np.ascontiguousarray(x.detach().cpu().expand(count, *x.shape[1:]).numpy())
        for x in (scene.rotations, scene.centres, scene.cells)
    )
    starts = np.zeros(count + 1, np.int64)
    arguments = (
        rays.origins.contiguous().cpu().numpy(),
        rays.directions.contiguous().cpu().numpy(),
        jitter.cpu().numpy(),
        np.float32(scene.near),
        np.float32(scene.far),
        np.float32(scene.step),
        rotations,
        centres,
        scene.half_extents.detach().cpu().numpy(),
        scene.ray_strides.cpu().numpy(),
        cells,
        scene.grid.cpu().numpy(),
        np.float32(scene.threshold),
        np.float32(MIN_TRANSMITTANCE),
    )
    nothing = np.empty(0, np.int64)
    packed.march(*arguments, False, starts, nothing, nothing, np.empty(0, np.float32), threads())
    np.cumsum(starts, out=starts)
    total = int(starts[-1])
    ray_index, component = np.empty(total, np.int64), np.empty(total, np.int64)
    distances = np.empty(total, np.float32)
    packed.march(*arguments, True, starts, ray_index, component, distances, threads())
    device = rays.origins.device
    return PackedSamples(*(torch.from_numpy(x).to(device) for x in (ray_index, component, distances, starts)))


@torch.no_grad()
def sample_reference(scene: ComposedField, rays: Rays, jitter: Tensor) -> PackedSamples:
    """The definition of `sample`, step after step in plain Python: slow."""
    kept: list[tuple[int, int, float]] = []
    starts = [0]
    size = scene.grid.shape[1]
    for r, (origin, direction) in enumerate(zip(rays.origins, rays.directions)):
        row = r if scene.centres.shape[0] > 1 else 0
        transmittance = 1.0
        for i in range(math.ceil((scene.far - scene.near) / scene.step)):
            distance = scene.near + (i + float(jitter[r])) * scene.step
            if distance > scene.far or transmittance < MIN_TRANSMITTANCE:
                break
            for k, stride in enumerate(scene.ray_strides.tolist()):
                offset = origin + distance * direction - scene.centres[row, k]
                local = scene.rotations[row, k].T @ offset / scene.half_extents[k]
                absent = scene.cells[row, k] < 0 or i % stride != int(jitter[r] * stride)
                if absent or bool((local.abs() > 1).any()):
                    continue
                x, y, z = ((local + 1) / 2 * size).long().clamp(max=size - 1).tolist()
                density = float(scene.grid[scene.cells[row, k], x, y, z])
                if density > scene.threshold:
                    length = scene.step * stride * float(direction.norm())
                    cells_passed = length / (2 * float(scene.half_extents[k].max()) / size)
                    transmittance *= math.exp(-min(density * length, packed.CELL_THICKNESS * min(1, cells_passed)))
                    kept.append((r, k, distance))
        starts.append(len(kept))
    ray_index, component, distances = zip(*kept) if kept else ((), (), ())
    return PackedSamples(
        torch.tensor(ray_index, dtype=torch.int64),
        torch.tensor(component, dtype=torch.int64),
        torch.tensor(distances, dtype=rays.origins.dtype),
        torch.tensor(starts),
    )


def query_samples(scene: ComposedField, rays: Rays, samples: PackedSamples) -> tuple[Tensor, Tensor]:
    """Density `[M]` and colour `[M, 3]` of the samples; differentiable in the parts' poses."""
    ray, part = samples.ray_index, samples.component
    points = rays.origins[ray] + samples.distances[:, None] * rays.directions[ray]
    row = ray if scene.centres.shape[0] > 1 else torch.zeros_like(ray)
    offset = points - scene.centres[row, part]
    local = torch.einsum("mba,mb->ma", scene.rotations[row, part], offset) / scene.half_extents[part]
    return scene.query(local, part, ray, rays.view_directions[ray])


def composite(
    density: Tensor, color: Tensor, samples: PackedSamples, lengths: Tensor, background: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """From samples `lengths` `[M]` long: colour `[N, 3]`, depth `[N]` (distance weighted by what each sample adds; the
    background adds nothing) and opacity `[N]`."""
    if density.device.type == "cpu" and density.dtype == torch.float32:
        return _Composite.apply(density, color, samples.distances, lengths, samples.starts, background)
    return composite_reference(density, color, samples, lengths, background)


def composite_reference(
    density: Tensor, color: Tensor, samples: PackedSamples, lengths: Tensor, background: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The definition, in plain torch: any device, any float type."""
    ray, count = samples.ray_index, samples.starts.numel() - 1
    thickness = (density * lengths).double()
    before = torch.cumsum(thickness, 0) - thickness
    # The first sample of each ray; a ray without samples reads a neighbour's and never uses it.
    if before.numel():
        before = before - before[samples.starts[:-1].clamp(max=before.numel() - 1)][ray]
    weights = ((-before).exp() * (1 - (-thickness).exp())).to(density.dtype)
    rgb = torch.zeros(count, 3, dtype=color.dtype, device=color.device).index_add(0, ray, weights[:, None] * color)
    zero = torch.zeros(count, dtype=density.dtype, device=density.device)
    depth = zero.index_add(0, ray, weights * samples.distances.to(density.dtype))
    opacity = zero.index_add(0, ray, weights)
    return rgb + (1 - opacity)[:, None] * background.to(rgb.dtype), depth, opacity


class _Composite(torch.autograd.Function):
    """The Numba kernels behind autograd. First derivatives with respect to density and colour."""

    @staticmethod
    def forward(
        ctx: Any, density: Tensor, color: Tensor, distances: Tensor, lengths: Tensor, starts: Tensor, background: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        count = starts.numel() - 1
        rgb, depth, opacity = torch.empty(count, 3), torch.empty(count), torch.empty(count)
        weights = torch.empty_like(density)
        color, background = color.contiguous(), background.contiguous()
        packed.composite(
            *(
                x.detach().numpy()
                for x in (density, color, distances, lengths, starts, background, rgb, depth, opacity, weights)
            ),
            threads(),
        )
        ctx.save_for_backward(color, distances, lengths, starts, rgb, depth, opacity, weights)
        return rgb, depth, opacity

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, g_rgb: Tensor, g_depth: Tensor, g_opacity: Tensor
    ) -> tuple[Tensor, Tensor, None, None, None, None]:
        color, distances, lengths, starts, rgb, depth, opacity, weights = ctx.saved_tensors
        g_density, g_color = torch.empty_like(weights), torch.empty_like(color)
        packed.composite_backward(
            *(x.detach().numpy() for x in (color, distances, lengths, starts, rgb, depth, opacity, weights)),
            *(x.contiguous().numpy() for x in (g_rgb, g_depth, g_opacity, g_density, g_color)),
            threads(),
        )
        return g_density, g_color, None, None, None, None
