"""Appearance of a scene without known parts: one field on feature planes over space and a latent coordinate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from foreseen.core.scene_info import SceneInfo
from foreseen.fields.packed import SampleBudget, single_box_field
from foreseen.methods.rigid_ode.config import RigidODEConfig
from foreseen.methods.rigid_ode.field_appearance import FieldAppearance
from foreseen.methods.rigid_ode.parts import RigidPartsState
from foreseen.nn.plane_field import PlaneField
from foreseen.nn.planes import TRI_PLANE, FeaturePlanes
from foreseen.render.occupancy import OccupancyGrid
from foreseen.scenes import ComposedField

LATENT_PLANES = ((0, 3), (1, 3), (2, 3))
"""Pairs of coordinates: x, y or z with the latent one."""


class LatentFieldAppearance(FieldAppearance):
    """A field of position and latent coordinate, with one occupancy grid for each interval of the latent one."""

    def __init__(self, config: RigidODEConfig, info: SceneInfo) -> None:
        super().__init__(config, info, SampleBudget(config.plane_samples, config.plane_rays, config.packed))
        c = config
        low, high = torch.tensor(info.bounds)
        half_extents = (high - low) / 2
        self.size = float(half_extents.mean())
        nodes = tuple((n, n, n, max(c.min_latent_nodes, n // c.nodes_per_latent_node)) for n in c.plane_resolutions)
        planes = FeaturePlanes(TRI_PLANE + LATENT_PLANES, nodes, c.channels, unit_axes=(3,))
        self.field = PlaneField(planes, condition=3, width=c.width, initial=c.initial_plane_density)
        self.step = 2 * float(half_extents.max()) / c.static_samples
        self.occupancy = OccupancyGrid(c.latent_boxes, c.grid_resolution, c.plane_empty_alpha / self.step)

    def scene_of(self, state: RigidPartsState, rows: Tensor | None) -> ComposedField:
        """The scene in which ray r sees row `rows[r]` of `state`."""
        latent = state.latent if rows is None else state.latent[rows]
        count, boxes = len(latent), self.config.latent_boxes

        def query(local: Tensor, part: Tensor, ray: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
            del part
            of_ray = latent[ray if count > 1 else torch.zeros_like(ray)]
            density, color = self.field(torch.cat([local, of_ray], dim=-1), None, view)
            return density / self.size, color

        cells = ((latent.detach()[:, 0] + 1) / 2 * boxes).long().clamp(0, boxes - 1)
        return single_box_field(self.info, query, cells, self.occupancy, self.step)

    def cell_density(self, coords: Tensor, box: Tensor) -> Tensor:
        latent = (box + torch.rand(len(box), device=box.device)) / self.config.latent_boxes * 2 - 1
        return self.field.density(torch.cat([coords, latent[:, None]], dim=-1))[0] / self.size

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Planes and networks."""
        c, decay, networks = self.config, self.config.lr_decay**progress, self.field.network_parameters()
        return [
            {"name": "planes", "params": [self.field.planes.data], "lr": c.plane_lr * decay},
            {"name": "networks", "params": networks, "lr": c.network_lr * decay},
        ]
