"""Renderers: `render(scene, camera)` for pictures, `render_rays(scene, rays)` for training."""

from foreseen.render.dispatch import render, render_rays
from foreseen.render.result import ImageResult, RayResult

__all__ = ["ImageResult", "RayResult", "render", "render_rays"]
