"""The renderer is found by the scene's type; whole pictures are rendered under a stated memory bound."""

from __future__ import annotations

import math
from functools import singledispatch

import torch

from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.geometry.rays import Rays
from foreseen.render.result import ImageResult, RayResult
from foreseen.render.volume import SAMPLES, render_dense
from foreseen.scenes import ComposedField, Gaussians, ImageGaussians, RadianceField, Scene, VoxelScene

BYTES_PER_SAMPLE = 8192
"""Working memory of a sample where `RadianceField.options` states none: a network 8 layers deep and 256 wide,
its encodings, a 512-wide code and torch's temporaries, without gradients."""

QUADRATURE_BYTES = 256
"""What the quadrature needs for a sample: position, direction, ray index, weight and their temporaries."""

PACKED_BYTES_PER_SAMPLE = 2048
"""The same for a composed field: features of planes and a small network, counted for every step of a ray: in
a full scene none is skipped."""

VOXEL_BYTES_PER_RAY = 128
"""What comes and goes for a ray of a voxel scene: the kernel keeps no samples."""


@singledispatch
def render_rays(scene: Scene, rays: Rays, *, stratified: bool = False) -> RayResult:
    """What `rays` `[N]` see of `scene`, differentiably.

    Args:
        scene: a radiance field (dense quadrature) or a composed field (packed samples).
        rays: in the space that the scene's near and far are given in.
        stratified: draw samples from torch's global generator (training) instead of evenly (evaluation).

    Raises:
        TypeError: there is no renderer for this type of scene.
    """
    del rays, stratified
    raise _unknown(scene)


render_rays.register(RadianceField, render_dense)


@render_rays.register
def _(scene: ComposedField, rays: Rays, *, stratified: bool = False) -> RayResult:
    from foreseen.render.marching import march_rays  # compiled kernels: imported when they are needed

    return march_rays(scene, rays, stratified=stratified)


@render_rays.register
def _(scene: VoxelScene, rays: Rays, *, stratified: bool = False) -> RayResult:
    from foreseen.render.voxel_rays import trace_rays

    return trace_rays(scene, rays, stratified=stratified)


@singledispatch
def bytes_per_ray(scene: Scene) -> int:
    """Working memory of one ray without gradients.

    Raises:
        TypeError: there is no renderer for this type of scene.
    """
    raise _unknown(scene)


@bytes_per_ray.register
def _(scene: RadianceField) -> int:
    samples = int(scene.options.get("samples", SAMPLES)) + int(scene.options.get("importance_samples", 0))
    return samples * (int(scene.options.get("bytes_per_sample", BYTES_PER_SAMPLE)) + QUADRATURE_BYTES)


@bytes_per_ray.register
def _(scene: ComposedField) -> int:
    # No ray has more samples than the boxes' diagonals hold.
    maximum = (2 * scene.half_extents.norm(dim=-1) / (scene.step * scene.ray_strides)).clamp(
        max=(scene.far - scene.near) / scene.step
    )
    return (math.ceil(float(maximum.sum())) + 1) * PACKED_BYTES_PER_SAMPLE


@bytes_per_ray.register
def _(scene: VoxelScene) -> int:
    on_cpu = scene.voxels.values.device.type == "cpu"
    return VOXEL_BYTES_PER_RAY if on_cpu else bytes_per_ray(scene.composed())


def rays_per_chunk(scene: Scene, memory_mb: float) -> int:
    """How many rays fit into `memory_mb`. Raises `UserError` where not even one does."""
    need = bytes_per_ray(scene)
    count = int(memory_mb * 2**20) // need
    if count < 1:
        raise UserError(f"memory_mb = {memory_mb:g} does not hold one ray; give at least {need / 2**20:.2f}.")
    return count


@singledispatch
def _picture(scene: Scene, camera: Camera, memory_mb: float, device: torch.device | str) -> ImageResult:
    """Ray by ray, in chunks: every scene that `render_rays` knows."""
    count = rays_per_chunk(scene, memory_mb)
    pixels = camera.pixel_centres().reshape(-1, 2)
    rgb = torch.empty(len(pixels), 3)
    depth, opacity = torch.empty(len(pixels)), torch.empty(len(pixels))
    for start in range(0, len(pixels), count):
        part = slice(start, start + count)
        result = render_rays(scene, camera.rays(pixels[part].to(device)))
        rgb[part], depth[part], opacity[part] = result.rgb, result.depth, result.opacity
    size = (camera.height, camera.width)
    return ImageResult(rgb.reshape(*size, 3), depth.reshape(size), opacity.reshape(size))


@_picture.register
def _(scene: Gaussians, camera: Camera, memory_mb: float, device: torch.device | str) -> ImageResult:
    from foreseen.render.splat import splat

    del memory_mb, device
    result = splat(scene, camera)
    return ImageResult(result.rgb.cpu(), result.depth.cpu(), result.opacity.cpu())


@_picture.register
def _(scene: ImageGaussians, camera: Camera, memory_mb: float, device: torch.device | str) -> ImageResult:
    from foreseen.render.image_splat import splat_image

    del memory_mb, device
    if scene.weights.ndim != 2 or scene.weights.shape[-1] not in (1, 3):
        raise UserError(
            f"a picture of 2D Gaussians needs weights [N, 1] or [N, 3], they are {list(scene.weights.shape)}; "
            "foreseen.render.image_splat.splat_image takes any number of pictures and channels."
        )
    rgb = splat_image(scene, camera.width, camera.height).cpu().expand(-1, -1, 3)
    return ImageResult(rgb, torch.zeros_like(rgb[..., 0]), torch.ones_like(rgb[..., 0]))


def render(scene: Scene, camera: Camera, *, memory_mb: float = 256, device: torch.device | str = "cpu") -> ImageResult:
    """What `camera` sees of `scene`, without gradients; chunks do not show in it.

    Args:
        scene: any type of `foreseen.scenes`.
        camera: pinhole camera of the wanted size. 2D Gaussians ask it for no more than that; they have no depth (0) and
            no background (opacity 1).
        memory_mb: bound on the working memory of rays, in units of 2^20 bytes; the picture itself comes on top.
            Gaussians need what they need: about 150 bytes each, and 4 for every tile that one reaches.
        device: where the scene's tensors live. The picture comes back to the CPU.

    Raises:
        TypeError: there is no renderer for this type of scene.
        UserError: the bound does not hold a single ray; 2D Gaussians are no picture in grey or colour.
    """
    with torch.inference_mode():
        return _picture(scene, camera, memory_mb, device)


def check_device(scene: type, device: torch.device | str) -> None:
    """Whether scenes of a type can be rendered on a device.

    Raises:
        UserError: a package is missing; the message names it.
    """
    if torch.device(device).type == "cuda" and issubclass(scene, Gaussians):
        from foreseen.render.splat_cuda import require_gsplat

        require_gsplat()


def _unknown(scene: object) -> TypeError:
    known = ", ".join(sorted({t.__name__ for t in (*render_rays.registry, *_picture.registry) if t is not object}))
    if isinstance(scene, Gaussians | ImageGaussians):
        return TypeError(
            "Gaussians are seen as pictures, not by rays: foreseen.render.splat, foreseen.render.image_splat"
        )
    return TypeError(f"no renderer for a scene of type {type(scene).__name__}; there is one for {known}")
