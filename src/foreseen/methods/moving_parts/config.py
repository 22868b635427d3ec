"""Settings of parts that are found and followed."""

from __future__ import annotations

from dataclasses import dataclass, field

from foreseen.methods.gaussian_cloud.config import CloudConfig
from foreseen.methods.laws.config import LawConfig

RIDING = CloudConfig(
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
class MovingPartsConfig:
    """Of the parts of one sequence, their trajectories and the law that these bear."""

    most_parts: int = 8
    """At most so many moving parts."""
    frames_per_control: float = 2.5
    """Training frames for each control point of a part's trajectory, ..."""
    times_per_control: float = 2.5
    """... and times, of which several cameras may each see all."""
    most_controls: int = 120
    """Control points of a trajectory at most."""
    cells: int = 64
    """Cells along each axis of the grids of what may be where (of voxels: occupancy grids)."""

    one: LawConfig = field(
        default_factory=lambda: LawConfig(widths=(32,), finer=2, lengths=(0.4,), rounds=10, law_at=(0.5, 0.95))
    )
    """The law where the data set has one training sequence."""

    centre_lr: float = 1e-3
    """Learning rate of the trajectories, in radii of the part."""
    turn_lr: float = 1e-3
    """Learning rate of the rotations [rad]."""
    lr_decay: float = 0.05
    """Learning rates at the end of the budget as a share of the first."""
    jerk_weight: float = 1e-3
    """Weight of the trajectories' squared third differences."""
    turning_weight: float = 1e-3
    """Weight of the rotations' squared first differences."""
