"""Settings of rigid-ode."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from foreseen.dynamics.config import DynamicsConfig, LearnedDynamicsConfig
from foreseen.fields.config import PackedFieldConfig
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
"""Gaussians that are attached to parts."""


@dataclass(frozen=True)
class SharedDynamicsConfig(LearnedDynamicsConfig):
    """Dynamics that several sequences share."""

    labels: Literal["auto", "never"] = "auto"
    """Where the poses of the parts in the training frames come from. auto: from the ground truth of the data set, if it
    has any; else from silhouettes. never: always from silhouettes."""


@dataclass(frozen=True)
class GaussianPartsConfig:
    """Shading, shadows and clean-up of Gaussians that are attached to parts."""

    light_degree: Literal[0, 1, 2, 3] = 2
    """Degree of the spherical harmonics of the light on a part. Degree 2 describes nearly all of the light that a matt
    surface reflects (Ramamoorthi and Hanrahan 2001)."""
    min_shading: float = 0.05
    """No side of a part is darker than this share of its colours."""
    light_lr: float = 1e-2
    """Learning rate of the light on the parts at the start."""
    light_lr_final: float = 0.05
    """Share of it at the end of the training; it falls linearly."""
    shadow_points: int = 1500
    """First Gaussians of each part's own shadow, at most."""
    initial_shadow_logit: float = -1.0
    """Logit of the share of its light that a Gaussian loses in a shadow, at the start. Larger values start with darker
    shadows."""
    shadow_lr: float = 2e-2
    """Learning rate of that logit."""
    shadow_edge: float = 0.1
    """Width of the soft edge of a shadow, in radii of the part."""
    stray_margin: float = 1.2
    """A Gaussian is removed that leaves its part's box (or the box of its shadow), grown by this factor."""


@dataclass(frozen=True)
class InitialConditionConfig:
    """How the initial state of a new sequence is estimated from its first frames (several sequences)."""

    guesses: int = 1500
    """States of the learned sequences that are tried as a start of the optimisation. More are slower and safer."""
    iterations: int = 12
    """Iterations of Gauss and Newton's method."""
    initial_damping: float = 1e-3
    """Levenberg-Marquardt damping at the first iteration, as a share of the Hessian's diagonal. Larger values make
    smaller steps."""
    damping_decrease: float = 0.2
    """Factor on the damping after a step that lowers the error."""
    damping_increase: float = 5.0
    """Factor on the damping after a step that does not."""
    min_pixels: int = 4
    """A moving region of fewer pixels is ignored as noise."""
    compared_frames: int = 6
    """Frames at most in which predicted pictures of the dynamics clusters are compared with the observed ones."""
    cluster_error_ratio: float = 1.1
    """A cluster is chosen if the error of the next best one is at least this many times as large. Larger values refuse
    more often."""
    detection_bias: float = 0.15
    """Standard deviation of an error that all detections of a camera share [pixels], such as from shading at one side
    of an object. Larger values widen the ensemble."""


