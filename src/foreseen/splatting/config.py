"""Settings of a cloud of Gaussians and of how it is optimised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from foreseen.reconstruction.config import HullConfig


@dataclass(frozen=True)
class InitializationConfig:
    """How the first Gaussians are placed on visual hulls and coloured."""

    hulls: HullConfig = HullConfig()
    """Silhouettes and visual hulls."""
    hull_resolution: int = 64
    """Cells along each axis of the grids that silhouettes are carved from. More cells give finer surfaces and take
    longer."""
    min_points: int = 100
    """A hull whose surface has fewer cells is ignored, and points are random. Larger values ignore larger objects."""
    candidate_times: int = 16
    """Times at most that are compared to find one at which much is visible. More take longer."""
    candidate_quantile: float = 0.75
    """The chosen time is at this quantile of the hull's size, 0..1. The largest hull (1) may be a badly carved one."""
    color_views: int = 24
    """A point's first colour is the median over this many views at most. More are slower and less noisy."""
    default_color: float = 0.5
    """Grey level, 0..1, of points that no view shows."""
    neighbours: int = 3
    """A first scale is the root mean square distance to this many nearest points. More make larger Gaussians."""
    max_scale_ratio: float = 4.0
    """No first scale is larger than this multiple of the median one."""


@dataclass(frozen=True)
class CloudConfig:
    """The defaults are the published ones (Kerbl et al. 2023). Learning rates of means, and sizes, are shares of the
    scene's size: half the longest side of its bounds."""

    budget: int = 200_000
    """Largest number of Gaussians; memory for as many is allocated at the start."""
    degree: Literal[0, 1, 2, 3] = 3
    """Degree of the spherical harmonics of the colours."""
    degree_steps: int = 1000
    """Steps until the next degree of the harmonics is used, ..."""
    degree_share: float = 0.1
    """... or this share of the training, whichever comes first."""
    antialiased: bool = False
    """A Gaussian that is thinner than a pixel loses opacity for being drawn a pixel wide (Yu et al. 2024)."""

    start: Literal["auto", "silhouettes", "random"] = "auto"
    """Where the first Gaussians are: on the surface of the visual hull, which needs silhouettes, or at random within
    the scene's bounds. auto: on the hull where there are silhouettes."""
    points: str = ""
    """A PLY file of points, with or without colours (red, green, blue), to start from instead."""
    start_points: int = 10_000
    """Largest number of first Gaussians."""
    start_opacity: float = 0.1
    """Opacity of the first Gaussians."""
    start_scale: float = 1.0
    """Their scale, as a multiple of the distance to the nearest others."""
    initialization: InitializationConfig = InitializationConfig()
    """How they are placed on visual hulls and coloured."""

    strategy: Literal["adaptive", "mcmc"] = "adaptive"
    """Densification. adaptive: clone, split and prune by the gradient of means2d (Kerbl et al. 2023). mcmc: transparent
    Gaussians are moved onto opaque ones, more are added up to the budget, and noise is added to the means (Kheradmand
    et al. 2024)."""
    refine_every: int = 100
    """Steps between densifications."""
    refine_from: int = 500
    """Steps before the first densification, ..."""
    refine_from_share: float = 0.1
    """... or this share of the training, whichever comes first."""
    refine_until: float = 0.5
    """Share of the training after which no Gaussian is added or removed."""
    grow_gradient: float = 2e-4
    """adaptive: a Gaussian is cloned or split where the mean gradient of its means2d is larger, in units of half the
    picture. Larger values add fewer Gaussians."""
    split_size: float = 0.01
    """adaptive: Gaussians larger than this are split, smaller ones cloned."""
    split_shrink: float = 1.6
    """adaptive: both results of a split are smaller by this factor (Kerbl et al. 2023, section 5.2)."""
    prune_opacity: float = 0.005
    """Gaussians of less opacity are removed (mcmc: moved)."""
    prune_size: float = 0.1
    """adaptive: larger Gaussians are removed once opacities were reset."""
    reset_every: int = 3000
    """adaptive: steps between resets of all opacities to at most twice `prune_opacity`; 0 for never."""
    growth: float = 1.05
    """mcmc: factor on the number of Gaussians at each densification."""
    max_copies: int = 51
    """mcmc: Gaussians at most that share the opacity of one (Kheradmand et al. 2024)."""
    noise: float = 5e5
    """mcmc: size of the noise on means, as a multiple of their learning rate."""
    noise_opacity: float = 0.005
    """mcmc: Gaussians of less opacity get most of the noise."""
    noise_sharpness: float = 100.0
    """mcmc: how sharply the noise falls around `noise_opacity`, per unit of opacity."""

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
    """Learning rate of the colours' constant harmonic."""
    harmonics_lr: float = 1.25e-4
    """Learning rate of the other harmonics."""
    opacity_lr: float = 5e-2
    """Learning rate of the opacities' logits."""
    scale_lr: float = 5e-3
    """Learning rate of the scales' logarithms."""
    rotation_lr: float = 1e-3
    """Learning rate of the quaternions."""
    rates_final: float = 1.0
    """Share of the learning rates above that is left at the end of the training, except that of the means."""

    @property
    def max_initial_points(self) -> int:
        """Largest number of first Gaussians that the budget allows."""
        return min(self.start_points, self.budget)


