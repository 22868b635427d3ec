"""Settings of what is found about balls: spheres, identities, rotations; and about the light, from shadows."""

from __future__ import annotations

from dataclasses import dataclass

from foreseen.errors import UserError


@dataclass(frozen=True)
class SphereConfig:
    """How balls are fitted to silhouettes: their discs together should cover the moving pixels, and nothing else."""

    max_pixels: int = 36_000
    """Pixels of all views that the fit uses: a third of them moving, a third near moving ones, a third elsewhere."""
    min_pixels_per_view: int = 90
    """The same for each view, at least, where there are many views."""
    nearby_pixels: int = 6
    """A static pixel is near a moving one up to this distance [px]."""
    max_static_ratio: float = 4.0
    """The static pixels of a view weigh at most this many times as much as its moving ones."""
    occluded_weight: float = 0.1
    """Weight of a pixel that shows something static, which may hide a ball; other pixels have weight 1."""
    edge_width: float = 0.12
    """Width of a disc's soft edge, in radii. Larger: a ball is pulled from further away, the fit is less exact."""
    first_iterations: int = 120
    """Adam steps of the fits that tell which balls are needless, ..."""
    iterations: int = 240
    """... and of the last fit."""
    position_lr: float = 0.04
    """Learning rate of the control points at the start, in mean radii; it falls linearly to 0."""
    radius_lr: float = 3e-3
    """Learning rate of the logarithms of the radii at the start; it falls linearly to 0."""
    jerk_weight: float = 3e-3
    """Weight of the trajectories' squared third differences, in mean radii."""
    min_exclusive_share: float = 0.3
    """A ball is dropped if less than this share of its disc is moving pixels that no other disc covers."""
    min_overlap: float = 0.85
    """Parts are balls if discs and moving pixels overlap at least this much (intersection over union); true balls
    reach 0.93."""
    give_up_overlap: float = 0.6
    """If they overlap less than this after the first fit, the fit stops: the parts are not balls."""


@dataclass(frozen=True)
class IdentityConfig:
    """How swapped tracks of balls are recognised, by colour."""

    color_radius: float = 0.8
    """The colour of a ball is measured within this many radii of its centre."""
    min_pixels: int = 8
    """Pixels that a colour needs in one view."""
    neighbour_times: int = 2
    """Times before and after each time whose colours are averaged with it."""
    min_color_gain: float = 0.05
    """Tracks are swapped if the colours then are nearer to the usual ones by this much for each swapped ball (Euclidean
    distance of RGB in 0..1)."""


