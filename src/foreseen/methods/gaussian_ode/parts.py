"""Gaussian ODE, preset `fast`: rigid parts made of Gaussians."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from foreseen.errors import UserError
from foreseen.methods.base import SceneInfo
from foreseen.methods.gaussian_ode.config import PartsConfig
from foreseen.methods.hulls import View
from foreseen.methods.moving_parts.findings import Findings
from foreseen.methods.moving_parts.gaussian_look import GaussianLook
from foreseen.methods.moving_parts.method import MovingPartsMethod
from foreseen.methods.moving_parts.parts import PartsState


class PartsGaussianODE(MovingPartsMethod):
    """See README.md."""

    config: PartsConfig

    def __init__(self, config: PartsConfig, info: SceneInfo) -> None:
        super().__init__("gaussian-ode", config, info)

    def without_parts(self) -> GaussianLook:
        """A cloud that has yet to find its parts."""
        return self._cloud(torch.zeros(0, 3))

    def without_parts_line(self) -> str:
        """Nothing rides with anything."""
        raise UserError("gaussian-ode: no moving part was told apart by silhouettes: give --preset latent.")

    def found(self, found: Findings, states: PartsState, views: Sequence[View]) -> GaussianLook:
        """Gaussians on the hulls."""
        look = self._cloud(found.halves())
        look.begin(found, states, views)
        return look

    def like(self, halves: Tensor, tensors: Mapping[str, Tensor]) -> GaussianLook:
        """Of the checkpoint's shapes."""
        del tensors
        return self._cloud(halves.clone())

    def _cloud(self, halves: Tensor) -> GaussianLook:
        return GaussianLook(self.config.cloud, self.config.empty_weight, self.info, halves)
