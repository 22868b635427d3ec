"""Settings of Gaussian ODE."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from foreseen.methods.gaussian_cloud.config import CloudConfig
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


PRESETS: dict[str, Any] = {"fast": PartsConfig()}
