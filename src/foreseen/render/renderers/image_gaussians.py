"""`ImageGaussians`: sums of 2D Gaussians."""

from __future__ import annotations

import torch

from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.render.renderer import Renderer
from foreseen.render.result import ImageResult
from foreseen.scenes.image_gaussians import ImageGaussians


class ImageGaussiansRenderer(Renderer[ImageGaussians]):
    """Sums 2D Gaussians in the picture's plane, see `foreseen.render.image_splat`."""

    def render(
        self, scene: ImageGaussians, camera: Camera, *, memory_mb: float, device: torch.device | str
    ) -> ImageResult:
        from foreseen.render.image_splat import splat_image  # compiled kernels: imported when they are needed

        del memory_mb, device
        if scene.weights.ndim != 2 or scene.weights.shape[-1] not in (1, 3):
            raise UserError(
                f"a picture of 2D Gaussians needs weights [N, 1] or [N, 3], they are {list(scene.weights.shape)}; "
                "foreseen.render.image_splat.splat_image takes any number of pictures and channels."
            )
        rgb = splat_image(scene, camera.width, camera.height).cpu().expand(-1, -1, 3)
        return ImageResult(rgb, torch.zeros_like(rgb[..., 0]), torch.ones_like(rgb[..., 0]))
