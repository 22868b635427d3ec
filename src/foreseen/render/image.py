"""Whole pictures: the renderer is found by the scene's type, and works under a stated memory bound."""

from __future__ import annotations

from functools import singledispatch

import torch

from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.render.result import ImageResult
from foreseen.render.volume import SAMPLES, render_rays
from foreseen.scenes import RadianceField, Scene

BYTES_PER_SAMPLE = 8192
"""Working memory of one sample where `RadianceField.options` states none: a network 8 layers deep and 256 wide,
its encodings, a 512-wide code and torch's temporaries, without gradients."""

QUADRATURE_BYTES = 256
"""What the quadrature needs for a sample: position, direction, ray index, weight and their temporaries."""


@singledispatch
def render(
    scene: Scene, camera: Camera, *, memory_mb: float = 256, device: torch.device | str = "cpu"
) -> ImageResult:
    """What `camera` sees of `scene`, without gradients; the same picture whatever the chunks.

    Args:
        scene: any type of `foreseen.scenes`.
        camera: pinhole camera of the wanted size.
        memory_mb: bound on the working memory, in units of 2^20 bytes; the picture itself comes on top.
        device: where the scene's tensors live. The picture comes back to the CPU.

    Raises:
        TypeError: there is no renderer for this type of scene.
        UserError: the bound does not hold a single ray.
    """
    del camera, memory_mb, device
    known = ", ".join(sorted(t.__name__ for t in render.registry if t is not object))
    raise TypeError(f"no renderer for a scene of type {type(scene).__name__}; there are some for {known}")


def rays_per_chunk(scene: RadianceField, memory_mb: float) -> int:
    """How many rays fit into `memory_mb`: the samples of the larger pass, each with the field's
    `options["bytes_per_sample"]` and the quadrature's own.

    Raises:
        UserError: not even one does.
    """
    samples = int(scene.options.get("samples", SAMPLES)) + int(scene.options.get("importance_samples", 0))
    field = int(scene.options.get("bytes_per_sample", BYTES_PER_SAMPLE))
    bytes_per_ray = samples * (field + QUADRATURE_BYTES)
    count = int(memory_mb * 2**20) // bytes_per_ray
    if count < 1:
        need = bytes_per_ray / 2**20
        raise UserError(f"memory_mb = {memory_mb:g} does not hold one ray; give at least {need:.1f}.")
    return count


@render.register
def _(
    scene: RadianceField, camera: Camera, *, memory_mb: float = 256, device: torch.device | str = "cpu"
) -> ImageResult:
    count = rays_per_chunk(scene, memory_mb)
    pixels = camera.pixel_centres().reshape(-1, 2)
    rgb = torch.empty(len(pixels), 3)
    depth, opacity = torch.empty(len(pixels)), torch.empty(len(pixels))
    with torch.inference_mode():
        for start in range(0, len(pixels), count):
            part = slice(start, start + count)
            result = render_rays(scene, camera.rays(pixels[part].to(device)))
            rgb[part], depth[part], opacity[part] = result.rgb, result.depth, result.opacity
    size = (camera.height, camera.width)
    return ImageResult(rgb.reshape(*size, 3), depth.reshape(size), opacity.reshape(size))
