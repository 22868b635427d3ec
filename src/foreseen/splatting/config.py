"""Settings of a cloud of Gaussians and of how it is optimised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from foreseen.reconstruction.config import HullConfig


@dataclass(frozen=True)
class CloudConfig:
    """The defaults are the published ones (Kerbl et al. 2023). Rates of means, and sizes, are shares of the scene's
    size: half the longest side of its bounds."""

    budget: int = 200_000
    """Most Gaussians there may be; memory is taken for so many from the start."""
    degree: Literal[0, 1, 2, 3] = 3
    """Of the spherical harmonics of the colours."""
    degree_steps: int = 1000
    """Steps until the harmonics' next degree joins, ..."""
    degree_share: float = 0.1
    """... or this share of the training, whichever comes first."""
    antialiased: bool = False
    """A Gaussian that is thinner than a pixel loses opacity for being drawn a pixel wide (Yu et al. 2024)."""

    start: Literal["auto", "silhouettes", "random"] = "auto"
    """Where the first Gaussians stand: on the surface of what silhouettes before a plain background leave, or at
    random within the scene's bounds. auto: silhouettes where they tell something."""
    points: str = ""
    """A PLY file of points, perhaps coloured (red, green, blue), to start from instead."""
    start_points: int = 10_000
    """First Gaussians, at most."""
    hulls: HullConfig = HullConfig()
    """Silhouettes, and the visual hulls on whose surface the first Gaussians stand."""
    start_opacity: float = 0.1
    """Opacity of the first Gaussians."""
    start_scale: float = 1.0
    """Their size, as a multiple of the mean distance to the three nearest others."""

    strategy: Literal["adaptive", "mcmc"] = "adaptive"
    """How Gaussians come and go. adaptive: clone, split and prune by the gradient on the screen (Kerbl et al. 2023).
    mcmc: transparent ones are moved onto opaque ones, more are added up to the budget, means are shaken (Kheradmand et
    al. 2024)."""
    refine_every: int = 100
    """Steps between changes of the cloud."""
    refine_from: int = 500
    """Steps before the first change, ..."""
    refine_from_share: float = 0.1
    """... or this share of the training, whichever comes first."""
    refine_until: float = 0.5
    """Share of the training after which the cloud keeps its Gaussians."""
    grow_gradient: float = 2e-4
    """adaptive: a Gaussian is cloned or split where its centre's mean gradient on the screen is larger."""
    split_size: float = 0.01
    """adaptive: Gaussians larger than this are split, smaller ones cloned."""
    prune_opacity: float = 0.005
    """Gaussians of less opacity are removed (mcmc: moved)."""
    prune_size: float = 0.1
    """adaptive: larger Gaussians are removed once opacities were reset."""
    reset_every: int = 3000
    """adaptive: steps between resets of all opacities to twice `prune_opacity`; 0 for never."""
    growth: float = 1.05
    """mcmc: factor by which the number of Gaussians grows with each change."""
    noise: float = 5e5
    """mcmc: how much means are shaken, as a multiple of their learning rate."""

    ssim_weight: float = 0.2
    """Share of 1 - SSIM in the loss; the rest is the mean absolute difference."""
    opacity_weight: float = 0.0
    """Weight of the mean opacity."""
    scale_weight: float = 0.0
    """Weight of the mean scale."""

    means_lr: float = 1.6e-4
    """Learning rate of the means at the start."""
    means_lr_final: float = 1.6e-6
    """At the end of the training; it falls exponentially."""
    color_lr: float = 2.5e-3
    """Learning rate of the colours' constant part."""
    harmonics_lr: float = 1.25e-4
    """Learning rate of the colours' other harmonics."""
    opacity_lr: float = 5e-2
    """Learning rate of the opacities' logits."""
    scale_lr: float = 5e-3
    """Learning rate of the scales' logarithms."""
    rotation_lr: float = 1e-3
    """Learning rate of the quaternions."""
    rates_final: float = 1.0
    """What is left at the end of the training of the rates above, save that of the means."""

    @property
    def max_initial_points(self) -> int:
        """First Gaussians, as many as there is room for."""
        return min(self.start_points, self.budget)


@dataclass(frozen=True)
class WarmUp:
    """How what moves is found."""

    steps: int = 3000
    """Steps before anything is displaced, ..."""
    share: float = 0.1
    """... or this share of the training, whichever comes first."""
    guidance_share: float = 0.0
    """Share of the training in which visual hulls lead the Gaussians along, where silhouettes tell; 0 as published."""
    guidance_weight: float = 10.0
    """Weight of the squared distance from the hull, in half sizes of the scene; it fades."""
    hull_only_steps: int = 1500
    """For so many first steps there are hulls and no pictures, ..."""
    hull_only_share: float = 0.08
    """... or for this share of the training, whichever is over first."""


@dataclass(frozen=True)
class PlanesConfig:
    """A canonical cloud, and planes over space and time with heads that displace it. The defaults are published (Wu et
    al. 2024)."""

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

    tv_weight: float = 1e-4
    """Weight of the planes' total variation in space."""
    jerk_weight: float = 0.01
    """Weight of second differences along time."""
    identity_weight: float = 1e-4
    """Weight of how far the planes with time are from 1, at which they change nothing."""


FAST_PLANES = PlanesConfig(
    CloudConfig(
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
        harmonics_lr=2.5e-4,
        rates_final=0.1,
    ),
    default_steps=None,
    nodes=32,
    channels=16,
    warm_up=WarmUp(steps=500, guidance_share=0.35, hull_only_share=0.1),
    planes_lr=1e-2,
    planes_lr_final=1e-4,
    network_lr=2e-3,
    network_lr_final=2e-5,
)
"""For a laptop; 4d-gaussians' README.md says where it departs from the published ones."""
