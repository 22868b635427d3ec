"""Splatting of 3D Gaussians: what a camera sees of them, differentiable in everything.

One call for all machines: compiled kernels on a CPU in float32, `gsplat` on CUDA, and elsewhere the plain torch that
defines both (`foreseen.render.splat_reference`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreseen.geometry.cameras import Camera
from foreseen.nn.plane_kernels import threads
from foreseen.render import splat_reference as reference
from foreseen.render.kernels import gaussian_projection, gaussian_raster, gaussian_tiles
from foreseen.render.splat_reference import Window
from foreseen.scenes.gaussians import Gaussians


@dataclass(frozen=True)
class SplatResult:
    """What a camera sees of N Gaussians, and what densification needs.

    Attributes:
        rgb: `[H, W, 3]` on the scene's background.
        depth: `[H, W]` weighted sum of the distances along the ray to the Gaussians' depths, in scene units: 0 where
            nothing is seen; divided by `opacity` the expected distance.
        opacity: `[H, W]` in 0..1: 1 minus the transmittance.
        extras: `[H, W, E]` the extra channels with the same weights, on a background of 0; None where the scene has
            none.
        radii: `[N, 2]` half width and height [pixels] of the box in which a Gaussian counts; 0 for those not drawn.
        means2d: `[N, 2]` zeros that were added to the projected centres [pixels], a leaf of the graph: after `backward`
            its `grad` is the gradient of the loss with respect to the projected centres. None where it was not asked
            for.
    """

    rgb: Tensor
    depth: Tensor
    opacity: Tensor
    extras: Tensor | None
    radii: Tensor
    means2d: Tensor | None

    @property
    def visible(self) -> Tensor:
        """`[N]` bool: the Gaussians that reach the picture, also those hidden by others."""
        return self.radii[:, 0] > 0

    def screen_gradients(self, camera: Camera) -> Tensor:
        """`[N]` norms of the loss's gradients with respect to the projected centres, after `backward`, in units in
        which the whole picture is 2 wide and high: densification compares them with a threshold (Kerbl et al. 2023,
        section 5.2)."""
        if self.means2d is None or self.means2d.grad is None:
            raise RuntimeError("screen_gradients needs a picture made with gradients, after backward.")
        return (self.means2d.grad * self.means2d.grad.new_tensor([camera.width / 2, camera.height / 2])).norm(dim=-1)


def splat(scene: Gaussians, camera: Camera, window: Window | None = None, *, with_means2d: bool = True) -> SplatResult:
    """Renders Gaussians.

    Differentiable in the scene's tensors and in `camera.camera_to_world`. First derivatives only.

    Args:
        scene: N Gaussians; N may be 0.
        camera: where from. Its near and far bound the distances of centres, unless they are in normalised device
            coordinates.
        window: left, top, width and height of the region to render [pixels], the whole picture where it is None. The
            region has exactly the pixels of the whole picture.
        with_means2d: while gradients are on, return `means2d`; the result then always needs gradients.

    Raises:
        UserError: tensors of shapes that do not fit, or on CUDA where gsplat is not installed.
    """
    scene.check()
    window = (0, 0, camera.width, camera.height) if window is None else window
    means2d = (
        torch.zeros_like(scene.means[:, :2]).requires_grad_() if with_means2d and torch.is_grad_enabled() else None
    )
    features = scene.means.new_zeros(len(scene.means), 0) if scene.extras is None else scene.extras
    if scene.means.is_cuda:
        from foreseen.render.splat_cuda import splat_cuda

        sums = splat_cuda(scene, features, camera, window, means2d)
    elif scene.means.dtype == torch.float32 and scene.means.device.type == "cpu":
        sums = _compiled(scene, features, camera, window, means2d)
    else:
        sums = splat_reference(scene, features, camera, window, means2d)
    rgb, depth, transmittance, extras, radii = sums
    depth = depth * _lengths(camera, window).to(depth)
    return SplatResult(rgb, depth, 1 - transmittance, None if scene.extras is None else extras, radii, means2d)


SplatSums = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Colour `[H, W, 3]`, depth along z and transmittance `[H, W]`, extra channels `[H, W, E]`, radii `[N, 2]`."""


def splat_reference(
    scene: Gaussians, features: Tensor, camera: Camera, window: Window, means2d: Tensor | None
) -> SplatSums:
    """The definition: any device, any precision. `features` `[N, E]` are the extra channels."""
    projected = reference.project_reference(scene, camera, window, means2d)
    columns = torch.cat([projected.colors, projected.depths[:, None], features[projected.index]], dim=-1)
    sums, transmittance = reference.composite_reference(projected, columns, *window[2:])
    rgb = sums[..., :3] + transmittance[..., None] * sums.new_tensor(scene.background)
    radii = scene.means.new_zeros(len(scene.means), 2).index_copy(0, projected.index, projected.radii)
    return rgb, sums[..., 3], transmittance, sums[..., 4:], radii


def _lengths(camera: Camera, window: Window) -> Tensor:
    """`[H, W]`: how far along its ray a pixel meets the plane at depth 1."""
    left, top, width, height = window
    x = (torch.arange(width) + (left + 0.5 - camera.cx)) / camera.fx
    y = (torch.arange(height) + (top + 0.5 - camera.cy)) / camera.fy
    return (1 + x.square() + y.square()[:, None]).sqrt()


