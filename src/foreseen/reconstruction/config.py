"""Settings of what is told from pictures before training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrackingConfig:
    """Of rigid parts and their trajectories."""

    max_parts: int = 8
    """At most so many moving parts."""
    frames_per_control: float = 2.5
    """Training frames for each control point of a part's trajectory, ..."""
    times_per_control: float = 2.5
    """... and times, of which several cameras may each see all."""
    max_controls: int = 120
    """Control points of a trajectory at most."""
    grid_resolution: int = 64
    """Cells along each axis of the grids of what may be where (of voxels: occupancy grids)."""
