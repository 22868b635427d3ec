"""Renderers: `render(scene, camera)` for pictures, `render_rays(scene, rays)` for training."""

from foreseen.render.image import render
from foreseen.render.result import ImageResult, RayResult
from foreseen.render.volume import render_rays

__all__ = ["ImageResult", "RayResult", "render", "render_rays"]
