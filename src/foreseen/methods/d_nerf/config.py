"""Settings of D-NeRF, one dataclass a preset's kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from foreseen.reconstruction.config import HullConfig


@dataclass(frozen=True)
class DNeRFPaperConfig:
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
    recompute: bool = True
    """Run the networks again in the backward pass instead of keeping what each layer said: less memory, more time.
    Turn it off on a GPU."""
    centre_crop_steps: int = 500
    """For so many first steps rays come from the middle of the picture."""
    curriculum_steps: int = 10_000
    """So many steps pass until the last training time has joined; earlier ones come first."""
    curriculum_start: int = 3
    """Training times that are there from the first step."""
    max_warm_up_share: float = 0.1
    """Neither the crop nor the curriculum outlasts this share of the budget: a short run sees every time."""

    lr: float = 5e-4
    """Learning rate at the start."""
    lr_final: float = 5e-5
    """Learning rate at the end of the budget; it falls exponentially."""


@dataclass(frozen=True)
class DNeRFFastConfig:
    """The same idea on a compact canonical field, with the parts of the other fast presets."""

    rays: int = 4096
    """Rays a step at most, from all training frames."""
    samples: int = 65_536
    """Samples a step is to have; the number of rays follows from it."""
    foreground: float = 0.7
    """Share of the rays that is drawn where something is seen or moves."""

    levels: tuple[int, ...] = (32, 96)
    """Voxels along each axis of the canonical field, one entry a level."""
    initial_thickness: float = 0.02
    """Thickness of the space between two untrained voxels."""
    width: int = 64
    """Hidden units of the deformation network."""
    deformation_layers: int = 3
    """Hidden layers of the deformation network."""
    position_levels: int = 5
    """Octaves of the position's encoding, for the deformation."""
    time_levels: int = 4
    """Octaves of the time's encoding."""
    ray_steps: int = 160
    """Steps of a ray across the scene."""
    grid_resolution: int = 48
    """Cells along each axis of an occupancy grid."""
    time_boxes: int = 16
    """Occupancy grids along the observed window."""
    hulls: HullConfig = HullConfig()
    """Silhouettes, and the visual hulls outside of which occupancy grids are empty from the start."""
    refresh_every: int = 16
    """Steps between refreshes of the occupancy grids."""
    refresh_after: int = 32
    """Steps before the first refresh: a field that has learned nothing yet looks empty everywhere."""
    refresh_share: float = 0.03
    """Share of all cells that a refresh looks at; four times as many in the first 256 steps."""

    voxel_lr: float = 2e-2
    """Learning rate of the voxels."""
    network_lr: float = 1e-3
    """Learning rate of the deformation network."""
    lr_decay: float = 0.05
    """Learning rates at the end of the budget as a share of the first."""
    background_opacity_weight: float = 1e-2
    """Weight of the opacity along rays that saw the plain background."""
    tv_weight: float = 4.0
    """Weight of neighbouring voxels' squared differences, at the start."""
    tv_weight_decay: float = 0.05
    """Its share of that at the end of the budget."""


PRESETS: dict[str, Any] = {"fast": DNeRFFastConfig(), "paper": DNeRFPaperConfig()}
