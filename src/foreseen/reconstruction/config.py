"""Settings of everything that is found in the pictures before training."""

from __future__ import annotations

from dataclasses import dataclass

from foreseen.dynamics.config import ManifoldConfig
from foreseen.reconstruction.ball_configs import IdentityConfig, RotationConfig, ShadowConfig, SphereConfig


@dataclass(frozen=True)
class SilhouetteConfig:
    """How moving pixels are told from static ones. Colours are in 0..1."""

    resolution: int = 200
    """Pictures are shrunk to about this many pixels along their shorter side before silhouettes are computed. Larger:
    finer outlines, slower."""
    threshold: float = 0.04
    """A pixel moves where a channel differs from the static picture by more than this. Larger: noise is ignored, but
    so are parts that look like their background."""
    noise_tolerance: float = 0.03
    """Two colours of a pixel count as the same static colour, up to noise, below this difference in every channel."""
    background_tolerance: float = 0.01
    """A colour counts as the stated background colour below this difference in every channel."""
    min_background_share: float = 0.3
    """The scene has a uniform background if the stated colour fills more than this share of the pictures."""
    min_history: int = 5
    """Pictures from one camera pose that are needed to estimate its static picture. With fewer, silhouettes cannot be
    computed for that pose."""
    min_history_uniform: int = 3
    """The same for a uniform background. With fewer pictures the static picture is the background colour."""
    max_history: int = 40
    """Pictures of one camera pose from which its static picture is estimated, at most. The time that this takes grows
    with the square."""


@dataclass(frozen=True)
class HullConfig:
    """How visual hulls are carved from silhouettes."""

    silhouettes: SilhouetteConfig = SilhouetteConfig()
    """The silhouettes that carve."""
    min_views: int = 3
    """Cameras that must see an instant, for a hull of that instant alone; and views that must see a cell move. Larger:
    tighter hulls, but fewer scenes have enough cameras."""
    window_frames: int = 5
    """Where cameras are not synchronised: consecutive frames that carve one hull together. More: fewer false cells,
    but motion blurs the hull."""
    window_stride: int = 2
    """Frames from the start of one such window to the start of the next."""
    max_window_length: float = 1.5
    """A window is left out if it lasts longer than this multiple of the usual duration: it has a gap in time."""
    min_cells: int = 12
    """A connected component of a hull with fewer cells is noise."""
    coarse_cells: int = 48
    """Cells along each axis of the coarse hulls that bound all motion."""
    coarse_dilation: int = 3
    """Pixels by which silhouettes are dilated for the coarse hulls."""
    coarse_margin: float = 1.5
    """Coarse cells that are added around the bounding box of all motion."""
    fine_dilation: int = 1
    """Pixels by which silhouettes are dilated for hulls in which parts are searched."""
    dilation_pixels: int = 2
    """Pixels by which silhouettes are dilated for hulls that limit where matter may be rendered. Too few: thin matter
    is lost; more: more empty space is rendered."""
    dilation_cells: int = 2
    """Cells by which the hull of a segment of time is dilated, for motion between the frames."""
    min_agreement: float = 0.75
    """Share of the views in which a cell must be covered to stay in a hull that limits matter. Not 1: a part may look
    like its background in some views, and a thin plate seen from its edge is thinner than a pixel."""
    part_views: int = 80
    """About how many views, spread over the window, carve the hull of one part."""


@dataclass(frozen=True)
class PartsConfig:
    """How moving parts are found in the hulls, and how trajectories are fitted to them. "Scene" as a unit of length is
    the longest side of the scene's bounds."""

    hull_cells: int = 72
    """Cells along each axis of the hulls in which parts are searched."""
    box_hulls: int = 16
    """About how many hulls determine the bounding box of all motion."""
    min_component_share: float = 0.3
    """The number of parts is the largest number of components that this share of the hulls has, at least."""
    min_track_share: float = 1 / 3
    """A part is dropped if fewer than this share of the hulls contain it."""
    match_distance: float = 0.12
    """Distance [scene], colour included, up to which a component is matched to a part's predicted position."""
    cell_distance: float = 0.15
    """Distance [scene], colour included, up to which a cell may belong to a part."""
    color_distance: float = 0.1
    """A colour difference of 1 (black to one pure channel) counts as this distance [scene]."""
    assignment_iterations: int = 3
    """Times that cells are assigned to the nearest part, and the parts moved to their cells."""
    size_quantile: float = 0.97
    """A part reaches as far from its centre as this quantile of its cells."""
    radius_margin: float = 1.1
    """Radius of a part that is not a ball, over how far it reaches."""
    box_margin: float = 1.25
    """Half size of a part's box over the part's radius. Larger: errors of the radius matter less, cells get coarser."""
    sure_agreement: float = 0.9
    """Of the views in which a cell is visible, the share that must show motion for the cell to surely belong to a
    part: first Gaussians stand on these cells' surface."""

    path_smoothness: float = 0.3
    """Weight of the third differences of control points, where a spline is fitted to positions."""
    curvature_weight: float = 1e-3
    """Weight of their second differences: bridges gaps in time."""
    rotation_smoothness: float = 2e-2
    """Weight of the third differences, where a spline is fitted to rotation vectors."""
    bounds_margin: float = 1.5
    """Control points are clipped to the scene's bounds, scaled by this factor about the origin."""

    ray_rounds: int = 4
    """Cameras that are not synchronised: rounds of assigning moving pixels to parts, and of fitting trajectories to the
    rays through them."""
    pixel_reach: float = 1.5
    """A moving pixel may belong to a part up to this many radii from the projection of its centre."""
    max_overlap: float = 0.66
    """A part is not detected in a view if another one is nearer in the picture than this multiple of the sum of both
    reaches."""
    min_detection_pixels: int = 4
    """Pixels that a detection needs."""
    radius_quantile: float = 0.6
    """The radius of a part is this quantile of the radii of its detections, times `radius_margin`, ..."""
    min_radius_ratio: float = 0.8
    """... but not below this multiple of the hull's radius, ..."""
    max_radius_ratio: float = 1.3
    """... and not above this one: pixels of a neighbour must not let a part grow from round to round."""
    ray_jerk_weight: float = 1e-2
    """Weight of the third differences, where trajectories are fitted to rays (distances over depth)."""
    old_position_weight: float = 1e-2
    """Weight of the old control points in that fit: holds the trajectory where no ray says anything."""

    min_third_moment: float = 0.05
    """A part has a tail, which shows how it rotates, if its third moment (0..1) is larger than this, ..."""
    min_elongation: float = 1.15
    """... or a long axis if its first principal axis exceeds the second by this factor; ..."""
    max_direction_error: float = 8.0
    """... and only if the median error [degrees] of predicting the next direction from the last two is below this."""