@dataclass(frozen=True)
class RigidODEConfig:
    """Rigid parts: their trajectories, dynamics and appearance."""

    appearance: Literal["voxels", "gaussians"] = "voxels"
    """Representation of the parts and of the static scene. Several sequences: voxels only."""

    reconstruction: ReconstructionConfig = ReconstructionConfig()
    """How rigid parts and their trajectories are found in the pictures before training."""

    dynamics: DynamicsConfig = field(
        default_factory=lambda: DynamicsConfig(
            widths=(32,), steps_per_interval=2, shooting_lengths=(0.4,), iterations=10, fit_at=(0.5, 0.95)
        )
    )
    """Dynamics where the data set has one training sequence."""

    last_spin_share: float = 0.08
    """Outside the window a round part keeps the mean spin of this last (or first) share of the window."""
    bounds_margin: float = 0.03
    """Several sequences: the scene's box is padded by this share of its size, so that a floor in one of its faces has
    room to be opaque."""

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
    gaussian_parts: GaussianPartsConfig = GaussianPartsConfig()
    """Gaussians: shading, shadows and clean-up."""

    rays: int = 16_384
    """Rays a step at most, from all training frames."""
    samples: int = 100_000
    """Samples of a step; the number of rays follows from it."""
    foreground: float = 0.7
    """Share of the rays that is drawn from foreground pixels, where something is visible or moves."""

    part_levels: tuple[int, ...] = (24, 72)
    """Voxels along each axis of a part's box, one entry a level."""
    static_levels: tuple[int, ...] = (32, 96)
    """The same for the static scene."""
    initial_thickness: float = 0.02
    """Optical thickness between two neighbouring untrained voxels. Larger values start more opaque."""
    part_samples: int = 40
    """Samples across the smallest part's box."""
    static_samples: int = 96
    """Samples across the scene."""
    render_refinement: int = 2
    """Pictures take this many samples for one of training, where sample positions are random."""
    empty_alpha: float = 0.005
    """A cell counts as empty where one step through it has less opacity. Larger values skip more and lose thin
    matter."""
    packed: PackedFieldConfig = PackedFieldConfig()
    """Number of rays, occupancy refreshes, total variation: what packed fields share."""
    plane_rays: int = 4096
    """Without parts: rays a step at most."""
    plane_samples: int = 65_536
    """Without parts: samples of a step."""
    plane_resolutions: tuple[int, ...] = (64, 192)
    """Without parts: nodes along each axis of the feature planes, one entry a scale."""
    channels: int = 16
    """Without parts: features of a scale."""
    width: int = 64
    """Without parts: hidden units of the decoder."""
    grid_resolution: int = 64
    """Cells along each axis of the grids of hulls, and of the voxels' occupancy grids."""
    refresh_every: int = 16
    """Steps between refreshes of the occupancy grids."""
    refresh_share: float = 0.03
    """Share of all cells that a refresh visits; more at the start, see `packed`."""
    nodes_per_latent_node: int = 6
    """Without parts: the feature planes have this many nodes along an axis of space for one along the latent
    coordinate, ..."""
    min_latent_nodes: int = 4
    """... which has at least this many."""
    initial_plane_density: float = 0.1
    """Without parts: density at the start, per half size of the scene. Larger values start more opaque."""
    latent_boxes: int = 8
    """Without parts: occupancy grids along the latent coordinate."""
    plane_empty_alpha: float = 0.01
    """Without parts: opacity of one step below which a cell counts as empty."""

    multi_sequence: SharedDynamicsConfig = field(default_factory=SharedDynamicsConfig)
    """Dynamics where the data set has several training sequences."""
    initial_condition: InitialConditionConfig = InitialConditionConfig()
    """Several sequences: how the initial state of a new one is estimated from its first frames."""

    voxel_lr: float = 2e-2
    """Learning rate of the voxels."""
    light_lr: float = 1e-2
    """Learning rate of the light's direction."""
    plane_lr: float = 2e-2
    """Learning rate of the feature planes."""
    network_lr: float = 2e-3
    """Learning rate of the decoder."""
    background_opacity_weight: float = 1e-2
    """Weight of the opacity along rays that saw the stated background."""
    tv_weight: float = 4.0
    """Weight of the voxels' total variation at the start. Larger values keep what few cameras see smooth."""
    tv_weight_decay: float = 0.05
    """Share of that weight at the end of the budget. Smaller values allow sharper detail."""


def _gaussians() -> RigidODEConfig:
    base = RigidODEConfig()
    # The dynamics are fitted once: the trajectories stay fixed from then on.
    dynamics = replace(base.dynamics, fit_at=(0.85,))
    return replace(
        base,
        appearance="gaussians",
        reconstruction=ReconstructionConfig(times_per_control=1.25),
        dynamics=dynamics,
        jerk_weight=0.05,
    )


PRESETS: dict[str, Any] = {"fast": RigidODEConfig(), "gaussians": _gaussians()}
