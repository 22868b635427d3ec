"""Settings of rigid-ode."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from foreseen.dynamics.config import DynamicsConfig, LearnedDynamicsConfig
from foreseen.reconstruction.config import ReconstructionConfig
from foreseen.splatting.config import CloudConfig

PART_GAUSSIANS = CloudConfig(
    budget=16_000,
    degree=3,
    antialiased=True,
    start_points=6000,
    start_opacity=0.5,
    refine_until=0.7,
    reset_every=0,
    means_lr=3e-4,
    means_lr_final=3e-6,
    color_lr=5e-3,
    harmonics_lr=2.5e-3,
    rates_final=0.1,
)
"""Gaussians that ride with parts."""


@dataclass(frozen=True)
class SharedDynamicsConfig(LearnedDynamicsConfig):
    """The law that several sequences share."""

    labels: Literal["auto", "never"] = "auto"
    """Where the parts are in the training frames: auto takes what truth the data set has, as the paper does, else
    silhouettes tell."""


@dataclass(frozen=True)
class RigidODEConfig:
    """Rigid parts, their trajectories, the dynamics that these follow, and how everything looks."""

    appearance: Literal["voxels", "gaussians"] = "voxels"
    """What the parts and their surroundings are made of; several sequences: voxels only."""

    reconstruction: ReconstructionConfig = ReconstructionConfig()
    """How rigid parts and their trajectories are found in the pictures before training."""

    dynamics: DynamicsConfig = field(
        default_factory=lambda: DynamicsConfig(
            widths=(32,), steps_per_interval=2, shooting_lengths=(0.4,), iterations=10, fit_at=(0.5, 0.95)
        )
    )
    """The law where the data set has one training sequence."""

    centre_lr: float = 1e-3
    """Learning rate of the trajectories, in radii of the part."""
    rotation_lr: float = 1e-3
    """Learning rate of the rotations [rad]."""
    lr_decay: float = 0.05
    """Learning rates at the end of the budget as a share of the first."""
    jerk_weight: float = 1e-3
    """Weight of the trajectories' squared third differences."""
    rotation_smoothness_weight: float = 1e-3
    """Weight of the rotations' squared first differences."""

    cloud: CloudConfig = PART_GAUSSIANS
    """Gaussians: how many, and how they are optimised."""

    rays: int = 16_384
    """Rays a step at most, from all training frames."""
    samples: int = 100_000
    """Samples a step is to have; the number of rays follows from it."""
    foreground: float = 0.7
    """Share of the rays that is drawn where something is seen or moves."""

    part_levels: tuple[int, ...] = (24, 72)
    """Voxels along each axis of a part's box, one entry a level."""
    static_levels: tuple[int, ...] = (32, 96)
    """The same for what does not move."""
    initial_thickness: float = 0.02
    """Thickness of the space between two untrained voxels."""
    part_samples: int = 40
    """Samples across the smallest part's box."""
    static_samples: int = 96
    """Samples across the scene."""
    plane_rays: int = 4096
    """Where no part is told apart: rays a step at most."""
    plane_samples: int = 65_536
    """Where no part is told apart: samples a step is to have."""
    plane_resolutions: tuple[int, ...] = (64, 192)
    """Where no part is told apart: nodes along each axis of the feature planes, one entry a scale."""
    channels: int = 16
    """Where no part is told apart: features of a scale."""
    width: int = 64
    """Where no part is told apart: hidden units of the decoder."""
    grid_resolution: int = 64
    """Cells along each axis of the grids that say where matter may be: of hulls, and voxels' occupancy grids."""
    refresh_every: int = 16
    """Steps between refreshes of the occupancy grids."""
    refresh_share: float = 0.03
    """Share of all cells that a refresh looks at; four times as many in the first 256 steps."""
    nodes_per_latent_node: int = 6
    """Where no part is told apart, the field's planes have so many nodes along an axis of space for one along the
    latent number."""
    latent_boxes: int = 8
    """Where no part is told apart: occupancy grids along the latent number."""

    multi_sequence: SharedDynamicsConfig = field(default_factory=SharedDynamicsConfig)
    """Where the data set has several training sequences."""

    voxel_lr: float = 2e-2
    """Learning rate of the voxels."""
    light_lr: float = 1e-2
    """Learning rate of the direction that the light comes from."""
    plane_lr: float = 2e-2
    """Learning rate of the feature planes."""
    network_lr: float = 2e-3
    """Learning rate of the decoder."""
    background_opacity_weight: float = 1e-2
    """Weight of the opacity along rays that saw the plain background."""
    tv_weight: float = 4.0
    """Weight of neighbouring voxels' squared differences, at the start: what few cameras see stays smooth, ..."""
    tv_weight_decay: float = 0.05
    """... and its share of that at the end of the budget: what was learned may become sharp."""


def _gaussians() -> RigidODEConfig:
    base = RigidODEConfig()
    # The dynamics are fitted once: the trajectories stay fixed from then on.
    one = replace(base.dynamics, fit_at=(0.85,))
    return replace(
        base,
        appearance="gaussians",
        reconstruction=ReconstructionConfig(times_per_control=1.25),
        dynamics=one,
        jerk_weight=0.05,
    )


PRESETS: dict[str, Any] = {"fast": RigidODEConfig(), "gaussians": _gaussians()}
