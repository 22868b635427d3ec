"""Settings of 4D Gaussians. README.md says where each published number comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foreseen.methods.gaussian_cloud.config import CloudConfig, WarmUp


@dataclass(frozen=True)
class Gaussians4DConfig:
    """The canonical cloud, and the planes and heads that displace it."""

    cloud: CloudConfig = CloudConfig(start_points=2000, ssim_weight=0.0)
    """The Gaussians and how they are optimised."""
    default_steps: int | None = 23_000
    """Training steps where no other budget is given; None: ten minutes."""

    nodes: int = 64
    """Nodes of the coarsest planes along each axis of space."""
    time_nodes: int = 25
    """Their nodes along time; finer planes have as many."""
    scales: tuple[int, ...] = (1, 2)
    """Factors on `nodes`, one a scale."""
    channels: int = 32
    """Features of a plane."""
    width: int = 64
    """Units of the network's layers."""

    warm_up: WarmUp = WarmUp(steps=3000, share=0.13)
    """How what moves is found."""

    planes_lr: float = 1.6e-3
    """Learning rate of the planes at the start."""
    planes_lr_final: float = 1.6e-5
    """At the end of the training; it falls exponentially."""
    network_lr: float = 1.6e-4
    """Learning rate of the network at the start."""
    network_lr_final: float = 1.6e-6
    """At the end of the training."""

    rough_weight: float = 1e-4
    """Weight of the planes' total variation in space."""
    jerk_weight: float = 0.01
    """Weight of second differences along time."""
    rest_weight: float = 1e-4
    """Weight of how far the planes with time are from 1, at which they change nothing."""


FAST = CloudConfig(
    budget=8000,
    degree=1,
    start_points=4000,
    start_opacity=0.5,
    refine_from=2000,
    refine_from_share=0.15,
    refine_until=0.7,
    reset_every=0,
    means_lr=3e-4,
    means_lr_final=3e-6,
    color_lr=5e-3,
    rates_final=0.1,
)

PRESETS: dict[str, Any] = {
    "fast": Gaussians4DConfig(
        FAST,
        default_steps=None,
        nodes=32,
        channels=16,
        warm_up=WarmUp(steps=500, guide_share=0.35, hulls_share=0.1),
        planes_lr=1e-2,
        planes_lr_final=1e-4,
        network_lr=2e-3,
        network_lr_final=2e-5,
    ),
    "paper": Gaussians4DConfig(),
}
