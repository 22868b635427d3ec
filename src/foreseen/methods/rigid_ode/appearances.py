"""Which appearance a config asks for: before parts are known, from what was found, and of a checkpoint's shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from foreseen.core.scene_info import SceneInfo
from foreseen.errors import UserError
from foreseen.methods.rigid_ode.appearance import Appearance
from foreseen.methods.rigid_ode.config import RigidODEConfig
from foreseen.methods.rigid_ode.gaussian_appearance import GaussianAppearance
from foreseen.methods.rigid_ode.latent_field_appearance import LatentFieldAppearance
from foreseen.methods.rigid_ode.parts import RigidPartsState
from foreseen.methods.rigid_ode.voxel_appearance import VoxelAppearance
from foreseen.reconstruction.reconstruct import Reconstruction
from foreseen.reconstruction.silhouettes import SilhouetteView


def appearance_without_parts(config: RigidODEConfig, info: SceneInfo) -> Appearance:
    """Where no part was told apart: one field that changes with a latent coordinate; or an empty cloud."""
    return _cloud(config, info, torch.zeros(0, 3)) if _uses_gaussians(config) else LatentFieldAppearance(config, info)


def message_without_parts(config: RigidODEConfig) -> str:
    """The line for the user where no part was told apart.

    Raises:
        UserError: Gaussians have no parts to be attached to.
    """
    if _uses_gaussians(config):
        raise UserError(
            "rigid-ode: no moving part was told apart by silhouettes, and its Gaussians are attached to parts: "
            "train gaussian-ode, or rigid-ode with --appearance voxels."
        )
    return "no moving part was told apart: the whole scene changes with one latent coordinate."


def appearance_from_reconstruction(
    config: RigidODEConfig,
    info: SceneInfo,
    found: Reconstruction,
    states: RigidPartsState,
    views: Sequence[SilhouetteView],
) -> Appearance:
    """Untrained voxels where matter may be, or Gaussians on the hulls; `states`: where the parts are in each view."""
    if _uses_gaussians(config):
        appearance = _cloud(config, info, found.half_extents())
        appearance.initialize(found, states, views)
        return appearance
    may_be = torch.from_numpy(np.stack([*found.part_occupancy, found.static_occupancy]))
    return VoxelAppearance.from_open_cells(config, info, found.half_extents(), may_be)


def appearance_from_tensors(
    config: RigidODEConfig, info: SceneInfo, half_extents: Tensor, tensors: Mapping[str, Tensor]
) -> Appearance:
    """Of K parts of half sizes `half_extents` `[K, 3]`, with the shapes that a state dict has under "look."."""
    return (
        _cloud(config, info, half_extents.clone())
        if _uses_gaussians(config)
        else VoxelAppearance.from_tensors(config, info, tensors, len(half_extents))
    )


def _uses_gaussians(config: RigidODEConfig) -> bool:
    return config.appearance == "gaussians"


def _cloud(config: RigidODEConfig, info: SceneInfo, half_extents: Tensor) -> GaussianAppearance:
    margin = config.reconstruction.parts.box_margin
    return GaussianAppearance(config.cloud, config.background_opacity_weight, info, half_extents, margin)
