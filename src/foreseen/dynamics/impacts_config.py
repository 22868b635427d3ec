"""Settings of the dynamics of colliding balls. Times are in windows, unless a docstring says otherwise."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CollisionConfig:
    """The event-driven solver (`roll_out`)."""

    settling_time: float = 4e-3
    """A ball whose next bounce on a wall would take less time than this stays on the wall. Larger: bouncing ends
    sooner."""
    level_slope: float = 0.01
    """A ball does not roll down a slope below this [rad]."""
    search_step: float = 1e-2
    """Smallest step of the search for a contact of two balls under different accelerations, in sums of their radii.
    Larger: grazing contacts are missed."""
    max_events: int = 1000
    """All balls stop after so many events in one solution: they are caught between walls."""


@dataclass(frozen=True)
class PiecewisePathConfig:
    """The fit of parabolas with velocity jumps to one body's path (`fit_piecewise_path`)."""

    trials_per_time: int = 3
    """Candidate times of a jump per time of the path. More: finer and slower."""
    end_margin: float = 0.02
    """No jump is sought nearer to the ends of the window."""
    negligible_residual: float = 1e-3
    """A residual below this share of the path's extent counts as zero. Larger: fewer jumps."""
    jump_penalty: float = 6.0
    """Parameters that a jump counts for in the Bayesian information criterion: its three components, its time, and that
    it was chosen among many. Larger: fewer jumps."""
    max_extra_cost: float = 3.0
    """No more jumps are added once the cost exceeds the best one by the penalty of so many jumps."""
    refinements: int = 2
    """Passes that move each jump to its best time, after one was added."""
    guess_spans: tuple[tuple[float, float], ...] = ((0.0, 0.4), (0.3, 0.7), (0.6, 1.0), (0.0, 1.0))
    """Spans of the window in which the common acceleration is guessed."""
    agreement: float = 0.15
    """Guesses that differ by less than this share of the larger one agree."""
    num_guesses: int = 2
    """Groups of agreeing guesses that are tried."""
    rest_times: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """Candidate times at which a body comes to rest."""
    rest_time_steps: tuple[float, ...] = (0.125, 0.0625)
    """Steps that refine the best of these times, in turn."""


@dataclass(frozen=True)
class ContactsConfig:
    """Which velocity jumps are contacts of bodies, and which walls explain the others."""

    max_contact_distance: float = 1.35
    """Two bodies may have touched if their distance is below this multiple of the sum of their radii. Radii are known
    to about a third."""
    min_normal_cosine: float = 0.6
    """Smallest cosine between a velocity jump and the line of the two centres. Friction tilts the jump."""
    max_impact_delay: float = 0.03
    """Largest difference of the times at which two bodies that collide change their velocities."""
    min_wall_cosine: float = 0.75
    """Velocity jumps whose directions have at least this cosine may come from the same wall."""
    wall_slack: float = 0.4
    """A body may reach this far behind a wall, in its radii."""
    max_inside_share: float = 0.03
    """Share of all positions that may lie deeper than that."""
    aligned_sine: float = 0.42
    """A wall whose normal deviates by less than this (sine) from the vertical or from the horizontal is made exactly
    so."""
    overlap_distance: float = 0.6
    """Two bodies overlap if their distance is below this multiple of the sum of their radii."""
    max_overlap_share: float = 0.03
    """One of two bodies that overlap in more than this share of the times is not solid: it is a shadow."""
    rest_jump: float = 0.05
    """A body that comes to rest under an acceleration counts as pushed with this multiple of it, times one window."""


