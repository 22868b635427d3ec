"""A radiance field with two layers: a static one, and one that is deformed by a warp that depends on the code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from foreseen.batches.rays import RayBatch, RaySpec
from foreseen.core.capabilities import Layer
from foreseen.core.scene_info import SceneInfo
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.fields.packed import SampleBudget, ray_losses, voxel_tv_loss
from foreseen.methods.node_rf.fast_config import ConditionedLayerConfig, NodeRFFastConfig
from foreseen.nn.encodings import PositionalEncoding
from foreseen.nn.mlp import MLP
from foreseen.nn.voxels import VoxelGrids, VoxelTable
from foreseen.reconstruction.changing_cells import changing_cells
from foreseen.render import render_rays
from foreseen.render.occupancy import OccupancyGrid
from foreseen.scenes import ComposedField
from foreseen.scenes.voxel_scene import FAR_AWAY, VoxelScene

STATIC = 0


class CodeWarp(nn.Module):
    """The deformation from a conditioned layer to its canonical configuration: `x + w(x, code, layer)`; about the
    identity before training."""

    def __init__(self, config: NodeRFFastConfig, dims: int, layers: int) -> None:
        super().__init__()
        self.position = PositionalEncoding(config.warp_position_levels, 3)
        self.code = PositionalEncoding(config.warp_code_levels, dims)
        self.layers = layers
        inputs = self.position.outputs + self.code.outputs + (layers if layers > 1 else 0)
        self.net = MLP(inputs, 3, width=config.warp_width, layers=config.warp_layers)
        with torch.no_grad():
            self.net.output.weight.mul_(config.warp_initial)
            nn.init.zeros_(self.net.output.bias)

    def forward(self, local: Tensor, codes: Tensor, layer: Tensor) -> Tensor:
        """Points `[M, 3]` of the boxes of the conditioned layers `[M]` (0 is the first), in [-1, 1], under codes
        `[M, D]` -> `[M, 3]`."""
        inputs = [self.position(local), self.code(codes)]
        if self.layers > 1:
            inputs.append(functional.one_hot(layer, self.layers).to(local))
        return local + self.net(torch.cat(inputs, dim=-1))


class LatentField(nn.Module):
    """F(x, d, code): a static layer and conditioned ones, whose densities are added. There is one conditioned layer, in
    a box around everything that changes; or, where the code tells positions of bodies, one around each body, whose box
    goes along with it.

    Args:
        layers: settings of the conditioned layers.
        dims: D of the code, whose components are in [-1, 1].
        boxes: `[L, 2, 3]` centre and half extents of each conditioned layer; the centres do not count where
            `bodies_at` says them.

    Attributes:
        bodies_at: positions `[R, L, 3]` of the bodies in the scene, under codes `[R, D]`; None: boxes stay.
    """

    boxes: Tensor
    middle: Tensor
    half_extents: Tensor
    scales: Tensor
    ray_strides: Tensor

    def __init__(
        self, config: NodeRFFastConfig, layers: ConditionedLayerConfig, info: SceneInfo, dims: int, boxes: Tensor
    ) -> None:
        super().__init__()
        self.config, self.info, self.dims = config, info, dims
        self.bodies_at: Callable[[Tensor], Tensor] | None = None
        low, high = torch.tensor(info.bounds)
        self.register_buffer("boxes", boxes.float())
        self.register_buffer("middle", (low + high) / 2, persistent=False)
        static_half_extents = (1 + config.bounds_margin) * (high - low) / 2
        half_extents = torch.cat([static_half_extents[None], self.boxes[:, 1]])
        self.register_buffer("half_extents", half_extents, persistent=False)
        everywhere = torch.ones(1 + len(boxes), 2, 2, 2, dtype=torch.bool)
        levels = [config.static_levels, *[layers.levels] * len(boxes)]
        self.voxels = VoxelGrids(VoxelTable.build(levels, everywhere), config.initial)
        self.register_buffer("scales", self.voxels.scales(half_extents), persistent=False)
        self.warp = CodeWarp(config, dims, len(boxes))
        self.step = 2 * float(half_extents[1:].max()) / layers.samples
        static = 2 * float(half_extents[STATIC].max()) / config.static_samples
        strides = [max(1, round(static / self.step)), *[1] * len(boxes)]
        self.register_buffer("ray_strides", torch.tensor(strides), persistent=False)
        self.code_cells = layers.code_cells[min(dims, len(layers.code_cells)) - 1]
        empty = config.empty_alpha / self.step
        self.static_grid = OccupancyGrid(1, config.grid_resolution, empty)
        self.moving_grids = OccupancyGrid(len(boxes) * self.code_cells**dims, config.grid_resolution, empty)
        self.budget = SampleBudget(config.samples, config.rays, config.packed)
        self.progress = 0.0

    # Scene.

    def scene_of(
        self, codes: Tensor, layer: Layer | None = None, watch: Callable[[Tensor, Tensor], None] | None = None
    ) -> ComposedField:
        """The field in which ray r has the code `codes[r]` `[R, D]`; with one row, all rays have this code. `watch` is
        called with the densities and the layer indices of all samples."""
        count = len(codes)
        centres = self._centres(codes)

        def query(local: Tensor, part: Tensor, ray: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
            row = ray if count > 1 else torch.zeros_like(ray)
            density, color = self.query(local, part, codes[row], view)
            if watch is not None:
                watch(density, part)
            return density, color

        cells = torch.cat([torch.zeros(count, 1, dtype=torch.int64, device=codes.device), self._grids_of(codes)], 1)
        if layer is not None:
            cells[:, slice(1, None) if layer == "static" else slice(0, 1)] = -1
        return ComposedField(
            query=query,
            rotations=torch.eye(3, device=codes.device).expand(*centres.shape, 3),
            centres=centres,
            half_extents=self.half_extents,
            cells=cells,
            grid=torch.cat([self.static_grid.density, self.moving_grids.density]),
            **self._march(),
        )

    def static_scene(self) -> VoxelScene:
        """The static layer alone, for the faster renderer of voxels."""
        centres = torch.cat([self.middle[None], torch.full_like(self.boxes[:, 0], FAR_AWAY)])
        return VoxelScene(
            voxels=self.voxels,
            rotations=torch.eye(3, device=centres.device).expand(1, *centres.shape, 3),
            centres=centres[None],
            rows=None,
            half_extents=self.half_extents,
            light=centres.new_zeros(3),
            grid=torch.cat([self.static_grid.density, self.moving_grids.density[: len(self.boxes)]]),
            **self._march(),
        )

    def _march(self) -> dict[str, Any]:
        """Ray marching settings of both kinds of scenes."""
        info = self.info
        return {
            "threshold": self.moving_grids.threshold,
            "step": self.step,
            "ray_strides": self.ray_strides,
            "near": info.near,
            "far": info.far,
            "background": info.background,
        }

    def _centres(self, codes: Tensor) -> Tensor:
        """`[R, 1 + L, 3]` of the layers' boxes, under codes `[R, D]`."""
        moving = self.boxes[:, 0].expand(len(codes), -1, 3) if self.bodies_at is None else self.bodies_at(codes)
        return torch.cat([self.middle.expand(len(codes), 1, 3), moving], 1)

    def query(self, local: Tensor, layer: Tensor, codes: Tensor, view: Tensor | None) -> tuple[Tensor, Tensor]:
        """Density `[M]` per scene unit and colour `[M, 3]` (without a `view`, nothing in its place) at `local` `[M, 3]`
        of the layers `[M]` (0 is the static one), under codes `[M, D]`."""
        moving, static = (layer != STATIC).nonzero()[:, 0], (layer == STATIC).nonzero()[:, 0]
        warped = self.warp(local[moving], codes[moving], layer[moving] - 1)
        inside = (warped.detach().abs() <= 1).all(-1)
        moving_features = self.voxels.features(warped.clamp(-1, 1), layer[moving])
        # Moving objects would leave a smear in the static layer: `static_losses` train it. Where boxes follow bodies,
        # its density learns here too, so that nothing unseen stands before them; one camera cannot tell otherwise.
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.bodies_at is not None):
            static_features = self.voxels.features(local[static], layer[static])
        features = moving_features.new_zeros(len(local), moving_features.shape[1])
        features = features.index_copy(0, moving, moving_features).index_copy(0, static, static_features)
        visible = torch.ones_like(layer, dtype=torch.bool).index_copy(0, moving, inside)
        density = self.voxels.density(features) * self.scales[layer] * visible
        if view is None:
            return density, density
        fixed = torch.zeros_like(features).index_copy(0, static, static_features.detach())
        painted = torch.where((layer == STATIC)[:, None], fixed, features)
        return density, self.voxels.color(painted, -view)

    def _grids_of(self, codes: Tensor) -> Tensor:
        """`[R, L]`: index of the conditioned layers' occupancy grids for codes `[R, D]`. Each cell of code space has
        one for each layer."""
        n, layers = self.code_cells, len(self.boxes)
        cell = ((codes.detach() + 1) / 2 * n).long().clamp(0, n - 1)
        powers = n ** torch.arange(self.dims, device=codes.device)
        return 1 + (cell * powers).sum(-1, keepdim=True) * layers + torch.arange(layers, device=codes.device)

    def _static_density(self, coords: Tensor, grid: Tensor) -> Tensor:
        return self.query(coords, grid, coords.new_zeros(len(coords), self.dims), None)[0]

    def _moving_density(self, coords: Tensor, grid: Tensor) -> Tensor:
        """At points of occupancy cells, under a random code of each grid."""
        n, layers = self.code_cells, len(self.boxes)
        cell = grid[:, None] // layers // n ** torch.arange(self.dims, device=coords.device) % n
        codes = (cell + torch.rand(cell.shape).to(coords)) / n * 2 - 1
        return self.query(coords, 1 + grid % layers, codes, None)[0]

    # Training.

    @property
    def is_warm_up(self) -> bool:
        """Whether only the static layer is trained yet."""
        return self.progress < self.config.warm_up_share

    def is_static_step(self, step: int) -> bool:
        """Whether a step trains the static layer alone: all steps of the warm-up, and every `static_every`-th later."""
        return self.is_warm_up or step % self.config.static_every == 1

    def batch_spec(self, step: int) -> RaySpec:
        """Many rays of the background for the static layer; else as many rays as the budget of samples allows."""
        c = self.config
        if self.is_static_step(step):
            return RaySpec(rays=c.warm_up_rays, background_only=True)
        return RaySpec(rays=self.budget.rays(), foreground=c.foreground)

    def static_losses(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Losses of the static layer."""
        c = self.config
        result = render_rays(self.static_scene(), batch.rays, stratified=True)
        terms = ray_losses(result, batch, self.info.background, c.background_opacity_weight, c.packed)
        return terms | voxel_tv_loss(self.voxels, c.tv_weight * c.tv_weight_decay**self.progress, step, c.packed)

    def losses(self, codes: Tensor, counted: Tensor, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Squared colour error of the rays with `counted` `[N]` = 1 (others have 0), for `codes` `[N, D]` of the rays;
        opacity in front of the stated background; fog (opacity of the conditioned layer); at some steps the total
        variation of the voxels."""
        c = self.config
        fog: list[Tensor] = []

        def watch(density: Tensor, layer: Tensor) -> None:
            alpha = 1 - (-density * self.step * self.ray_strides[layer]).exp()
            fog.append(c.fog_weight * (alpha * (layer != STATIC)).sum() / len(codes))

        result = render_rays(self.scene_of(codes, watch=watch), batch.rays, stratified=True)
        self.budget.note(result)
        weight = c.background_opacity_weight
        terms = ray_losses(result, batch, self.info.background, weight, c.packed, counted)
        terms["fog"] = sum(fog, counted.new_zeros(()))
        return terms | voxel_tv_loss(self.voxels, c.tv_weight * c.tv_weight_decay**self.progress, step, c.packed)

    def before_step(self, step: int, progress: float) -> None:
        """Refreshes the occupancy."""
        c, self.progress = self.config, progress
        if step > c.refresh_after and step % c.refresh_every == 0:
            self.static_grid.refresh(self._static_density, c.static_refresh_share)
            if not self.is_warm_up:
                self.moving_grids.refresh(self._moving_density, c.refresh_share)

    def parameter_groups(self, decay: float) -> list[dict[str, Any]]:
        """Voxels, and the warp."""
        c = self.config
        return [
            {"name": "voxels", "params": [self.voxels.values], "lr": c.voxel_lr * decay},
            {"name": "warp", "params": list(self.warp.parameters()), "lr": c.warp_lr * decay},
        ]

    # Before training.

    @staticmethod
    def around(config: NodeRFFastConfig, info: SceneInfo, dims: int, frames: Sequence[Frame]) -> LatentField:
        """An untrained field whose conditioned layer has a box around all that changes in the pictures."""
        may_be = changing_cells(frames, info, config.silhouettes, config.grid_resolution, config.margin)
        bounds = np.array(info.bounds)
        size = (bounds[1] - bounds[0]) / config.grid_resolution
        low, high = bounds
        if may_be is not None and may_be.any():
            at = np.argwhere(may_be)
            low = bounds[0] + at.min(0) * size
            high = bounds[0] + (at.max(0) + 1) * size
        box = torch.from_numpy(np.stack([(low + high) / 2, np.maximum((high - low) / 2, 1e-6)]))
        field = LatentField(config, config.moving, info, dims, box[None])
        if may_be is not None and may_be.any():
            field._close(may_be, bounds)
        return field

    def _close(self, may_be: np.ndarray, bounds: np.ndarray) -> None:
        """Closes the cells of the conditioned layer that are not in `may_be` `[G, G, G]`, of the scene's bounds."""
        g = self.config.grid_resolution
        line = (torch.arange(g) + 0.5) / g * 2 - 1
        points = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).double()
        world = self.boxes[0, 0].double() + points * self.boxes[0, 1].double()
        at = (
            ((world - torch.from_numpy(bounds[0])) / torch.from_numpy(bounds[1] - bounds[0]) * g).long().clamp(0, g - 1)
        )
        open_ = torch.from_numpy(may_be)[at[..., 0], at[..., 1], at[..., 2]]
        grids = self.moving_grids
        grids.close((~open_).expand_as(grids.density))

    @staticmethod
    def around_bodies(config: NodeRFFastConfig, info: SceneInfo, dims: int, half_sizes: Tensor) -> LatentField:
        """An untrained field with a box of half size `half_sizes[b]` `[B]` around each body."""
        sizes = half_sizes[:, None].expand(-1, 3)
        return LatentField(config, config.body, info, dims, torch.stack([torch.zeros_like(sizes), sizes], 1))

    @staticmethod
    def like(
        config: NodeRFFastConfig,
        layers: ConditionedLayerConfig,
        info: SceneInfo,
        dims: int,
        tensors: Mapping[str, Tensor],
        prefix: str,
    ) -> LatentField:
        """Of the shapes that a checkpoint has."""
        boxes = tensors[prefix + "boxes"]
        if boxes.ndim != 3 or boxes.shape[1:] != (2, 3):
            raise UserError(f"{prefix}boxes: {list(boxes.shape)} are no centres and half extents of layers")
        return LatentField(config, layers, info, dims, boxes)
