"""Gaussian splatting of a scene at rest: the cloud is the same at all times."""

from __future__ import annotations

from foreseen.methods.base import SceneInfo
from foreseen.methods.gaussian_cloud.method import GaussianMethod
from foreseen.methods.gaussians.config import GaussiansConfig
from foreseen.scenes.gaussians import Gaussians


class StillGaussians(GaussianMethod):
    """What moved while it was filmed is a blur."""

    starts, still = "still", True

    def __init__(self, config: GaussiansConfig, info: SceneInfo) -> None:
        super().__init__("gaussians", config.cloud, info)
        self.default_steps = config.default_steps

    def moved(self, rest: Gaussians, since: float) -> Gaussians:
        """The cloud itself."""
        del since
        return rest


build = StillGaussians
