"""A canonical cloud, and planes over space and time that say how it is displaced; see `gaussian_cloud/planes.py`."""

from __future__ import annotations

from foreseen.methods.base import SceneInfo
from foreseen.methods.gaussian_cloud.config import PlanesConfig
from foreseen.methods.gaussian_cloud.planes import PlaneGaussians


def build(config: PlanesConfig, info: SceneInfo) -> PlaneGaussians:
    """Times after the window read the planes' last row: the motion stops."""
    return PlaneGaussians("4d-gaussians", config, info)
