"""Settings of 4D Gaussians. README.md says where each published number comes from."""

from __future__ import annotations

from typing import Any

from foreseen.splatting.config import FAST_PLANES, PlanesConfig

PRESETS: dict[str, Any] = {"fast": FAST_PLANES, "paper": PlanesConfig()}
