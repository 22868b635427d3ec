"""Settings of the latent preset: one radiance field whose code a neural ODE moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from foreseen.fields.config import PackedFieldConfig
from foreseen.reconstruction.config import SilhouetteConfig

Coordinates = Literal["surface", "projection"]


@dataclass(frozen=True)
class EmbeddingConfig:
    """First codes of one sequence, from its pictures alone: Isomap on blurred, shrunk pictures of static cameras."""

    side: int = 32
    """Pictures are shrunk to so many pixels a side. Larger: finer differences, more memory."""
    blur: float = 1.0
    """Standard deviation of the blur [pixels of the shrunk picture]. Larger: pictures further apart still overlap, and
    small motions get lost."""
    neighbours: int = 6
    """Each time is joined to so many times with the most similar pictures. Larger: short cuts across the manifold;
    smaller: it may fall apart (it is then raised until all times are joined)."""
    min_variance_share: float = 0.05
    """A dimension is kept where it has at least this share of the first one's variance."""
    max_dims: int = 3
    """Dimensions of the code at most."""


@dataclass(frozen=True)
class LatentODEConfig:
    """The latent ODE. Time is counted in windows (the longest span of one sequence's training times)."""

    width: int = 96
    """Hidden units of its network. Larger: sharper changes of the force along the code."""
    layers: int = 1
    """Hidden layers of its network."""
    initial: float = 0.1
    """The output layer's weights start at this share of their usual size. Smaller: the codes begin with straight
    trajectories."""
    gain: float = 4.0
    """Codes are multiplied by this before its network. Larger: its coefficients may change faster along the code."""
    polynomial_degree: int = 0
    """Beside the network, polynomials of q of this degree say the terms. They go on sensibly beyond the codes that were
    seen; 0: the network alone."""
    polynomial_ridge: float = 1e-2
    """The polynomials' coefficients have so many times the ridge. Smaller: the network says less."""
    fastest: float = 4.0
    """The terms in q' grow no further beyond so many times the fastest rate that was seen."""
    step: float = 0.01
    """Length of a Runge-Kutta step [windows]. Smaller: more exact, slower."""
    controls: float = 0.5
    """Control points of the spline that gives the first rates, for each training time."""
    stiffness: float = 0.05
    """Of third differences of the spline's control points. Larger: smoother first rates."""
    rates_seen: int = 200
    """Places of each spline whose accelerations the first fit learns."""
    ridge: float = 1e-7
    """Of the first fit, of accelerations, in closed form. Larger: smoother forces."""
    drag_ridge: float = 1e4
    """The terms in q' have so many times the ridge, where they change with the code."""
    shooting_shares: tuple[float, ...] = (0.3, 0.6, 1.0, 1.0)
    """Rounds of the second fit, of whole trajectories: how much of each sequence a round follows, from its first
    time."""
    shooting_steps: int = 12
    """L-BFGS iterations of a round."""
    shooting_history: int = 30
    """Steps that L-BFGS remembers. Larger: fewer iterations, more memory."""
    segment_shares: tuple[float, ...] = (0.2,)
    """Several sequences: the second fit follows segments of trajectories of these lengths [windows], one after another.
    Longer: errors that build up are seen, and one that bifurcates may spoil the fit."""
    ridges: tuple[float, ...] = (1e-7, 1e-5)
    """Several sequences: the ridge of the first fit is the one of these by which sequences that are left out are told
    best."""
    folds: int = 3
    """Groups of sequences that are left out in turn for that choice."""
    misfit_weight: float = 1e4
    """Weight of the squared distance from the codes (their largest component is 1) beside the priors."""
    drag_weight: float = 0.1
    """Weight of the change of the terms in q' with the code: a larger one tells rates alike everywhere."""
    quadratic_weight: float = 0.1
    """Weight of the terms that are quadratic in q'."""


@dataclass(frozen=True)
class EncoderConfig:
    """Several sequences: from positions to codes and back."""

    coordinates: tuple[Coordinates, ...] = ("surface", "projection")
    """Codes to choose from, by which sequences that are left out are told best: distances along the surface that
    positions lie on (Isomap), or the projection on their principal axes."""

    width: int = 96
    """Hidden units of both networks."""
    gain: float = 3.0
    """Spread of the weights of their hidden layers. Larger: rougher functions."""
    ridge: float = 1e-7
    """Of their fit in closed form. Larger: smoother functions."""
    neighbours: int = 10
    """As for pictures: each position is joined to so many others that are nearest."""
    max_points: int = 1000
    """Positions at most that distances along the surface are computed between; more take quadratically longer."""
    min_variance_share: float = 0.15
    """A dimension is kept where it has at least this share of the first one's variance."""
    max_dims: int = 3
    """Dimensions of the code at most."""


@dataclass(frozen=True)
class BodySizeConfig:
    """Several sequences: how large the box around a body is."""

    frames: int = 120
    """Training frames whose silhouettes are looked at."""
    quantile: float = 0.95
    """In each of them, so much of what changes nearest to a body is to lie within its box; the median of all counts."""
    margin: float = 1.4
    """The box is so many times as large. Larger: room for errors of position, and more empty samples."""
    unseen_share: float = 0.15
    """Half size of the box of a body around which nothing is seen to change, as a share of the scene's half side."""


