"""A canonical cloud, and planes over space and time that say how it is displaced; see `gaussian_cloud/planes.py`."""

from __future__ import annotations

from foreseen.core.scene_info import SceneInfo
from foreseen.splatting.config import PlanesConfig
from foreseen.splatting.planes import PlaneGaussians


def build(config: PlanesConfig, info: SceneInfo) -> PlaneGaussians:
    """Times after the window read the planes' last row: the motion stops."""
    return PlaneGaussians("4d-gaussians", config, info)
