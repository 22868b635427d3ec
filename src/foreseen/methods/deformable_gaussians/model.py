"""A canonical cloud and a network that says where each Gaussian is, how it is turned and how large, at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from foreseen.batches.images import ImageBatch
from foreseen.core.scene_info import SceneInfo
from foreseen.methods.deformable_gaussians.config import DeformableConfig
from foreseen.nn.encodings import PositionalEncoding
from foreseen.nn.mlp import MLP
from foreseen.scenes.gaussians import Gaussians
from foreseen.splatting.method import MovingGaussianMethod

TIME_WIDTH = 256
"""Units of the small network of the time."""
INITIAL_OUTPUT_SCALE = 0.01
"""Factor on the first weights of what displaces: at first next to nothing does."""
MAX_LOG_SCALE_CHANGE = 3.0
"""Scales change by factors of up to e^3."""


class Deformation(nn.Module):
    """Displacements of N Gaussians at a time: `[N, 3]` of the means in the scene's half size, `[N, 4]` of the
    quaternions, `[N, 3]` of the scales' logarithms (Yang et al. 2024, section 3.2, but for the logarithms)."""

    def __init__(self, config: DeformableConfig) -> None:
        super().__init__()
        c = config
        self.encode_position = PositionalEncoding(c.position_levels, 3)
        self.encode_time = PositionalEncoding(c.time_levels, 1)
        times = self.encode_time.outputs
        self.time = MLP(times, c.time_features, width=TIME_WIDTH, layers=1) if c.time_features else nn.Identity()
        inputs = self.encode_position.outputs + (c.time_features or times)
        self.network = MLP(inputs, 10, width=c.width, layers=c.layers, skip=c.skip)
        with torch.no_grad():
            self.network.output.weight.mul_(INITIAL_OUTPUT_SCALE)
            self.network.output.bias.zero_()

    def forward(self, position: Tensor, normalized_time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """At `position` `[N, 3]` in -1..1 and `normalized_time` (scalar; the training window is 0..1)."""
        features = self.time(self.encode_time(torch.pi * normalized_time[None, None])).expand(len(position), -1)
        found = self.network(torch.cat([self.encode_position(torch.pi * position), features], dim=-1))
        shift, rotation, growth = found.float().split([3, 4, 3], dim=-1)
        return shift, rotation, growth


class DeformableGaussians(MovingGaussianMethod):
    """Times after the window are the network's own extrapolation."""

    middle: Tensor

    def __init__(self, config: DeformableConfig, info: SceneInfo) -> None:
        super().__init__("deformable-gaussians", config.cloud, config.warm_up, info)
        self.config = config
        self.traits = replace(self.traits, default_steps=config.default_steps)
        self.deformation = Deformation(config)
        self.register_buffer("middle", torch.tensor(info.bounds).mean(0), persistent=False)

    def deformed(self, canonical: Gaussians, normalized_time: float) -> Gaussians:
        """Every Gaussian displaced as the network says, by where it rests."""
        if not self.is_deforming():
            return canonical
        # The network learns by what it displaces, and the cloud by where it ends up: no gradient through the place.
        place = (canonical.means.detach()[self.moving_indices()] - self.middle) / self.extent
        found = self.deformation(place, canonical.means.new_tensor(normalized_time))
        shift, rotation, growth = map(self.scatter_moving, found)
        return replace(
            canonical,
            means=canonical.means + self.extent * shift,
            quaternions=canonical.quaternions + rotation,
            scales=canonical.scales * (MAX_LOG_SCALE_CHANGE * (growth / MAX_LOG_SCALE_CHANGE).tanh()).exp(),
        )

    def losses(self, batch: ImageBatch, step: int) -> dict[str, Tensor]:
        """As of any cloud, at times that are shaken a little at first."""
        return super().losses(self._add_time_noise(batch), step)

    def _add_time_noise(self, batch: ImageBatch) -> ImageBatch:
        """Annealed smooth training (Yang et al. 2024, equation 7)."""
        strength = self.config.time_noise * (1 - self.progress / 0.5)
        if strength <= 0:
            return batch
        first, last = self.info.time_range
        apart = (last - first) / max(len(self.info.times[0]) - 1, 1)
        return replace(batch, times=batch.times + strength * apart * torch.randn_like(batch.times))

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """The cloud's, and the network."""
        c = self.config
        rate = c.lr * (c.lr_final / c.lr) ** progress
        network = {"name": "network", "params": list(self.deformation.parameters()), "lr": rate}
        return [*super().parameter_groups(progress), network]


build = DeformableGaussians
