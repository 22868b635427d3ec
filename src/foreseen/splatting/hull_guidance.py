"""Hulls that lead Gaussians along, before pictures can: where nothing overlaps, a picture pulls at nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from foreseen.core.scene_info import SceneInfo
from foreseen.data.types import Frame
from foreseen.nn.checked_module import CheckedModule, check_range
from foreseen.reconstruction.config import HullConfig
from foreseen.scenes.gaussians import Gaussians
from foreseen.splatting.cloud import C0
from foreseen.splatting.initialization import surfaces_by_time

MAX_HULLS = 64
"""Times at which hulls are kept, at most."""
POINTS_PER_HULL = 512
"""Points that are kept of each."""
COLOR_DISTANCE_SCALE = 0.5
"""A difference of colours of 1 counts as this share of the scene's half size: what looks alike belongs together."""


class HullGuidance(CheckedModule):
    """Coloured points of the visual hull at some times of the window; none where silhouettes do not tell.

    Attributes:
        targets: `[MAX_HULLS, POINTS_PER_HULL, 6]` place in half sizes of the scene and colour, see
        `COLOR_DISTANCE_SCALE`. times: `[MAX_HULLS]`, the training window being 0..1.
        known: how many moments there are.
    """

    targets: Tensor
    times: Tensor
    num_times: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("targets", torch.zeros(MAX_HULLS, POINTS_PER_HULL, 6))
        self.register_buffer("times", torch.zeros(MAX_HULLS))
        self.register_buffer("num_times", torch.zeros((), dtype=torch.int64))

    def check(self) -> None:
        """No more moments than are kept."""
        check_range("hulls: known", self.num_times, 0, MAX_HULLS)

    def carve_hulls(self, frames: Sequence[Frame], info: SceneInfo, extent: float, config: HullConfig) -> None:
        """Carves the hulls."""
        found = surfaces_by_time(frames, info, config)
        picked = np.unique(np.linspace(0, len(found) - 1, min(MAX_HULLS, len(found))).round().astype(int))
        self.num_times.fill_(len(picked))
        for row, i in enumerate(picked):
            time, points, colors = found[i]
            values = np.concatenate([points / extent, COLOR_DISTANCE_SCALE * colors], axis=1)
            sampled = torch.randint(len(values), (POINTS_PER_HULL,))
            self.targets[row] = torch.from_numpy(values).to(self.targets)[sampled]
            self.times[row] = time

    def sample_time(self) -> int:
        """A moment, by torch's global generator."""
        return int(torch.randint(int(self.num_times), ()))

    def distance(self, deformed: Gaussians, moving_indices: Tensor, moment: int, extent: float) -> Tensor:
        """Mean squared distance of the Gaussians `moving_indices` `[M]` int64 from the nearest points of a moment's
        hull, and of those from the nearest of these Gaussians (chamfer), `POINTS_PER_HULL` of each drawn."""
        if not len(moving_indices):
            return deformed.means.new_zeros(())
        sampled = moving_indices[torch.randint(len(moving_indices), (POINTS_PER_HULL,), device=moving_indices.device)]
        colors = (0.5 + C0 * deformed.harmonics[sampled, 0].detach()).clamp(0, 1)
        own = torch.cat([deformed.means[sampled] / extent, COLOR_DISTANCE_SCALE * colors], dim=-1)
        square = (own[:, None] - self.targets[moment][None]).square().sum(-1)
        return square.amin(0).mean() + square.amin(1).mean()
