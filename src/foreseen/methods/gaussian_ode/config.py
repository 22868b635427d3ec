"""Settings of Gaussian ODE."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from foreseen.dynamics.config import DynamicsConfig
from foreseen.splatting.config import FAST_PLANES, PlanesConfig


@dataclass(frozen=True)
class LatentGaussianODEConfig(PlanesConfig):
    """A cloud that planes over space and time displace within the window, and a law on the few numbers that tell its
    displacements."""

    dynamics: DynamicsConfig = DynamicsConfig(widths=(32,), steps_per_interval=2, fit_at=(0.75, 1.0))
    """The law of motion on them."""
    components: int = 16
    """Principal components of the displacements at most; the law takes fewer where fewer tell them."""
    max_controls: int = 48
    """Control points of the smooth paths that the law is fitted to, at most."""
    frames_per_control: float = 2.5
    """Times of the window for each of them."""
    frames_per_node: float = 2.0
    """Times of the window for each node of the planes along time, where that makes more than `time_nodes`."""
    fade: float = 0.1
    """What the components leave out of the last displacements fades by a factor e in this share of a window."""


def _latent(base: PlanesConfig, **changes: Any) -> LatentGaussianODEConfig:
    return LatentGaussianODEConfig(**{f.name: getattr(base, f.name) for f in fields(base)}, **changes)


PRESETS: dict[str, Any] = {"fast": _latent(FAST_PLANES)}
