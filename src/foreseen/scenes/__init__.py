"""What can be rendered: plain dataclasses. `foreseen.render.render` finds the renderer by the type."""

from typing import TypeAlias

from foreseen.scenes.composed_field import ComposedField
from foreseen.scenes.gaussians import Gaussians
from foreseen.scenes.image_gaussians import ImageGaussians
from foreseen.scenes.radiance_field import RadianceField
from foreseen.scenes.voxel_scene import VoxelScene

Scene: TypeAlias = object
"""Anything with a renderer: the types of this room, and those that `foreseen.render.register` was told of."""

__all__ = ["ComposedField", "Gaussians", "ImageGaussians", "RadianceField", "Scene", "VoxelScene"]
