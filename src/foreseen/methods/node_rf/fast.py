"""Node-RF, preset `fast`: fields or Gaussians at rest in the frames of moving parts, whose motion is a neural ODE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from foreseen.errors import UserError
from foreseen.methods.base import SceneInfo
from foreseen.methods.hulls import View
from foreseen.methods.moving_parts.findings import Findings
from foreseen.methods.moving_parts.gaussian_look import GaussianLook
from foreseen.methods.moving_parts.looks import Look
from foreseen.methods.moving_parts.method import MovingPartsMethod
from foreseen.methods.moving_parts.parts import PartsState
from foreseen.methods.node_rf.changing import ChangingLook
from foreseen.methods.node_rf.config import FastConfig
from foreseen.methods.node_rf.rigid import RigidLook

NO_PARTS = "no moving part was told apart"


class FastNodeRF(MovingPartsMethod):
    """See README.md, "fast"."""

    config: FastConfig

    def __init__(self, config: FastConfig, info: SceneInfo) -> None:
        super().__init__("node-rf", config, info)

    def without_parts(self) -> Look:
        """One field that changes with a latent number; a cloud without Gaussians, which has yet to find parts."""
        if self.config.look == "gaussians":
            return self._cloud(torch.zeros(0, 3))
        return ChangingLook(self.config, self.info)

    def without_parts_line(self) -> str:
        """That a latent number does what parts would; Gaussians have nothing to ride with."""
        if self.config.look == "gaussians":
            raise UserError(f"{NO_PARTS}, and Gaussians ride with parts: leave out --look gaussians.")
        return f"{NO_PARTS}: the whole scene changes with one latent number."

    def found(self, found: Findings, states: PartsState, views: Sequence[View]) -> Look:
        """Untrained voxels where something may be, or Gaussians on the hulls."""
        if self.config.look == "gaussians":
            look = self._cloud(found.halves())
            look.begin(found, states, views)
            return look
        may_be = torch.from_numpy(np.stack([*found.own, found.still]))
        return RigidLook.where(self.config, self.info, found.halves(), may_be)

    def like(self, halves: Tensor, tensors: Mapping[str, Tensor]) -> Look:
        """Of the checkpoint's shapes."""
        if self.config.look == "gaussians":
            return self._cloud(halves.clone())
        return RigidLook.like(self.config, self.info, tensors, len(halves))

    def _cloud(self, halves: Tensor) -> GaussianLook:
        return GaussianLook(self.config.cloud, self.config.empty_weight, self.info, halves)