@dataclass(frozen=True)
class RotationConfig:
    """How the rotation of balls is estimated from their texture: views are compared under candidate rotations.
    Correlations are in -1..1."""

    max_frames: int = 480
    """Frames that are used, at most; of longer sequences every second or third time, and so on."""
    max_radius_pixels: int = 28
    """Pictures of a ball are shrunk to about this radius [px]. Larger: finer texture, slower."""
    min_radius_pixels: int = 5
    """Pictures of a ball with a smaller radius [px] are not used."""
    min_view_cosine: float = 0.5
    """A surface point is used if the cosine between its normal and the direction to the camera is larger than this."""
    neighbourhood_radius: float = 0.4
    """Brightness is normalised by its mean and deviation in a neighbourhood with this standard deviation, in radii.
    This removes shading and keeps texture. Larger: coarser texture stays, and more shading."""
    noise_contrast: float = 0.02
    """Standard deviation of brightness (0..1) that counts as noise. Larger: faint texture is ignored."""
    samples: int = 60
    """Pixels of a view that are compared; views with fewer are not used."""
    max_pairs: int = 200
    """Pairs of views that are compared, at most, ..."""
    max_first_pairs: int = 100
    """... and in the first search, over all candidate spins."""
    min_pair_cosine: float = 0.3
    """A pair is compared if the cosine between its two directions of view exceeds this: both see the same side."""

    max_rotation: float = 1.0
    """First search: largest candidate rotation between consecutive times [rad], ..."""
    rotation_spacing: float = 0.07
    """... and spacing of the candidates [rad]. The time that this takes grows with (largest / spacing)^3."""
    first_pair_time: float = 1.3
    """First search: pairs are at most this many times as far apart as consecutive times usually are."""
    refined_spacing: float = 0.05
    """Refinement: spacing of the candidates [rad], over the longest time between the views of a pair."""
    pair_time_growth: float = 1.6
    """Refinement: factor by which that longest time grows in each round. Larger: fewer rounds, which may lose the
    true spin."""
    num_candidates: int = 8
    """Candidate spins that the first search and each round of the refinement keep. More: slower, and the true spin is
    lost less often."""

    min_correlation: float = 0.3
    """A rotation is accepted if it makes the views correlate more than this, ..."""
    min_correlation_gain: float = 0.1
    """... and by this much more than without rotation."""

    compared_lags: tuple[int, ...] = (1, 2, 3, 5, 8, 13, 21)
    """Rotation that is not steady is tracked from time to time: a ball is compared with itself this many times
    before."""
    tracking_start: int = 5
    """Tracking starts with the best spin of a first search over the time intervals up to this one; it needs as many."""
    search_ranges: tuple[float, ...] = (0.42, 0.1, 0.04)
    """Tracking: largest candidate rotations away from the expected one [rad], search by search, ..."""
    search_spacings: tuple[float, ...] = (0.14, 0.05, 0.02)
    """... and spacing of the candidates [rad]."""
    weak_correlation: float = 0.1
    """Tracking: if no candidate correlates more than this, the spin continues as before."""
    spin_smoothing: float = 0.5
    """Tracking: share of the old spin in the new one."""

    def __post_init__(self) -> None:
        if len(self.search_ranges) != len(self.search_spacings):
            raise UserError(
                f"rotations: {len(self.search_ranges)} search ranges and {len(self.search_spacings)} search spacings: "
                "give a spacing for each range."
            )


@dataclass(frozen=True)
class ShadowConfig:
    """How shadows are recognised, and how the light and the plane that explain them are found."""

    min_brightness_ratio: float = 0.15
    """A shadow pixel keeps more than this share of its static brightness, ..."""
    max_brightness_ratio: float = 0.97
    """... and less than this one, ..."""
    max_hue_change: float = 0.1
    """... and each channel's share differs from their mean by less than this: the remaining light may have a hue."""
    min_brightness: float = 0.1
    """A pixel with a static channel (0..1) darker than this shows no shadow."""
    edge_dilation: int = 1
    """Pixels around a shadow that are used neither as shadow nor as part."""
    min_pixel_share: float = 0.04
    """Share of the moving pixels that must be shadow, for a light to be searched."""

    max_pixels: int = 6000
    """Pixels that a candidate light is scored on: about a third of them in shadow."""
    nearby_pixels: int = 8
    """Half of the other pixels are drawn up to this distance [px] from a shadow."""
    guess_stride: int = 5
    """First guesses are scored on every so-many-th pixel."""
    edge_width: float = 0.1
    """Width of a candidate shadow's soft edge, in radii."""
    offsets: int = 24
    """First guesses: positions of the plane along each axis of the scene, ..."""
    tilts: tuple[float, ...] = (0.0, 0.35, 0.7)
    """... angles between light and plane normal [rad], ..."""
    azimuths: int = 8
    """... directions for each of these angles, ..."""
    growth: float = 0.9
    """... and radius of the shadow caster over the radius of the part."""
    num_refined: int = 4
    """The best of the guesses that are refined (Nelder-Mead)."""
    iterations: int = 600
    """Steps of each refinement, at most."""
    normal_step: float = 0.1
    """First steps of the refinement: of the plane's normal, ..."""
    offset_step: float = 0.03
    """... of the plane's offset, in the scene's longest side, ..."""
    light_step: float = 0.15
    """... of the direction to the light, ..."""
    point_light_step: float = 0.3
    """... of how much this direction changes across the scene's longest side (a lamp; 0 for the sun), ..."""
    growth_step: float = 0.1
    """... and of the caster's relative radius."""
    min_overlap: float = 0.6
    """A light is accepted if predicted and seen shadows overlap at least this much (intersection over union)."""
