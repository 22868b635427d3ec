"""Rendering of voxel scenes: one compiled kernel from ray to colour, and back.

What is computed is the packed quadrature of `foreseen.render.marching` over the scene's `composed` form, which is its
definition. A ray ends where the transmittance of its samples, not of cached densities, is below `MIN_TRANSMITTANCE`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreseen.geometry.rays import Rays
from foreseen.nn.plane_kernels import threads
from foreseen.nn.voxels import GAIN, scratch
from foreseen.render.kernels import voxels as kernel
from foreseen.render.marching import march_rays
from foreseen.render.result import RayResult
from foreseen.scenes.voxel_scene import VoxelScene

MIN_TRANSMITTANCE = 1e-3
"""A ray ends when its transmittance is below this. Larger: faster, and faint content behind is lost."""
FAR_AWAY = 1e12
"""Coordinate, in scene units, of a part whose pose is not finite: no ray reaches it."""


def trace_rays(scene: VoxelScene, rays: Rays, *, stratified: bool = False) -> RayResult:
    """Renders rays `[N]`. `stratified` shifts the samples of each ray by a random share of a step (torch's global
    generator), otherwise by half a step. Differentiable in voxels, poses and light."""
    values = scene.voxels.values
    if not scene.voxels.compiled(rays.origins):
        return march_rays(scene.composed(), rays, stratified=stratified)
    count = len(rays.origins)
    jitter = torch.rand(count) if stratified else torch.full((count,), 0.5)
    rgb, depth, opacity, samples = _Trace.apply(
        values, scene.rotations, scene.centres, scene.light, _TraceSettings(scene, rays, jitter)
    )
    return RayResult(rgb=rgb, depth=depth, opacity=opacity, samples=int(samples.sum()))


class _TraceSettings:
    """The kernel's arguments that no gradient goes to."""

    def __init__(self, scene: VoxelScene, rays: Rays, jitter: Tensor) -> None:
        count = len(rays.origins)
        rows = torch.zeros(count, dtype=torch.int64) if scene.rows is None else scene.rows
        self.count = count
        order = _neighbours_together(rays) if torch.is_grad_enabled() else torch.arange(count)
        self.rays = (
            order.numpy(),
            *(_array(x) for x in (rays.origins, rays.directions, rays.view_directions, rows, jitter)),
            np.float32(scene.near),
            np.float32(scene.far),
            np.float32(scene.step),
            np.array(scene.background, np.float32),
        )
        self.boxes = (
            _array(scene.half_extents),
            _array(scene.ray_strides),
            _array(scene.grid),
            np.float32(scene.threshold),
            _array(scene.voxels.layout),
            _array(scene.voxels.index),
        )
        self.gain, self.shift = np.float32(GAIN), np.float32(scene.voxels.shift)
        self.scales = _array(scene.voxels.scales(scene.half_extents).float())


class _Trace(torch.autograd.Function):
    """The kernel behind autograd. First derivatives only."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, rotations: Tensor, centres: Tensor, light: Tensor, fixed: _TraceSettings
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        n = fixed.count
        rgb, depth, opacity = torch.empty(n, 3), torch.empty(n), torch.empty(n)
        samples = torch.empty(n, dtype=torch.int32)
        none = np.empty((1, 1, 1, 1, 1), np.float32)
        gradients = (none[0, 0, :, 0], *[none[0, 0, 0, 0]] * 2)
        _run(
            fixed, values, rotations, centres, light, rgb, depth, opacity, samples, False,
            *gradients, none[0, 0, 0], none[0, 0], none, none[0], none[0, 0, 0], threads(),
        )  # fmt: skip
        ctx.save_for_backward(values, rotations, centres, light, rgb, depth, opacity, samples)
        ctx.fixed = fixed
        ctx.mark_non_differentiable(samples)
        return rgb, depth, opacity, samples

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, g_rgb: Tensor, g_depth: Tensor, g_opacity: Tensor, _: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        values, rotations, centres, light, rgb, depth, opacity, samples = ctx.saved_tensors
        chunks = threads()
        grads = [torch.zeros(chunks, *x.shape) for x in (rotations, centres, light)]
        grad_values, others = torch.zeros_like(values), scratch(chunks - 1, values)
        _run(
            ctx.fixed, values, rotations, centres, light, rgb, depth, opacity, samples, True,
            *(_array(g) for g in (g_rgb, g_depth, g_opacity)),
            *(g.numpy() for g in (grad_values, others, *grads)), chunks,
        )  # fmt: skip
        for other in others:
            grad_values += other
        grad_rotations, grad_centres, grad_light = (g.sum(0) for g in grads)
        return grad_values, grad_rotations, grad_centres, grad_light, None


def _run(
    fixed: _TraceSettings, values: Tensor, rotations: Tensor, centres: Tensor, light: Tensor,
    rgb: Tensor, depth: Tensor, opacity: Tensor, samples: Tensor, *rest: Any,
) -> None:  # fmt: skip
    half_extents, ray_strides, grid, threshold, layout, index = fixed.boxes
    rotations, centres = _move_nonfinite_away(rotations, centres)
    kernel.trace(
        *fixed.rays, _array(rotations), _array(centres), half_extents, ray_strides, grid, threshold, layout, index,
        _array(values), fixed.gain, fixed.shift, fixed.scales, _array(light), np.float32(MIN_TRANSMITTANCE),
        *(x.detach().numpy() for x in (rgb, depth, opacity, samples)), *rest,
    )  # fmt: skip


def _move_nonfinite_away(rotations: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """The poses; one that is not finite is moved far away, where no ray sees it."""
    lost = ~(rotations.isfinite().flatten(-2).all(-1) & centres.isfinite().all(-1))
    if not lost.any():
        return rotations, centres
    rotated = torch.where(lost[..., None, None], torch.eye(3), rotations)
    return rotated, torch.where(lost[..., None], FAR_AWAY, centres)


def _neighbours_together(rays: Rays) -> Tensor:
    """An order in which rays of one camera with similar directions follow each other: they read the same voxels from
    the processor's cache."""
    directions = ((rays.view_directions + 1) * 24).long()
    origin = (rays.origins * 1000).long() @ torch.tensor([73856093, 19349663, 83492791]) % 1009
    return (((origin * 64 + directions[:, 0]) * 64 + directions[:, 1]) * 64 + directions[:, 2]).argsort(stable=True)


def _array(x: Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.detach().numpy())
