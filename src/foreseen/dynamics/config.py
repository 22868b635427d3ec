"""Settings of the dynamics: how they are fitted to poses, and how a sequence's motion is extrapolated.

Every number here changes results. Times are in windows (1 = the observed window of the data set) and coordinates q have
unit variance over the observed poses, unless a docstring says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from foreseen.dynamics.impacts_config import ImpactsConfig

Structure = Literal["potential", "free"]


@dataclass(frozen=True)
class ManifoldConfig:
    """The curve or surface that the poses lie on (`Manifold`)."""

    max_error: float = 0.08
    """Coordinates are added until the poses' error is below this share of the motion (both root mean square). It should
    exceed the noise of learned poses. Larger: fewer coordinates."""
    max_plane_error: float = 0.02
    """A flat surface is accepted if its error is below this share of the motion. Larger: more surfaces are flat, and
    noise bends fewer of them."""
    static_tolerance: float = 1e-9
    """Poses that vary by less than this share of their size count as static: they get no coordinate."""
    extrapolation_margin: float = 0.15
    """The fitted polynomial is used up to this share of its extent beyond the observed poses; farther out the surface
    is a straight continuation. Larger: the polynomial may diverge there."""
    curve_nodes: int = 801
    """Nodes of the table that stores a curve (one coordinate). More: finer and slower."""
    degrees: tuple[int, ...] = (12, 6, 3)
    """Highest polynomial degree of a surface of 1, 2, 3 ... coordinates; surfaces of more coordinates are flat."""
    min_bic_gain: float = 10.0
    """A higher degree must lower the Bayesian information criterion by this much. Larger: smoother surfaces."""


@dataclass(frozen=True)
class LagrangianConfig:
    """The network of the force (`LagrangianODE`), and where its solutions are cut off."""

    sharpness: tuple[float, float] = (0.5, 8.0)
    """Smallest and largest slope of the first layer's hidden units [1/unit of q], drawn uniformly in the logarithm.
    Larger: the force may vary over shorter distances."""
    sharpness_power: float = 4.0
    """The penalty of a hidden unit's weight grows with this power of its sharpness. Larger: smoother forces."""
    deep_weight_scale: float = 1.5
    """Standard deviation of the weights of the second and later hidden layers, times the square root of their
    inputs."""
    deep_bias_scale: float = 0.5
    """Standard deviation of the biases of the second and later hidden layers."""
    max_coordinate: float = 30.0
    """Solutions stop where a coordinate exceeds this, in standard deviations of the observed motion: they diverged."""


@dataclass(frozen=True)
class MatchingConfig:
    """The fit in closed form (`fit_closed_form`)."""

    ridges: tuple[float, ...] = tuple(10.0**k for k in range(-12, -1))
    """Penalties of squared weights that are tried, as shares of the features' mean square. Cross-validation picks
    one."""
    folds: int = 4
    """Groups of segments of the cross-validation."""
    max_elements: int = 10_000_000
    """Feature values held in memory at once (8 bytes each). Fewer: less memory, smaller batches of segments."""


@dataclass(frozen=True)
class InitialStateConfig:
    """The fit of a segment's initial state (`fit_initial_states`)."""

    iterations: int = 6
    """Gauss-Newton iterations at most."""
    step_tolerance: float = 1e-9
    """The iterations end where all steps are smaller than this, in units of q and of the velocity scale."""


@dataclass(frozen=True)
class ShootingConfig:
    """Multiple shooting with smooth dynamics (`multiple_shooting`)."""

    step_sizes: tuple[float, ...] = (1.0, 0.5, 0.2, 0.05)
    """Shares of a Gauss-Newton step that are tried in turn until one lowers the cost."""
    cost_tolerance: float = 1e-3
    """Shooting ends where a step lowers the cost by less than this share ..."""
    noise_tolerance: float = 0.05
    """... and the logarithm of the noise's estimated variance changes by less than this."""
    min_groups: int = 6
    """Groups of segments that the jackknife leaves out in turn: one per sequence, or parts of sequences where there are
    fewer sequences than this."""
    jackknife_quantile: float = 0.95
    """The jackknife's spread is widened so that it covers this quantile, as Student's distribution requires for so few
    groups."""


