"""Renderers: `render(scene, camera)` for pictures, `render_rays(scene, rays)` for training; `register` adds a scene
type."""

from foreseen.render.registry import (
    as_gaussians,
    check_device,
    extend_reach,
    preview,
    register,
    render,
    render_rays,
    renderer_for,
)
from foreseen.render.renderer import RayRenderer, Renderer
from foreseen.render.result import ImageResult, RayResult

__all__ = [
    "ImageResult",
    "RayRenderer",
    "RayResult",
    "Renderer",
    "as_gaussians",
    "check_device",
    "extend_reach",
    "preview",
    "register",
    "render",
    "render_rays",
    "renderer_for",
]
