"""Gaussian splatting of a scene at rest: the cloud is the same at all times."""

from __future__ import annotations

from dataclasses import replace

from foreseen.core.scene_info import SceneInfo
from foreseen.methods.gaussians.config import GaussiansConfig
from foreseen.scenes.gaussians import Gaussians
from foreseen.splatting.method import GaussianMethod


class StillGaussians(GaussianMethod):
    """What moved while it was filmed is a blur."""

    starts = "still"

    def __init__(self, config: GaussiansConfig, info: SceneInfo) -> None:
        super().__init__("gaussians", config.cloud, info)
        self.traits = replace(self.traits, default_steps=config.default_steps, static=True)

    def moved(self, rest: Gaussians, since: float) -> Gaussians:
        """The cloud itself."""
        del since
        return rest


build = StillGaussians