@dataclass(frozen=True)
class LearnedDynamicsConfig:
    """How dynamics are fitted to the poses of one sequence or several."""

    widths: tuple[int, ...] = (256,)
    """Units of the hidden layers of the network that gives the force."""
    structure: Structure = "potential"
    """potential: the force is the gradient of a network; free: the network is the force."""
    max_coordinates: int = 12
    """Coordinates of the dynamics at most."""
    steps_per_interval: int = 4
    """Solver steps per usual interval between two poses."""
    min_times: int = 6
    """Training times that a sequence needs; sequences with fewer are refused."""
    exact_smoothing: float = 1e-12
    """Smoothing of the splines through exact poses (weight of squared second derivatives). Larger: smoother paths."""
    segment: float = 0.12
    """Length of the segments of the fit in closed form."""
    max_segments: int = 512
    """Segments of the fit in closed form at most, from all sequences. Fewer: a faster fit."""
    segment_spacing: float = 0.5
    """Distance between the starts of neighbouring segments, as a share of their length, here and in shooting."""
    shooting_lengths: tuple[float, ...] = (0.15, 0.4)
    """Lengths of the segments of multiple shooting, one round of shooting per length. Empty: no shooting."""
    max_shooting_segments: int = 64
    """Segments of multiple shooting at most, from all sequences."""
    iterations: int = 30
    """Iterations of multiple shooting at most, for each length."""
    final_segment: float = 0.3
    """Length of the last segment of a learned sequence: the state at its end starts the forecast. Longer: less noise,
    more bias."""
    ensemble_size: int = 16
    """Dynamics drawn from the posterior; the spread of their forecasts is the uncertainty."""
    fit_at: tuple[float, ...] = (0.4, 0.9)
    """Shares of the training budget at which the dynamics are fitted while trajectories are still learned. After the
    last one the trajectories stay fixed."""

    manifold: ManifoldConfig = ManifoldConfig()
    """The surface that the poses lie on."""
    ode: LagrangianConfig = LagrangianConfig()
    """The network of the force."""
    matching: MatchingConfig = MatchingConfig()
    """The fit in closed form."""
    initial_states: InitialStateConfig = InitialStateConfig()
    """The fit of initial states."""
    shooting: ShootingConfig = ShootingConfig()
    """Multiple shooting."""


@dataclass(frozen=True)
class ConstantVelocityConfig:
    """The extrapolation without dynamics: constant velocity, a drag, or a constant force (`fit_constant_velocity`)."""

    manifold_error: float = 0.01
    """As `manifold.max_error`, for this extrapolation: coordinates are added until the poses' error is below this share
    of the motion."""
    drags: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0)
    """Drags that are tried [1/window]."""
    segment_lengths: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75)
    """Lengths that are tried of the segment that the last velocity is measured on: 0 is the shortest possible, 1 the
    whole path, by the logarithm of the length."""
    force_segment_lengths: tuple[float, ...] = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
    """The same for the segment under one constant force."""
    first_forecast: float = 0.3
    """Candidates are scored by forecasts from every time after this one."""
    first_comparison: float = 0.6
    """Drag and constant force are compared by forecasts from every time after this one."""
    force_error_ratio: float = 0.75
    """A constant force is used if its error is below this share of the drag's. Smaller: fewer constant forces."""
    max_residual_growth: float = 3.0
    """A segment counts as under one constant force while the residual of a parabola is below this multiple of the
    shortest segments' usual residual. Larger: longer segments."""
    min_residual: float = 2e-3
    """Residuals are not expected to be smaller than this, in units of q."""
    max_lengthening_growth: float = 1.5
    """A longer segment is also accepted if the residual grows by less than this factor from one length to the next.
    Where the force changes, the factor is about 2.5."""


@dataclass(frozen=True)
class SelectionConfig:
    """Which model extrapolates a sequence: full dynamics, linear dynamics, impacts or constant velocity. Each is fitted
    to the first part of the window and predicts the rest."""

    validation_start: float = 0.85
    """Models are validated on the window after this time, and fitted to what is before it."""
    max_error_ratio: float = 0.75
    """Dynamics are used if their validation error is below this share of that of constant velocity. Smaller: constant
    velocity is used more often."""
    give_up_ratio: float = 2.0
    """The full dynamics are not tried if the linear ones' error is above this multiple of that of constant velocity."""
    linear_error_ratio: float = 0.9
    """Linear dynamics (no hidden units) are used if their error is below this share of the full dynamics'."""
    max_misfit: float = 0.15
    """Dynamics whose solutions follow the window with a larger root mean square error, in units of q, are not used."""
    impact_validation_starts: tuple[float, ...] = (0.55, 0.7, 0.85)
    """Impacts are validated from each of these times on: a single span may hold no impact, or an unusual one."""
    min_impact_poses: int = 24
    """Impacts are not tried on fewer poses: these show too few impacts."""
    negligible_error: float = 0.02
    """Added to all validation errors, as a share of the motion (root mean square). Below it, errors count as equal."""


@dataclass(frozen=True)
class DynamicsConfig(LearnedDynamicsConfig):
    """How the motion of one sequence is extrapolated: by dynamics fitted to its poses, or by what predicts better."""

    constant_velocity: ConstantVelocityConfig = ConstantVelocityConfig()
    """Constant-velocity extrapolation."""
    selection: SelectionConfig = SelectionConfig()
    """Which model is used."""
    impacts: ImpactsConfig = ImpactsConfig()
    """Balls that collide."""
