"""Builds the appearance that a config names: without parts, from a reconstruction, or of a checkpoint's shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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


def appearance_without_parts(config: RigidODEConfig, info: SceneInfo) -> Appearance[Any]:
    """For a scene without known parts: a field that depends on a latent coordinate, or an empty cloud."""
    if _uses_gaussians(config):
        return GaussianAppearance(config, info, torch.zeros(0, 3))
    return LatentFieldAppearance(config, info)


def message_without_parts(config: RigidODEConfig) -> str:
    """The line for the user where no part was found.

    Raises:
        UserError: Gaussians are asked for, and there are no parts to attach them to.
    """
    if _uses_gaussians(config):
        raise UserError(
            "rigid-ode: no moving part was found from silhouettes, and its Gaussians are attached to parts: "
            "train gaussian-ode, or rigid-ode with --appearance voxels."
        )
    return "no moving part was found: the whole scene changes with one latent coordinate."


def appearance_from_reconstruction(
    config: RigidODEConfig,
    info: SceneInfo,
    reconstruction: Reconstruction,
    states: RigidPartsState,
    views: Sequence[SilhouetteView],
) -> Appearance[Any]:
    """Untrained voxels in cells that may hold matter, or Gaussians on the hulls; `states`: the parts in each view."""
    half_extents = reconstruction.half_extents()
    if _uses_gaussians(config):
        appearance = GaussianAppearance(config, info, half_extents)
        appearance.initialize(reconstruction, states, views)
        return appearance
    open_cells = torch.from_numpy(np.stack([*reconstruction.part_occupancy, reconstruction.static_occupancy]))
    return VoxelAppearance.from_open_cells(config, info, half_extents, open_cells)


def appearance_from_tensors(
    config: RigidODEConfig, info: SceneInfo, half_extents: Tensor, tensors: Mapping[str, Tensor]
) -> Appearance[Any]:
    """For K parts of half sizes `half_extents` `[K, 3]`, with the shapes that a state dict has under "appearance."."""
    if _uses_gaussians(config):
        return GaussianAppearance(config, info, half_extents.clone())
    return VoxelAppearance.from_tensors(config, info, tensors, len(half_extents))


def _uses_gaussians(config: RigidODEConfig) -> bool:
    return config.appearance == "gaussians"
