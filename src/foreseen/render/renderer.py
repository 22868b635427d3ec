"""What a scene type needs in order to be rendered: one `Renderer` for each type, registered in `registry.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, NoReturn, TypeVar

import torch
from torch import Tensor

from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.geometry.rays import Rays
from foreseen.render.result import ImageResult, RayResult
from foreseen.scenes.gaussians import Gaussians

SceneType = TypeVar("SceneType")


class Renderer(ABC, Generic[SceneType]):
    """Renders scenes of one type, and knows what viewer and export ask about them.

    Only `render` must be written. Kernels that are slow to import are imported inside the methods.
    """

    @abstractmethod
    def render(self, scene: SceneType, camera: Camera, *, memory_mb: float, device: torch.device | str) -> ImageResult:
        """The picture that `camera` sees, differentiable in the scene's tensors; arguments as in
        `foreseen.render.render`."""

    def render_rays(
        self, scene: SceneType, rays: Rays, *, stratified: bool = False, keep_samples: bool = False
    ) -> RayResult:
        """What `rays` `[N]` see; arguments as in `foreseen.render.render_rays`.

        Raises:
            TypeError: scenes of this type are rendered as whole pictures only.
        """
        del rays, stratified, keep_samples
        _refuse_rays(scene)

    def bytes_per_ray(self, scene: SceneType) -> int:
        """Working memory [bytes] of one ray without gradients.

        Raises:
            TypeError: scenes of this type are rendered as whole pictures only.
        """
        _refuse_rays(scene)

    def preview(self, scene: SceneType, coarsening: int) -> SceneType:
        """A scene that renders about `coarsening` times faster and less exactly; the scene itself where nothing can be
        saved."""
        del coarsening
        return scene

    def extend_reach(self, scene: SceneType, camera: Camera, bounds: Tensor) -> SceneType:
        """The scene with near and far moved so that the rays of `camera` cross all of `bounds` `[2, 3]` (lowest and
        highest corner); the scene itself where near and far do not matter, or cannot be moved without harm."""
        del camera, bounds
        return scene

    def check_device(self, device: torch.device | str) -> None:
        """Whether scenes of this type can be rendered on a device.

        Raises:
            UserError: a package is missing; the message names it.
        """
        del device

    def as_gaussians(self, scene: SceneType) -> Gaussians | None:
        """The scene as 3D Gaussians, which can be exported to files and drawn by a browser; None where it is something
        else."""
        del scene
        return None


class RayRenderer(Renderer[SceneType]):
    """A renderer that sees along rays. Whole pictures are rendered in chunks of rays."""

    @abstractmethod
    def render_rays(
        self, scene: SceneType, rays: Rays, *, stratified: bool = False, keep_samples: bool = False
    ) -> RayResult:
        """What `rays` `[N]` see; arguments as in `foreseen.render.render_rays`."""

    @abstractmethod
    def bytes_per_ray(self, scene: SceneType) -> int:
        """Working memory [bytes] of one ray without gradients."""

    def rays_per_chunk(self, scene: SceneType, memory_mb: float) -> int:
        """How many rays fit into `memory_mb`. Raises `UserError` where not even one does."""
        need = self.bytes_per_ray(scene)
        count = int(memory_mb * 2**20) // need
        if count < 1:
            raise UserError(f"memory_mb = {memory_mb:g} does not hold one ray; give at least {need / 2**20:.2f}.")
        return count

    def render(self, scene: SceneType, camera: Camera, *, memory_mb: float, device: torch.device | str) -> ImageResult:
        """The picture, rendered chunk after chunk. Without gradients only the pixels of a chunk are kept."""
        count = self.rays_per_chunk(scene, memory_mb)
        pixels = camera.pixel_centres().reshape(-1, 2)
        chunks = [
            _on_cpu(self.render_rays(scene, camera.rays(pixels[start : start + count].to(device))))
            for start in range(0, len(pixels), count)
        ]
        size = (camera.height, camera.width)
        joined = ImageResult.concatenate(chunks)
        return ImageResult(
            joined.rgb.reshape(*size, 3),
            joined.depth.reshape(size),
            joined.opacity.reshape(size),
            {name: value.reshape(*size, -1) for name, value in joined.channels.items()},
        )


def _on_cpu(result: RayResult) -> ImageResult:
    """What is kept of a chunk of rays, `[n, ...]`."""
    rgb, depth, opacity = (x.to("cpu", torch.float32) for x in (result.rgb, result.depth, result.opacity))
    return ImageResult(rgb, depth, opacity, {name: value.to("cpu") for name, value in result.channels.items()})


def _refuse_rays(scene: object) -> NoReturn:
    raise TypeError(
        f"{type(scene).__name__} are rendered as whole pictures, not by rays: use foreseen.render.render(scene, camera)"
    )
