"""What can be rendered: plain dataclasses. `foreseen.render.render` finds the renderer by the type."""

from foreseen.scenes.composed_field import ComposedField
from foreseen.scenes.gaussians import Gaussians
from foreseen.scenes.image_gaussians import ImageGaussians
from foreseen.scenes.radiance_field import RadianceField
from foreseen.scenes.voxel_scene import VoxelScene

Scene = RadianceField | ComposedField | VoxelScene | Gaussians | ImageGaussians
"""Every scene type; meshes join here."""

__all__ = ["ComposedField", "Gaussians", "ImageGaussians", "RadianceField", "Scene", "VoxelScene"]
