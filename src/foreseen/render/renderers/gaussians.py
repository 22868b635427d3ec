"""`Gaussians`: splatting."""

from __future__ import annotations

import torch

from foreseen.geometry.cameras import Camera
from foreseen.render.renderer import Renderer
from foreseen.render.result import ImageResult
from foreseen.scenes.gaussians import Gaussians


class GaussiansRenderer(Renderer[Gaussians]):
    """Splats 3D Gaussians, see `foreseen.render.splat`. Their extra channels become channels of the picture."""

    def render(self, scene: Gaussians, camera: Camera, *, memory_mb: float, device: torch.device | str) -> ImageResult:
        from foreseen.render.splat import splat  # compiled kernels: imported when they are needed

        del memory_mb, device
        result = splat(scene, camera, with_means2d=False)
        channels = {name: value.cpu() for name, value in scene.named_channels(result.extras).items()}
        return ImageResult(result.rgb.cpu(), result.depth.cpu(), result.opacity.cpu(), channels)

    def check_device(self, device: torch.device | str) -> None:
        if torch.device(device).type == "cuda":
            from foreseen.render.splat_cuda import require_gsplat

            require_gsplat()

    def as_gaussians(self, scene: Gaussians) -> Gaussians:
        return scene