@dataclass(frozen=True)
class ConditionedLayerConfig:
    """A layer of the field that the code conditions."""

    levels: tuple[int, ...] = (16, 64)
    """Voxels along each axis of its box, one entry a level."""
    samples: int = 96
    """Samples across its box; it gives the step of a ray, of which the static layer takes every so many."""
    code_cells: tuple[int, ...] = (16, 8, 4)
    """Occupancy grids along each axis of codes of one, two and three dimensions. More: fewer samples in what is empty
    under one code and not under another."""


@dataclass(frozen=True)
class NodeRFFastConfig:
    """Node-RF's idea on two cores: codes on a latent ODE's trajectory condition one field: voxels that no code
    changes, and layers of voxels seen through a warp that depends on the code."""

    rays: int = 8192
    """Rays a step at most."""
    samples: int = 65_536
    """Samples a step is to have; the number of rays follows from it."""
    foreground: float = 0.6
    """Share of the rays that is drawn where something is seen or moves."""

    static_levels: tuple[int, ...] = (32, 96)
    """Voxels along each axis of the layer that no code changes, one entry a level."""
    moving: ConditionedLayerConfig = ConditionedLayerConfig()
    """One sequence: the conditioned layer, in the box around all pixels that ever change."""
    body: ConditionedLayerConfig = ConditionedLayerConfig(levels=(8, 32), samples=32, code_cells=(1, 1, 1))
    """Several sequences: the layer of each body, in a box that goes along with it."""
    body_sizes: BodySizeConfig = BodySizeConfig()
    """Several sequences: the sizes of these boxes."""
    initial: float = 0.02
    """Thickness of the space between two untrained voxels."""
    warp_width: int = 64
    """Hidden units of the warp's network."""
    warp_layers: int = 3
    """Hidden layers of the warp's network."""
    warp_position_levels: int = 2
    """Octaves of the encoding of positions for the warp. Larger: rougher warps, which may tear objects."""
    warp_code_levels: int = 2
    """Octaves of the encoding of the code for the warp. Larger: positions may change faster with the code, and codes
    between those that were seen are told worse."""
    warp_initial: float = 0.01
    """The warp's output layer starts at this share of its usual size."""
    grid_resolution: int = 48
    """Cells along each axis of an occupancy grid."""
    empty_alpha: float = 0.015
    """A cell counts as empty where one step through it has less than this opacity."""
    static_samples: int = 128
    """Samples across the scene."""
    bounds_margin: float = 0.03
    """The static layer's box is larger than the scene's bounds by this share: a floor that lies in the bounds' own face
    would be cut at random."""
    refresh_after: int = 32
    """Steps before the first refresh: a field that has learned nothing yet looks empty everywhere."""
    refresh_every: int = 16
    """Steps between refreshes of the occupancy grids."""
    static_refresh_share: float = 0.15
    """Share of the cells of the layer that no code changes that a refresh looks at."""
    refresh_share: float = 0.04
    """The same for the conditioned layer, under all codes."""
    silhouettes: SilhouetteConfig = SilhouetteConfig()
    """Which pixels change: they bound the box of the conditioned layer and close its empty cells."""
    packed: PackedFieldConfig = PackedFieldConfig()
    """Settings that all packed radiance fields share."""
    margin: int = 2
    """The box around what changes, and the pixels that change, are grown by so many cells and pixels."""

    warm_up_share: float = 0.2
    """Share of the budget in which only what no code changes is learned, where pictures do not change."""
    warm_up_rays: int = 16_384
    """Rays a step in the warm-up."""
    static_every: int = 4
    """After the warm-up that layer learns once in so many steps, from pixels that do not change at that time only."""
    curriculum_start: float = 0.15
    """Training begins with codes within this distance of the middle one, as a share of the largest distance. Larger:
    the warp may have to find displacements larger than what moves, and splits it into ghosts."""
    curriculum_share: float = 0.4
    """Share of the budget after which all codes have joined."""
    ode_from: float = 0.5
    """Share of the budget from which the codes are those of the latent ODE; before it they are learned one by one."""
    ode_every: int = 4
    """From then on the ODE is solved and learns from the pictures once in so many steps."""

    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    """First codes of one sequence."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """From positions to codes and back, where there are several sequences."""
    dynamics: LatentODEConfig = LatentODEConfig(width=32, gain=1.0, ridge=1e-6, drag_weight=1.0, quadratic_weight=1.0)
    """The latent ODE of one sequence: few passages tell it, so that it must be smooth."""
    multi_sequence: LatentODEConfig = LatentODEConfig(gain=8.0, polynomial_degree=3)
    """The latent ODE of several sequences."""

    position_weight: float = 1e-2
    """Several sequences: weight of the mean absolute error of the decoded positions, as in the paper."""
    velocity_weight: float = 1e-2
    """Several sequences: the same for velocities."""

    voxel_lr: float = 2e-2
    """Learning rate of the voxels."""
    warp_lr: float = 1e-3
    """Learning rate of the warp."""
    code_lr: float = 2e-4
    """Learning rate of the codes, before the ODE says them."""
    ode_lr: float = 1e-4
    """Learning rate of the ODE and of the initial states, from then on."""
    lr_decay: float = 0.05
    """Learning rates at the end of the budget as a share of the first."""
    background_opacity_weight: float = 1e-2
    """Weight of the opacity along rays that saw the plain background."""
    fog_weight: float = 1e-3
    """Weight of the opacities of all samples in the conditioned layer. Larger: what does not depend on the code goes to
    the other layer, and thin moving things may vanish."""
    tv_weight: float = 4.0
    """Weight of neighbouring voxels' squared differences, at the start, ..."""
    tv_weight_decay: float = 0.05
    """... and its share of that at the end of the budget."""
