"""What can be rendered: plain dataclasses. `foreseen.render.render` finds the renderer by the type."""

from foreseen.scenes.composed_field import ComposedField
from foreseen.scenes.radiance_field import RadianceField

Scene = RadianceField | ComposedField
"""Every scene type; Gaussians and meshes join here."""

__all__ = ["ComposedField", "RadianceField", "Scene"]
