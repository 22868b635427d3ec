"""Settings of D-NeRF, one dataclass a preset's kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class PaperConfig:
    """The paper's shapes and schedule. README.md says where each number comes from."""

    default_steps: int = 800_000
    """Training steps where no other budget is given."""

    width: int = 256
    """Width of the layers of both networks."""
    layers: int = 8
    """Hidden layers of the deformation network, and of the canonical network's trunk."""
    skip: int = 4
    """Index of the layer after which the encoded input joins again, in both networks."""
    position_levels: int = 10
    """Octaves of the position's encoding, in both networks."""
    time_levels: int = 4
    """Octaves of the time's encoding (the paper's text; the authors' code has 10)."""
    direction_levels: int = 4
    """Octaves of the view direction's encoding."""
    density: Literal["softplus", "relu"] = "softplus"
    """What makes the density positive. The authors' relu can empty the whole field in the first steps, and
    training never comes back from that."""

    rays: int = 500
    """Rays a step, all of one picture."""
    samples: int = 64
    """Samples a ray that are spread evenly."""
    importance_samples: int = 128
    """Samples a ray that are added where the field is dense."""
    centre_crop_steps: int = 500
    """For so many first steps rays come from the middle of the picture."""
    curriculum_steps: int = 10_000
    """So many steps pass until the last training time has joined; earlier ones come first."""
    curriculum_start: int = 3
    """Training times that are there from the first step."""
    opening_share: float = 0.1
    """Neither the crop nor the curriculum outlasts this share of the budget: a short run sees every time."""

    lr: float = 5e-4
    """Learning rate at the start."""
    lr_final: float = 5e-5
    """Learning rate at the end of the budget; it falls exponentially."""


PRESETS: dict[str, Any] = {"paper": PaperConfig()}
