"""What can be rendered: plain dataclasses. `foreseen.render.render` finds the renderer by the type."""

from foreseen.scenes.radiance_field import RadianceField

Scene = RadianceField
"""Every scene type; Gaussians and meshes join here."""

__all__ = ["RadianceField", "Scene"]
