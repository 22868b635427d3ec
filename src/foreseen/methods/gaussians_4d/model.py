"""4D Gaussians: a canonical cloud, displaced by feature planes over space and time (`foreseen.splatting.planes`)."""

from __future__ import annotations

from foreseen.core.scene_info import SceneInfo
from foreseen.splatting.config import PlanesConfig
from foreseen.splatting.method import GaussianMethod, GaussianTimeState
from foreseen.splatting.planes import PlaneGaussians


class FourDGaussians(PlaneGaussians[GaussianTimeState], GaussianMethod):
    """Times after the window read the planes' last row: the motion stops there."""

    def __init__(self, config: PlanesConfig, info: SceneInfo) -> None:
        super().__init__("4d-gaussians", config, info)


build = FourDGaussians
