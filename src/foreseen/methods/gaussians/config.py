"""Settings of Gaussian splatting of a static scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foreseen.splatting.config import CloudConfig


@dataclass(frozen=True)
class GaussiansConfig:
    """A cloud of Gaussians, and nothing else."""

    cloud: CloudConfig = CloudConfig()
    """The Gaussians and how they are optimised."""
    default_steps: int | None = None
    """Training steps where no other budget is given; None: ten minutes."""


FAST = CloudConfig(
    budget=30_000,
    degree=2,
    start_points=5000,
    strategy="mcmc",
    start_opacity=0.5,
    start_scale=0.5,
    refine_every=50,
    refine_from=200,
    refine_until=0.7,
    noise=2e5,
    opacity_weight=0.01,
    scale_weight=0.01,
    means_lr=4e-4,
    means_lr_final=4e-6,
    color_lr=5e-3,
    harmonics_lr=2.5e-4,
    rates_final=0.1,
)

PRESETS: dict[str, Any] = {
    "fast": GaussiansConfig(FAST),
    "paper": GaussiansConfig(CloudConfig(start_points=100_000), default_steps=30_000),
}
