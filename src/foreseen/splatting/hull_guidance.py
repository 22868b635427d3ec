"""Visual hulls that attract Gaussians early in training. Where a Gaussian and its target do not overlap in the picture,
the picture gives no gradient; the hull does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from foreseen.core.scene_info import SceneInfo
from foreseen.data.types import Frame
from foreseen.nn.checked_module import CheckedModule, check_range
from foreseen.scenes.gaussians import Gaussians
from foreseen.splatting.cloud import C0
from foreseen.splatting.config import InitializationConfig, WarmUpConfig
from foreseen.splatting.initialization import surfaces_by_time


class HullGuidance(CheckedModule):
    """Coloured points of the visual hull at some times of the window; none where there are no silhouettes.

    Attributes:
        targets: `[guidance_times, guidance_points, 6]`: position in half sizes of the scene, and colour times
            `guidance_color_scale`.
        times: `[guidance_times]`; the training window is 0..1.
        num_times: int64, number of times that have a hull.
    """

    targets: Tensor
    times: Tensor
    num_times: Tensor

    def __init__(self, config: WarmUpConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("targets", torch.zeros(config.guidance_times, config.guidance_points, 6))
        self.register_buffer("times", torch.zeros(config.guidance_times))
        self.register_buffer("num_times", torch.zeros((), dtype=torch.int64))

    def check(self) -> None:
        """The number of times is within what is allocated."""
        check_range("hulls: num_times", self.num_times, 0, self.config.guidance_times)

    def carve_hulls(
        self, frames: Sequence[Frame], info: SceneInfo, extent: float, initialization: InitializationConfig
    ) -> None:
        """Carves the hulls, and keeps random points of them; `extent`: half the longest side of the scene."""
        c = self.config
        surfaces = surfaces_by_time(frames, info, initialization)
        picked = np.linspace(0, len(surfaces) - 1, min(c.guidance_times, len(surfaces)))
        picked = np.unique(picked.round().astype(int))
        self.num_times.fill_(len(picked))
        for row, i in enumerate(picked):
            time, points, colors = surfaces[i]
            values = np.concatenate([points / extent, c.guidance_color_scale * colors], axis=1)
            sampled = torch.randint(len(values), (c.guidance_points,))
            self.targets[row] = torch.from_numpy(values).to(self.targets)[sampled]
            self.times[row] = time

    def sample_time(self) -> int:
        """Index of a random time that has a hull, by torch's global generator."""
        return int(torch.randint(int(self.num_times), ()))

    def distance(self, deformed: Gaussians, moving_indices: Tensor, time_index: int, extent: float) -> Tensor:
        """Chamfer distance, in half sizes of the scene: mean squared distance of random Gaussians of `moving_indices`
        `[M]` int64 from the nearest points of the hull at `time_index`, and of these points from the nearest Gaussians.
        """
        c = self.config
        if not len(moving_indices):
            return deformed.means.new_zeros(())
        drawn = torch.randint(len(moving_indices), (c.guidance_points,), device=moving_indices.device)
        sampled = moving_indices[drawn]
        colors = (0.5 + C0 * deformed.harmonics[sampled, 0].detach()).clamp(0, 1)
        points = torch.cat([deformed.means[sampled] / extent, c.guidance_color_scale * colors], dim=-1)
        square = (points[:, None] - self.targets[time_index][None]).square().sum(-1)
        return square.amin(0).mean() + square.amin(1).mean()