def _compiled(scene: Gaussians, features: Tensor, camera: Camera, window: Window, means2d: Tensor | None) -> SplatSums:
    pose = camera.camera_to_world.to(scene.means)
    sums: SplatSums = _Splat.apply(
        scene.means, scene.quaternions, scene.scales, scene.opacities, scene.harmonics, features, pose, means2d,
        _SplatSettings(scene, camera, window),
    )  # fmt: skip
    return sums


class _SplatSettings:
    """The kernels' arguments that no gradient goes to."""

    def __init__(self, scene: Gaussians, camera: Camera, window: Window) -> None:
        self.width, self.height = window[2:]
        self.window = np.array(window, np.float32)
        self.tile = np.array([gaussian_tiles.TILE_WIDTH, gaussian_tiles.TILE_HEIGHT], np.float32)
        edge_x, edge_y = (
            reference.MARGIN * size / (2 * focal)
            for size, focal in ((camera.width, camera.fx), (camera.height, camera.fy))
        )
        self.lens = np.array(
            [
                *(camera.fx, camera.fy, camera.cx, camera.cy),
                *(-camera.cx / camera.fx - edge_x, (camera.width - camera.cx) / camera.fx + edge_x),
                *(-camera.cy / camera.fy - edge_y, (camera.height - camera.cy) / camera.fy + edge_y),
                reference.MIN_DEPTH,
            ],
            np.float32,
        )
        self.bounds = tuple(np.float32(x) for x in reference.bounds(camera))
        self.background = np.array(scene.background, np.float32)
        self.antialiased = scene.antialiased
        self.columns = -(-self.width // gaussian_tiles.TILE_WIDTH)
        self.rows = -(-self.height // gaussian_tiles.TILE_HEIGHT)
        self.limits = tuple(
            np.float32(x) for x in (reference.ALPHA_MAX, reference.ALPHA_MIN, reference.MIN_TRANSMITTANCE)
        )


class _Splat(torch.autograd.Function):
    """The kernels behind autograd."""

    @staticmethod
    def forward(
        ctx: Any, means: Tensor, quaternions: Tensor, scales: Tensor, opacities: Tensor, harmonics: Tensor,
        features: Tensor, pose: Tensor, means2d: Tensor | None, fixed: _SplatSettings,
    ) -> SplatSums:  # fmt: skip
        inputs = tuple(_array(x) for x in (means, quaternions, scales, opacities, harmonics))
        offsets2d = np.empty((0, 2), np.float32) if means2d is None else _array(means2d)
        count, channels = len(means), features.shape[1]
        record = np.empty((count, gaussian_projection.RECORD), np.float32)
        tiles = np.empty((count, 4), np.int32)
        gaussian_projection.project(
            *inputs, offsets2d, _array(pose), fixed.lens, *fixed.bounds, fixed.window, fixed.antialiased,
            np.float32(reference.LOW_PASS), np.float32(reference.ALPHA_MIN), fixed.tile, record, tiles, threads(),
        )  # fmt: skip
        bins = gaussian_tiles.bin_gaussians(record, tiles, fixed.columns, fixed.rows)
        size = (fixed.height, fixed.width)
        out = torch.empty(*size, 3), torch.empty(size), torch.empty(size), torch.empty(*size, channels)
        gaussian_raster.draw(
            record, _array(features), *bins[1:], fixed.columns, *fixed.limits, fixed.background,
            *(x.numpy() for x in out), threads(),
        )  # fmt: skip
        radii = torch.from_numpy(record[:, gaussian_projection.RADIUS_X : gaussian_projection.RADIUS_Y + 1].copy())
        ctx.save_for_backward(means, quaternions, scales, opacities, harmonics, features, pose, *out)
        ctx.fixed, ctx.projected, ctx.with_means2d = fixed, (record, tiles, *bins), means2d is not None
        ctx.mark_non_differentiable(radii)
        return *out, radii

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        means, quaternions, scales, opacities, harmonics, features, pose, *out = ctx.saved_tensors
        fixed, (record, tiles, offsets, starts, entries) = ctx.fixed, ctx.projected
        slots = np.zeros((len(entries), gaussian_projection.SUMS + features.shape[1]), np.float32)
        gaussian_raster.draw_backward(
            record, _array(features), tiles, offsets, starts, entries, fixed.columns, *fixed.limits,
            *(x.numpy() for x in out), *(_array(g) for g in gradients[:4]), slots, threads(),
        )  # fmt: skip
        inputs = means, quaternions, scales, opacities, harmonics
        grads = [torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (*inputs, features, means[:, :2])]
        to_pose = np.zeros((threads(), 3, 4), np.float64)
        gaussian_projection.project_backward(
            *(_array(x) for x in inputs), _array(pose), fixed.lens, fixed.antialiased, np.float32(reference.LOW_PASS),
            record, tiles, offsets, slots, *(x.numpy() for x in grads), to_pose, threads(),
        )  # fmt: skip
        *grads, grad_means2d = grads
        grad_pose = torch.zeros_like(pose)
        grad_pose[:3] = torch.from_numpy(to_pose.sum(0)).to(pose)
        return *grads, grad_pose, grad_means2d if ctx.with_means2d else None, None


def _array(x: Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.detach().numpy())
