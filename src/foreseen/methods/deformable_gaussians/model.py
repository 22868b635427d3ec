"""A canonical cloud, and a network that displaces, rotates and scales each Gaussian at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from foreseen.batches.images import ImageBatch
from foreseen.core.scene_info import SceneInfo
from foreseen.methods.deformable_gaussians.config import DeformableGaussiansConfig
from foreseen.nn.encodings import PositionalEncoding
from foreseen.nn.mlp import MLP
from foreseen.scenes.gaussians import Gaussians
from foreseen.splatting.method import DeformingCloudMethod, GaussianMethod, GaussianTimeState


class GaussianDeformation(nn.Module):
    """Changes of N Gaussians at a time: `[N, 3]` of the means in the scene's half size, `[N, 4]` of the quaternions,
    `[N, 3]` of the scales' logarithms (Yang et al. 2024, section 3.2; they add to the scales themselves)."""

    def __init__(self, config: DeformableGaussiansConfig) -> None:
        super().__init__()
        c = config
        self.encode_position = PositionalEncoding(c.position_levels, 3)
        self.encode_time = PositionalEncoding(c.time_levels, 1)
        times = self.encode_time.outputs
        self.time = MLP(times, c.time_features, width=c.time_width, layers=1) if c.time_features else nn.Identity()
        inputs = self.encode_position.outputs + (c.time_features or times)
        self.network = MLP(inputs, 10, width=c.width, layers=c.layers, skip=c.skip)
        with torch.no_grad():
            self.network.output.weight.mul_(c.initial_output_scale)
            self.network.output.bias.zero_()

    def forward(self, position: Tensor, normalized_time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """At `position` `[N, 3]` in -1..1 and `normalized_time` (scalar; the training window is 0..1)."""
        features = self.time(self.encode_time(torch.pi * normalized_time[None, None])).expand(len(position), -1)
        changes = self.network(torch.cat([self.encode_position(torch.pi * position), features], dim=-1))
        shift, rotation, growth = changes.float().split([3, 4, 3], dim=-1)
        return shift, rotation, growth


class DeformableGaussians(DeformingCloudMethod[GaussianTimeState], GaussianMethod):
    """After the window the network extrapolates in time."""

    middle: Tensor

    def __init__(self, config: DeformableGaussiansConfig, info: SceneInfo) -> None:
        super().__init__("deformable-gaussians", config.cloud, config.warm_up, info)
        self.config = config
        self.traits = replace(self.traits, default_steps=config.default_steps)
        self.deformation = GaussianDeformation(config)
        self.register_buffer("middle", torch.tensor(info.bounds).mean(0), persistent=False)

    def deformed(self, canonical: Gaussians, normalized_time: float) -> Gaussians:
        """The cloud with the changes that the network gives at its canonical means."""
        if not self.is_deforming():
            return canonical
        # No gradient through the network's input: the canonical means learn from the displaced means alone.
        position = (canonical.means.detach()[self.moving_indices()] - self.middle) / self.extent
        changes = self.deformation(position, canonical.means.new_tensor(normalized_time))
        shift, rotation, growth = map(self.scatter_moving, changes)
        largest = self.config.max_log_scale_change
        return replace(
            canonical,
            means=canonical.means + self.extent * shift,
            quaternions=canonical.quaternions + rotation,
            scales=canonical.scales * (largest * (growth / largest).tanh()).exp(),
        )

    def losses(self, batch: ImageBatch, step: int) -> dict[str, Tensor]:
        """Losses of the cloud, at times with noise in the first part of the training."""
        return super().losses(self._add_time_noise(batch), step)

    def _add_time_noise(self, batch: ImageBatch) -> ImageBatch:
        """Annealed smooth training (Yang et al. 2024, equation 7)."""
        strength = self.config.time_noise * (1 - self.progress / self.config.time_noise_share)
        if strength <= 0:
            return batch
        first, last = self.info.time_range
        interval = (last - first) / max(len(self.info.times[0]) - 1, 1)
        return replace(batch, times=batch.times + strength * interval * torch.randn_like(batch.times))

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Groups of the cloud, and the network."""
        c = self.config
        rate = c.lr * (c.lr_final / c.lr) ** progress
        network = {"name": "network", "params": list(self.deformation.parameters()), "lr": rate}
        return [*super().parameter_groups(progress), network]


build = DeformableGaussians
