"""Settings that all methods with a packed radiance field share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PackedFieldConfig:
    """Packed samples: only what lies in occupied cells is evaluated, so the number of rays varies from step to step."""

    initial_samples_per_ray: float = 100.0
    """Samples a ray that are assumed before the first step. A larger value starts with fewer rays."""
    samples_per_ray_momentum: float = 0.1
    """Weight of the newest step in the moving average of samples a ray, 0..1. Larger values adapt faster."""
    min_rays_share: float = 0.125
    """A step has at least this share of the largest number of rays, however many samples they take."""
    background_tolerance: float = 0.01
    """A pixel shows the stated background where no channel differs from it by more than this (colours are 0..1).
    A larger value penalises opacity along more rays."""
    tv_every: int = 4
    """Steps between evaluations of the voxels' total variation, whose weight is multiplied by as many. It costs as much
    as thousands of rays; larger values are faster and noisier."""
    early_refresh_steps: int = 256
    """Steps at the start in which occupancy refreshes visit more cells."""
    early_refresh_factor: int = 4
    """How many times as many cells they visit then."""
    occupancy_decay: float = 0.8
    """A refresh keeps the larger of the new density and this share of the cached one, 0..1. Larger values forget
    slower: fewer cells are emptied by mistake, more samples are wasted."""

    def refresh_factor(self, step: int) -> int:
        """Factor on the share of cells that a refresh at `step` visits."""
        return self.early_refresh_factor if step <= self.early_refresh_steps else 1