@dataclass(frozen=True)
class LayerConfig:
    """Which Gaussians of a deformed cloud count as dynamic. This decides what the viewer shows as a layer, and nothing
    of the training."""

    samples: int = 9
    """Even times of the training window at which means are compared."""
    min_distance: float = 0.02
    """A Gaussian is static whose means stay within a box of this diagonal, as a share of the scene's half size, ..."""
    min_share: float = 0.15
    """... or within this share of the largest diagonal: networks displace everything a little."""
    largest_quantile: float = 0.99
    """Quantile of the diagonals that counts as the largest one, 0..1; 1 would follow single outliers."""


@dataclass(frozen=True)
class WarmUpConfig:
    """How a deformation starts to learn."""

    steps: int = 3000
    """Steps before the deformation is used, ..."""
    share: float = 0.1
    """... or this share of the training, whichever comes first."""
    guidance_share: float = 0.0
    """Share of the training in which visual hulls attract the Gaussians, if there are silhouettes; 0 as published."""
    guidance_weight: float = 10.0
    """Weight of the squared distance from the hull, in half sizes of the scene; it falls to 0 linearly."""
    hull_only_steps: int = 1500
    """First steps that use hulls and no pictures, ..."""
    hull_only_share: float = 0.08
    """... or this share of the training, whichever is over first."""
    guidance_times: int = 64
    """Times at most whose hulls are kept. More follow fast motion better and take memory."""
    guidance_points: int = 512
    """Points that are kept of each hull, and Gaussians that each step compares with them. The cost grows with the
    square."""
    guidance_color_scale: float = 0.5
    """A colour difference of 1 counts as this distance, in half sizes of the scene: Gaussians go to points of their own
    colour. 0 ignores colours."""
    layers: LayerConfig = LayerConfig()
    """Which Gaussians count as dynamic."""


@dataclass(frozen=True)
class PlanesConfig:
    """A canonical cloud, and feature planes over space and time with heads that displace it. The defaults are published
    (Wu et al. 2024)."""

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
    initial_features: tuple[float, float] = (0.1, 0.5)
    """Range of the uniform random features at the start, for planes of space; planes with time start at 1."""
    initial_output_scale: float = 0.01
    """Factor on the heads' last weights at the start. Smaller values start closer to no displacement."""

    warm_up: WarmUpConfig = WarmUpConfig(steps=3000, share=0.13)
    """How the deformation starts to learn."""

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
    """Weight of the mean distance of the planes with time from 1, at which they have no effect."""


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
    warm_up=WarmUpConfig(steps=500, guidance_share=0.35, hull_only_share=0.1),
    planes_lr=1e-2,
    planes_lr_final=1e-4,
    network_lr=2e-3,
    network_lr_final=2e-5,
)
"""For a laptop; 4d-gaussians' README.md says where it departs from the published ones."""
