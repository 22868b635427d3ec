"""Gaussian splatting of a static scene: the cloud is the same at all times."""

from __future__ import annotations

from dataclasses import replace

from foreseen.core.scene_info import SceneInfo
from foreseen.methods.gaussians.config import GaussiansConfig
from foreseen.scenes.gaussians import Gaussians
from foreseen.splatting.method import GaussianMethod


class StaticGaussians(GaussianMethod):
    """What moved while it was captured becomes a blur."""

    hull_times = "static"

    def __init__(self, config: GaussiansConfig, info: SceneInfo) -> None:
        super().__init__("gaussians", config.cloud, info)
        self.traits = replace(self.traits, default_steps=config.default_steps, static=True)

    def deformed(self, canonical: Gaussians, normalized_time: float) -> Gaussians:
        """The cloud itself."""
        del normalized_time
        return canonical


build = StaticGaussians
