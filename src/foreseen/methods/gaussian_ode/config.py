"""Settings of Gaussian ODE, one dataclass a design."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from foreseen.methods.gaussian_cloud.config import FAST_PLANES, CloudConfig, PlanesConfig
from foreseen.methods.laws.config import LawConfig
from foreseen.methods.moving_parts.config import RIDING, MovingPartsConfig


@dataclass(frozen=True)
class PartsConfig(MovingPartsConfig):
    """Gaussians ride with rigid parts, which are found from silhouettes."""

    one: LawConfig = field(default_factory=lambda: replace(MovingPartsConfig().one, law_at=(0.85,)))
    """The law, which is fitted once: the parts' trajectories rest from then on."""
    cloud: CloudConfig = RIDING
    """The Gaussians and how they are optimised."""
    empty_weight: float = 1e-2
    """Weight of the opacity before the plain background."""
    times_per_control: float = 1.25
    """Training times for each control point of a part's trajectory, where several cameras see each."""
    jerk_weight: float = 0.05
    """Weight of the trajectories' squared third differences."""


@dataclass(frozen=True)
class LatentConfig(PlanesConfig):
    """A cloud that planes over space and time displace within the window, and a law on the few numbers that tell its
    displacements."""

    law: LawConfig = LawConfig(widths=(32,), finer=2, law_at=(0.75, 1.0))
    """The law of motion on them."""
    components: int = 16
    """Principal components of the displacements at most; the law takes fewer where fewer tell them."""
    most_controls: int = 48
    """Control points of the smooth paths that the law is fitted to, at most."""
    frames_per_control: float = 2.5
    """Times of the window for each of them."""
    frames_per_node: float = 2.0
    """Times of the window for each node of the planes along time, where that makes more than `time_nodes`."""
    fade: float = 0.1
    """What the components leave out of the last displacements fades by a factor e in this share of a window."""


def _latent(base: PlanesConfig, **changes: Any) -> LatentConfig:
    return LatentConfig(**{f.name: getattr(base, f.name) for f in fields(base)}, **changes)


PRESETS: dict[str, Any] = {"fast": PartsConfig(), "latent": _latent(FAST_PLANES)}
