"""Settings of Gaussian ODE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foreseen.methods.gaussian_cloud.config import CloudConfig
from foreseen.methods.moving_parts.config import RIDING, MovingPartsConfig


@dataclass(frozen=True)
class PartsConfig(MovingPartsConfig):
    """Gaussians ride with rigid parts, which are found from silhouettes."""

    cloud: CloudConfig = RIDING
    """The Gaussians and how they are optimised."""
    empty_weight: float = 1e-2
    """Weight of the opacity before the plain background."""


PRESETS: dict[str, Any] = {"fast": PartsConfig()}
