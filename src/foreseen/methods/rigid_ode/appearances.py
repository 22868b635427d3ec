"""Which appearance a config asks for: before parts are known, from what was found, and of a checkpoint's shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from foreseen.core.scene_info import SceneInfo
from foreseen.errors import UserError
from foreseen.methods.rigid_ode.changing_look import ChangingLook
from foreseen.methods.rigid_ode.config import RigidODEConfig
from foreseen.methods.rigid_ode.gaussian_look import GaussianLook
from foreseen.methods.rigid_ode.looks import Look
from foreseen.methods.rigid_ode.parts import PartsState
from foreseen.methods.rigid_ode.voxel_look import RigidLook
from foreseen.reconstruction.findings import Findings
from foreseen.reconstruction.hulls import View


def without_parts(config: RigidODEConfig, info: SceneInfo) -> Look:
    """Where no part was told apart: one field that changes with a latent coordinate; or an empty cloud."""
    return _cloud(config, info, torch.zeros(0, 3)) if _splats(config) else ChangingLook(config, info)


def nothing_moves(config: RigidODEConfig) -> str:
    """The line for the user where no part was told apart.

    Raises:
        UserError: Gaussians have no parts to be attached to.
    """
    if _splats(config):
        raise UserError(
            "rigid-ode: no moving part was told apart by silhouettes, and its Gaussians are attached to parts: "
            "train gaussian-ode, or rigid-ode with --appearance voxels."
        )
    return "no moving part was told apart: the whole scene changes with one latent coordinate."


def from_findings(
    config: RigidODEConfig, info: SceneInfo, found: Findings, states: PartsState, views: Sequence[View]
) -> Look:
    """Untrained voxels where matter may be, or Gaussians on the hulls; `states`: where the parts are in each view."""
    if _splats(config):
        look = _cloud(config, info, found.halves())
        look.begin(found, states, views)
        return look
    may_be = torch.from_numpy(np.stack([*found.own, found.still]))
    return RigidLook.where(config, info, found.halves(), may_be)


def of_shapes(config: RigidODEConfig, info: SceneInfo, halves: Tensor, tensors: Mapping[str, Tensor]) -> Look:
    """Of K parts of half sizes `halves` `[K, 3]`, with the shapes that a state dict has under "look."."""
    return (
        _cloud(config, info, halves.clone()) if _splats(config) else RigidLook.like(config, info, tensors, len(halves))
    )


def _splats(config: RigidODEConfig) -> bool:
    return config.appearance == "gaussians"


def _cloud(config: RigidODEConfig, info: SceneInfo, halves: Tensor) -> GaussianLook:
    return GaussianLook(config.cloud, config.empty_weight, info, halves)