@dataclass(frozen=True)
class ImpactPriorConfig:
    """Usual values of the constants of a world, and their standard deviations: a Gaussian prior. A smaller deviation
    holds a constant closer to its usual value."""

    drag: float = 0.4
    """Deviation of the drag from 0 [1/window]."""
    friction: tuple[float, float] = (0.25, 0.25)
    """Friction coefficient: mean and deviation."""
    restitution: tuple[float, float] = (0.7, 0.3)
    """Restitution of two balls: mean and deviation."""
    wall_restitution: float = 0.07
    """Deviation of a wall's restitution from that of two balls."""
    common_radius: float = 0.2
    """Deviation of the logarithm of a factor that all radii share."""
    radius: float = 0.04
    """Deviation of the logarithm of each radius."""
    density: float = 0.25
    """Deviation of the logarithm of each ball's density."""
    wall_offset: float = 0.5
    """Deviation of a wall's position, in radii."""
    right_angle: float = 0.005
    """Deviation of walls from right angles with one another and with gravity [rad], where the first guess is nearly
    so."""
    nearly_right: float = 0.35
    """Sine of the largest angle that counts as nearly so."""


@dataclass(frozen=True)
class ImpactShootingConfig:
    """Multiple shooting with colliding balls (`ImpactShooting`)."""

    times_per_segment: int = 6
    """Times of the path in a segment, about."""
    max_segments: int = 20
    """Segments at most."""
    cut_range: float = 0.3
    """A cut between two segments may move by this share of their length, away from velocity jumps."""
    iterations: int = 25
    """Levenberg-Marquardt iterations at most."""
    tolerance: float = 1e-3
    """The iterations end where one lowers the cost by less than this share."""
    huber_deviations: float = 2.0
    """Residuals up to so many standard deviations count by their square; larger ones linearly (Huber)."""
    joint_scale: float = 0.05
    """Velocity jump allowed between two segments, as a share of the impulses that the body received in the first.
    Larger: segments are more independent of each other."""
    joint_floor: float = 0.005
    """The same as a share of the usual speed; the two are added."""
    joint_noise: float = 0.5
    """Jump of the position allowed between two segments, in standard deviations of the path's noise."""
    joint_spin: float = 3.0
    """Jump of the surface's speed by spin allowed between two segments, in allowed velocity jumps."""
    first_spin_scale: float = 0.5
    """Standard deviation of the first spins, as the surface's speed over the usual speed."""


@dataclass(frozen=True)
class ImpactsConfig:
    """Balls that fly, roll and collide with one another and with walls (`ImpactDynamics`)."""

    min_times: int = 8
    """Impacts are not fitted to paths of fewer times."""
    max_walls: int = 12
    """Walls at most."""
    max_velocity_jumps: int = 20
    """Velocity jumps of one body at most."""
    first_drag: float = 0.01
    """Initial guess of the drag [1/window]."""
    first_friction: float = 0.2
    """Initial guess of the friction coefficient."""
    first_restitution: float = 0.7
    """Initial guess of the restitution where no wall was hit."""
    max_miss: float = 0.4
    """A body is lost if the fitted solution is farther from its path than this, in its radii, ..."""
    max_miss_quantile: float = 0.75
    """... at this quantile of the times. Lost bodies touch nothing and move at constant velocity."""
    lost_weight: float = 1e-3
    """Weight of the paths of lost bodies in the fit."""
    lost_positions: int = 6
    """Positions at each end of the window that the velocity of a lost body is measured on."""
    min_smoother_weight: float = 1e-3
    """Smaller weights of a `PathSmoother` do not count where a path is cut off."""
    misfit_quantile: float = 0.9
    """Share of the times, those with the smallest residuals, that the misfit is measured on."""
    min_noise: float = 2e-3
    """Noise of the positions at least, as a share of the paths' extent: real impacts take some time."""
    rotation_poses: int = 3
    """Intervals at each end of the window that the angular velocity is measured on."""

    solver: CollisionConfig = CollisionConfig()
    """The solver."""
    paths: PiecewisePathConfig = PiecewisePathConfig()
    """Velocity jumps in the paths."""
    contacts: ContactsConfig = ContactsConfig()
    """What caused the velocity jumps."""
    prior: ImpactPriorConfig = ImpactPriorConfig()
    """Usual values of constants."""
    shooting: ImpactShootingConfig = ImpactShootingConfig()
    """The fit of constants and states."""
