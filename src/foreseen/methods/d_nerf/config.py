"""Settings of D-NeRF: one dataclass for each preset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from foreseen.fields.config import PackedFieldConfig
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
    """Activation of the density. The authors' relu can empty the whole field in the first steps; it then has no
    gradient, and training does not recover."""

    rays: int = 500
    """Rays a step, all of one picture."""
    samples: int = 64
    """Evenly spaced samples a ray."""
    importance_samples: int = 128
    """Further samples a ray where the field is dense."""
    recompute: bool = True
    """Run the networks again in the backward pass instead of keeping the activations: less memory, more time.
    Turn it off on a GPU."""
    centre_crop_steps: int = 500
    """First steps in which rays come from the central half of the picture."""
    curriculum_steps: int = 10_000
    """Steps until all training times are used; earlier times come first."""
    curriculum_start: int = 3
    """Training times that are used from the first step."""
    max_warm_up_share: float = 0.1
    """The crop and the curriculum end after this share of the budget at the latest, so that a short run sees every
    time."""

    lr: float = 5e-4
    """Learning rate at the start."""
    lr_final: float = 5e-5
    """Learning rate at the end of the budget; it falls exponentially."""


@dataclass(frozen=True)
class DNeRFFastConfig:
    """The same idea with voxels as the canonical field and packed rendering."""

    rays: int = 4096
    """Rays a step at most, from all training frames."""
    samples: int = 65_536
    """Samples of a step; the number of rays follows from it."""
    foreground: float = 0.7
    """Share of the rays that is drawn from foreground pixels, where something is visible or moves."""

    levels: tuple[int, ...] = (32, 96)
    """Voxels along each axis of the canonical field, one entry a level."""
    initial_thickness: float = 0.02
    """Optical thickness between two neighbouring untrained voxels. Larger values start more opaque."""
    width: int = 64
    """Hidden units of the deformation network."""
    deformation_layers: int = 3
    """Hidden layers of the deformation network."""
    position_levels: int = 5
    """Octaves of the position's encoding, for the deformation."""
    time_levels: int = 4
    """Octaves of the time's encoding."""
    initial_output_scale: float = 0.01
    """Factor on the deformation network's last weights at the start. Smaller values start closer to no displacement."""
    ray_steps: int = 160
    """Steps of a ray across the scene."""
    grid_resolution: int = 48
    """Cells along each axis of an occupancy grid."""
    time_boxes: int = 16
    """Occupancy grids along the observed window."""
    refresh_every: int = 16
    """Steps between refreshes of the occupancy grids."""
    refresh_after: int = 32
    """Steps before the first refresh. An untrained field would look empty everywhere."""
    refresh_share: float = 0.03
    """Share of all cells that a refresh visits; more at the start, see `packed`."""
    empty_alpha: float = 0.002
    """A cell counts as empty where one step through it has less opacity. Larger values skip more and lose thin
    matter."""
    hulls: HullConfig = HullConfig()
    """Silhouettes, and the visual hulls outside of which occupancy grids are empty from the start."""
    packed: PackedFieldConfig = PackedFieldConfig()
    """Number of rays, occupancy refreshes, total variation: what packed fields share."""

    voxel_lr: float = 2e-2
    """Learning rate of the voxels."""
    network_lr: float = 1e-3
    """Learning rate of the deformation network."""
    lr_decay: float = 0.05
    """Learning rates at the end of the budget as a share of the first."""
    background_opacity_weight: float = 1e-2
    """Weight of the opacity along rays that saw the stated background."""
    tv_weight: float = 4.0
    """Weight of the voxels' total variation at the start."""
    tv_weight_decay: float = 0.05
    """Share of that weight at the end of the budget."""


PRESETS: dict[str, Any] = {"fast": DNeRFFastConfig(), "paper": DNeRFPaperConfig()}
