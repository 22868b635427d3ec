"""Settings of gaussian-ode."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from foreseen.dynamics.config import DynamicsConfig
from foreseen.splatting.config import FAST_PLANES, PlanesConfig


@dataclass(frozen=True)
class GaussianODEConfig(PlanesConfig):
    """A cloud that feature planes displace inside the observed window, and dynamics of the principal components of its
    displacements."""

    dynamics: DynamicsConfig = DynamicsConfig(widths=(32,), steps_per_interval=2, fit_at=(0.75, 1.0))
    """Dynamics of the components' coefficients."""
    components: int = 16
    """Principal components of the displacements at most. The dynamics use fewer where fewer explain the motion."""
    min_controls: int = 8
    """Control points of the smooth trajectories that the dynamics are fitted to, at least, ..."""
    max_controls: int = 48
    """... and at most. More follow faster motion, and noise."""
    frames_per_control: float = 2.5
    """Training times for each of them."""
    samples_per_control: int = 3
    """Even times of the window at which displacements are sampled, for each control point. More take longer."""
    frames_per_node: float = 2.0
    """Training times for each node of the planes along time, where that makes more than `time_nodes`."""
    fade: float = 0.1
    """What the components leave out of the last observed displacements falls by a factor e in this share of a window.
    Larger values keep it longer."""


def _from_planes(base: PlanesConfig, **changes: Any) -> GaussianODEConfig:
    return GaussianODEConfig(**{f.name: getattr(base, f.name) for f in fields(base)}, **changes)


PRESETS: dict[str, Any] = {"fast": _from_planes(FAST_PLANES)}
