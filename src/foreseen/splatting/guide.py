"""Hulls that lead Gaussians along, before pictures can: where nothing overlaps, a picture pulls at nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from foreseen.core.scene_info import SceneInfo
from foreseen.data.types import Frame
from foreseen.nn.checked import Checked, check_range
from foreseen.scenes.gaussians import Gaussians
from foreseen.splatting.cloud import C0
from foreseen.splatting.start import surfaces_by_time

MOMENTS = 64
"""Times at which hulls are kept, at most."""
POINTS = 512
"""Points that are kept of each."""
COLOR_LENGTH = 0.5
"""A difference of colours of 1 counts as this share of the scene's half size: what looks alike belongs together."""


class HullGuide(Checked):
    """Coloured points of the visual hull at some times of the window; none where silhouettes do not tell.

    Attributes:
        targets: `[MOMENTS, POINTS, 6]` place in half sizes of the scene and colour, see `COLOR_LENGTH`.
        times: `[MOMENTS]`, the training window being 0..1.
        known: how many moments there are.
    """

    targets: Tensor
    times: Tensor
    known: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("targets", torch.zeros(MOMENTS, POINTS, 6))
        self.register_buffer("times", torch.zeros(MOMENTS))
        self.register_buffer("known", torch.zeros((), dtype=torch.int64))

    def check(self) -> None:
        """No more moments than are kept."""
        check_range("hulls: known", self.known, 0, MOMENTS)

    def look(self, frames: Sequence[Frame], info: SceneInfo, extent: float) -> None:
        """Carves the hulls."""
        found = surfaces_by_time(frames, info)
        picked = np.unique(np.linspace(0, len(found) - 1, min(MOMENTS, len(found))).round().astype(int))
        self.known.fill_(len(picked))
        for row, i in enumerate(picked):
            time, points, colors = found[i]
            values = np.concatenate([points / extent, COLOR_LENGTH * colors], axis=1)
            drawn = torch.randint(len(values), (POINTS,))
            self.targets[row] = torch.from_numpy(values).to(self.targets)[drawn]
            self.times[row] = time

    def draw(self) -> int:
        """A moment, by torch's global generator."""
        return int(torch.randint(int(self.known), ()))

    def distance(self, moved: Gaussians, mobile: Tensor, moment: int, extent: float) -> Tensor:
        """Mean squared distance of the Gaussians `mobile` `[M]` int64 from the nearest points of a moment's hull, and
        of those from the nearest of these Gaussians (chamfer), `POINTS` of each drawn."""
        if not len(mobile):
            return moved.means.new_zeros(())
        drawn = mobile[torch.randint(len(mobile), (POINTS,), device=mobile.device)]
        colors = (0.5 + C0 * moved.harmonics[drawn, 0].detach()).clamp(0, 1)
        own = torch.cat([moved.means[drawn] / extent, COLOR_LENGTH * colors], dim=-1)
        square = (own[:, None] - self.targets[moment][None]).square().sum(-1)
        return square.amin(0).mean() + square.amin(1).mean()
