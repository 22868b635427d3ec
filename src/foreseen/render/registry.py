"""The renderer of each scene type. `render(scene, camera)` and `render_rays(scene, rays)` find it by the type.

A new scene type, also one of another package, is registered once; nothing else has to change:

    register(MyScene, MyRenderer())
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from foreseen.geometry.cameras import Camera
from foreseen.geometry.rays import Rays
from foreseen.render.renderer import Renderer, SceneType
from foreseen.render.renderers.composed_field import ComposedFieldRenderer
from foreseen.render.renderers.gaussians import GaussiansRenderer
from foreseen.render.renderers.image_gaussians import ImageGaussiansRenderer
from foreseen.render.renderers.radiance_field import RadianceFieldRenderer
from foreseen.render.renderers.voxel_scene import VoxelSceneRenderer
from foreseen.render.result import ImageResult, RayResult
from foreseen.scenes import ComposedField, Gaussians, ImageGaussians, RadianceField, Scene, VoxelScene

_RENDERERS: dict[type, Renderer[Any]] = {
    ComposedField: ComposedFieldRenderer(),
    Gaussians: GaussiansRenderer(),
    ImageGaussians: ImageGaussiansRenderer(),
    RadianceField: RadianceFieldRenderer(),
    VoxelScene: VoxelSceneRenderer(),
}


def register(scene_type: type[SceneType], renderer: Renderer[SceneType]) -> None:
    """Makes `renderer` render scenes of a type and of its subclasses. A second registration replaces the first."""
    _RENDERERS[scene_type] = renderer


def scene_types() -> tuple[type, ...]:
    """The types that have a renderer of their own, by name."""
    return tuple(sorted(_RENDERERS, key=lambda t: t.__name__))


def renderer_for(scene_type: type) -> Renderer[Any]:
    """The renderer that is registered for a type, or for its nearest base class.

    Raises:
        TypeError: there is none.
    """
    renderer = _find(scene_type)
    if renderer is None:
        names = ", ".join(t.__name__ for t in scene_types())
        raise TypeError(
            f"no renderer for a scene of type {scene_type.__name__}; there is one for {names}. "
            "Add one with foreseen.render.register."
        )
    return renderer


def _find(scene_type: type) -> Renderer[Any] | None:
    return next((_RENDERERS[base] for base in scene_type.__mro__ if base in _RENDERERS), None)


def render(scene: Scene, camera: Camera, *, memory_mb: float = 256, device: torch.device | str = "cpu") -> ImageResult:
    """What `camera` sees of `scene`, differentiable in the scene's tensors. How the picture is cut into chunks does not
    change it.

    A caller who needs no gradients writes `with torch.no_grad():` around the call. With gradients, the graph of all
    rays is kept until the backward pass, beyond `memory_mb`.

    Args:
        scene: of any type with a registered renderer.
        camera: pinhole camera of the wanted size. 2D Gaussians use nothing but its size; they have no depth (0) and no
            background (opacity 1).
        memory_mb: bound on the working memory of rays, in units of 2^20 bytes; the picture itself comes on top.
            Gaussians need what they need: about 150 bytes each, and 4 for every tile that one reaches.
        device: where the scene's tensors are. The picture is returned on the CPU.

    Raises:
        TypeError: there is no renderer for this type of scene.
        UserError: the bound does not hold a single ray; 2D Gaussians have neither one nor three channels.
    """
    return renderer_for(type(scene)).render(scene, camera, memory_mb=memory_mb, device=device)


def render_rays(scene: Scene, rays: Rays, *, stratified: bool = False, keep_samples: bool = False) -> RayResult:
    """What `rays` `[N]` see of `scene`, differentiable in the scene's tensors.

    Args:
        scene: of a type that is rendered by rays: fields and voxels.
        rays: in the space in which the scene's near and far are given.
        stratified: draw sample positions from torch's global generator (training) instead of evenly (evaluation).
        keep_samples: also return the weight and the distance of each sample; `RadianceField` only.

    Raises:
        TypeError: there is no renderer for this type of scene, or it renders whole pictures only.
    """
    return renderer_for(type(scene)).render_rays(scene, rays, stratified=stratified, keep_samples=keep_samples)


def preview(scene: SceneType, coarsening: int) -> SceneType:
    """A scene that renders faster and less exactly, see `Renderer.preview`."""
    renderer = _find(type(scene))
    return scene if renderer is None else renderer.preview(scene, coarsening)


def extend_reach(scene: SceneType, camera: Camera, bounds: Tensor) -> SceneType:
    """A scene whose rays reach all of `bounds` `[2, 3]` from `camera`, see `Renderer.extend_reach`."""
    renderer = _find(type(scene))
    return scene if renderer is None else renderer.extend_reach(scene, camera, bounds)


def as_gaussians(scene: Scene) -> Gaussians | None:
    """The scene as 3D Gaussians; None where it is something else."""
    renderer = _find(type(scene))
    return None if renderer is None else renderer.as_gaussians(scene)


def check_device(scene_type: type, device: torch.device | str) -> None:
    """Whether scenes of a type can be rendered on a device.

    Raises:
        UserError: a package is missing; the message names it.
    """
    renderer = _find(scene_type)
    if renderer is not None:
        renderer.check_device(device)
