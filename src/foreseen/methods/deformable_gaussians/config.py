"""Settings of deformable Gaussians. README.md says where each published number comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foreseen.splatting.config import CloudConfig, WarmUpConfig


@dataclass(frozen=True)
class DeformableGaussiansConfig:
    """The canonical cloud, and the network that displaces it."""

    cloud: CloudConfig = CloudConfig(start_points=100_000, scale_lr=1e-3)
    """The Gaussians and how they are optimised."""
    default_steps: int | None = 40_000
    """Training steps where no other budget is given; None: ten minutes."""

    width: int = 256
    """Units of the network's layers."""
    layers: int = 8
    """Its hidden layers."""
    skip: int | None = 4
    """Index of the layer after which the encoded input joins again."""
    position_levels: int = 10
    """Octaves of the position's encoding."""
    time_levels: int = 6
    """Octaves of the time's encoding."""
    time_features: int = 30
    """Outputs of a small network on the encoded time, before it joins the position; 0: no such network."""
    time_width: int = 256
    """Units of that small network."""
    initial_output_scale: float = 0.01
    """Factor on the last weights at the start. Smaller values start closer to no displacement."""
    max_log_scale_change: float = 3.0
    """Scales change by factors of up to e to this power."""

    warm_up: WarmUpConfig = WarmUpConfig(steps=3000, share=0.08)
    """How the deformation starts to learn."""
    time_noise: float = 0.1
    """Standard deviation of the noise on times at the start of training, in steps between training times. It makes
    motion smoother where camera poses are not exact."""
    time_noise_share: float = 0.5
    """Share of the training after which there is no such noise; it falls linearly."""

    lr: float = 8e-4
    """Learning rate of the network at the start."""
    lr_final: float = 1.6e-6
    """At the end of the training; it falls exponentially."""


FAST = CloudConfig(
    budget=6000,
    degree=1,
    start_points=4000,
    start_opacity=0.5,
    refine_from=3000,
    refine_from_share=0.25,
    refine_until=0.7,
    reset_every=0,
    means_lr=3e-4,
    means_lr_final=3e-6,
    color_lr=5e-3,
    harmonics_lr=2.5e-4,
    opacity_lr=1e-2,
    rates_final=0.1,
)

PRESETS: dict[str, Any] = {
    "fast": DeformableGaussiansConfig(
        FAST,
        default_steps=None,
        width=128,
        layers=4,
        skip=None,
        position_levels=3,
        time_levels=4,
        time_features=0,
        warm_up=WarmUpConfig(steps=500, guidance_share=0.35, hull_only_steps=4000, hull_only_share=0.2),
        time_noise=0.0,
        lr=2e-3,
        lr_final=2e-5,
    ),
    "paper": DeformableGaussiansConfig(),
}