@dataclass(frozen=True)
class SharedPartsConfig:
    """The parts of several sequences, which have the same shape in all of them."""

    max_views: int = 240
    """Views that carve the hulls, at most, spread over cameras, sequences and times."""
    search_share: float = 0.2
    """Half size of the box in which the hull of a part is searched, as a share of the scene's longest side."""
    search_cells: int = 48
    """Cells along each axis of that box."""
    size_quantile: float = 0.98
    """A part reaches as far from its centre as this quantile of its cells, across the directions of view."""


@dataclass(frozen=True)
class ClusterConfig:
    """Which sequences form one dynamics cluster: as many parts, of similar appearance, that move on one surface of
    poses."""

    frames_per_sequence: int = 12
    """Frames of a sequence in which the appearance of its parts is measured, at most."""
    max_total_frames: int = 480
    """The same for all sequences together, unless this leaves fewer than `min_frames` of each."""
    min_frames: int = 3
    """Frames of a sequence in which the appearance is measured, at least."""
    radius_quantile: float = 0.95
    """A part reaches as far from its centre as this quantile of its moving pixels."""
    max_size_ratio: float = 1.5
    """Parts whose median reach differs by more than this factor look different, if the quartiles do not overlap."""
    max_color_difference: float = 0.15
    """Parts whose median colour differs by more than this in a channel (0..1) look different, if the quartiles do not
    overlap."""
    max_poses: int = 24
    """Times of a sequence that a surface of poses is fitted to, at most."""
    max_surfaces: int = 12
    """Sequences whose surfaces are compared with one another, at most, chosen at random."""
    max_joint_residual: float = 0.2
    """Two surfaces are one if a common surface of no more coordinates leaves at most this share of the motion
    unexplained. Larger: fewer clusters."""
    max_clusters: int = 4
    """With more surfaces than this, all sequences form one cluster."""
    min_sequences: int = 3
    """With fewer sequences than this on one of the surfaces, all sequences form one cluster."""
    manifold: ManifoldConfig = ManifoldConfig()
    """The surfaces of poses."""
    max_coordinates: int = 2
    """With more generalized coordinates than this on one of the surfaces, all sequences form one cluster: each
    sequence may then have its own path on a surface that none of them shows."""


@dataclass(frozen=True)
class ReconstructionConfig:
    """Rigid parts and their trajectories, found in the pictures before training."""

    max_parts: int = 8
    """Moving parts, at most."""
    frames_per_control: float = 2.5
    """Training frames for each control point of a part's trajectory, at least. Larger: smoother trajectories."""
    times_per_control: float = 2.5
    """Training times for each control point, at least: several cameras may see the same time. One sequence only."""
    min_controls: int = 8
    """Control points of a trajectory, at least."""
    max_controls: int = 120
    """Control points of a trajectory, at most."""

    hulls: HullConfig = HullConfig()
    """Silhouettes and visual hulls."""
    parts: PartsConfig = PartsConfig()
    """Parts and their trajectories."""
    spheres: SphereConfig = SphereConfig()
    """Parts that are balls."""
    identities: IdentityConfig = IdentityConfig()
    """Balls whose tracks were swapped."""
    rotations: RotationConfig = RotationConfig()
    """How balls rotate."""
    shadows: ShadowConfig = ShadowConfig()
    """The light, from the shadows of the parts (Gaussians only)."""
    shared_parts: SharedPartsConfig = SharedPartsConfig()
    """Parts of several sequences."""
    clusters: ClusterConfig = ClusterConfig()
    """Dynamics clusters of several sequences."""

    def num_controls(self, count: float) -> int:
        """Control points of a trajectory that data allow `count` of."""
        return max(self.min_controls, min(self.max_controls, round(count)))
