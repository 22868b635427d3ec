"""A radiance field with two layers: a static one, and one that is deformed by a warp that depends on the code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foreseen.batches.rays import RayBatch, RaySpec
from foreseen.core.capabilities import Layer
from foreseen.core.scene_info import SceneInfo
from foreseen.data.types import Frame
from foreseen.fields.packed import SampleBudget, ray_losses, voxel_tv_loss
from foreseen.methods.node_rf.fast_config import NodeRFFastConfig
from foreseen.nn.encodings import PositionalEncoding
from foreseen.nn.mlp import MLP
from foreseen.nn.voxels import VoxelGrids, VoxelTable
from foreseen.reconstruction.changing_cells import changing_cells
from foreseen.render import render_rays
from foreseen.render.occupancy import OccupancyGrid
from foreseen.scenes import ComposedField
from foreseen.scenes.voxel_scene import FAR_AWAY, VoxelScene

STATIC, MOVING = 0, 1


class CodeWarp(nn.Module):
    """The deformation from the conditioned layer to its canonical configuration: `y + w(y, code)`, about `y` before
    training. `y` is the point itself or, where the code tells positions of B bodies, the point displaced as the nearest
    of them is.

    Attributes:
        canonical: `[B, 3]`, where the bodies are in the canonical layer, in its box [-1, 1].
    """

    canonical: Tensor

    def __init__(self, config: NodeRFFastConfig, dims: int, bodies: int = 0) -> None:
        super().__init__()
        self.register_buffer("canonical", torch.zeros(bodies, 3))
        self.sharpness = config.carry_sharpness
        self.position = PositionalEncoding(config.warp_position_levels, 3)
        self.code = PositionalEncoding(config.warp_code_levels, dims)
        inputs = self.position.outputs + self.code.outputs
        self.net = MLP(inputs, 3, width=config.warp_width, layers=config.warp_layers)
        with torch.no_grad():
            self.net.output.weight.mul_(config.warp_initial)
            nn.init.zeros_(self.net.output.bias)

    def forward(self, local: Tensor, codes: Tensor, bodies: Tensor) -> Tensor:
        """Points `[M, 3]` of the layer's box, in [-1, 1], under codes `[M, D]`, with bodies at `[M, B, 3]` in it ->
        `[M, 3]`."""
        carried = self.carry(local, bodies)
        return carried + self.net(torch.cat([self.position(carried), self.code(codes)], dim=-1))

    def carry(self, local: Tensor, bodies: Tensor) -> Tensor:
        """Points `[M, 3]` displaced as the nearest of the bodies `[M, B, 3]` is from its canonical place; between
        bodies the displacements are blended."""
        if not len(self.canonical):
            return local
        displacements = self.canonical - bodies
        if len(self.canonical) == 1:
            return local + displacements[:, 0]
        squares = (local[:, None] - bodies).square().sum(-1)
        weights = torch.softmax(-self.sharpness * squares / squares.min(-1, keepdim=True).values.clamp_min(1e-9), -1)
        return local + (weights[..., None] * displacements).sum(1)


class LatentField(nn.Module):
    """F(x, d, code). The densities of both layers are added. The box of the conditioned layer contains everything that
    changes.

    Args:
        dims: D of the code, whose components are in [-1, 1].
        box: `[2, 3]` centre and half extents of the conditioned layer.
        bodies: number of bodies B whose positions the code tells, by `bodies_at`.
    """

    box: Tensor
    middles: Tensor
    half_extents: Tensor
    scales: Tensor
    ray_strides: Tensor

    def __init__(self, config: NodeRFFastConfig, info: SceneInfo, dims: int, box: Tensor, bodies: int = 0) -> None:
        super().__init__()
        self.config, self.info, self.dims, self.bodies = config, info, dims, bodies
        self.bodies_at: Callable[[Tensor], Tensor] = lambda codes: codes.new_zeros(*codes.shape[:-1], 0, 3)
        """Positions `[..., B, 3]` of the bodies in the scene, under codes `[..., D]`."""
        low, high = torch.tensor(info.bounds)
        self.register_buffer("box", box.float())
        self.register_buffer("middles", torch.stack([(low + high) / 2, self.box[0]]), persistent=False)
        self.register_buffer("half_extents", torch.stack([(high - low) / 2, self.box[1]]), persistent=False)
        everywhere = torch.ones(2, 2, 2, 2, dtype=torch.bool)
        levels = [config.static_levels, config.moving_levels]
        self.voxels = VoxelGrids(VoxelTable.build(levels, everywhere), config.initial)
        self.register_buffer("scales", self.voxels.scales(self.half_extents), persistent=False)
        self.warp = CodeWarp(config, dims, bodies)
        self.step = 2 * float(self.half_extents[MOVING].max()) / config.moving_samples
        static = 2 * float(self.half_extents[STATIC].max()) / config.static_samples
        self.register_buffer("ray_strides", torch.tensor([max(1, round(static / self.step)), 1]), persistent=False)
        self.grids = config.code_cells[min(dims, len(config.code_cells)) - 1]
        empty = config.empty_alpha / self.step
        self.static_grid = OccupancyGrid(1, config.grid_resolution, empty)
        self.moving_grids = OccupancyGrid(self.grids**dims, config.grid_resolution, empty)
        self.budget = SampleBudget(config.samples, config.rays, config.packed)
        self.progress = 0.0

    # Scene.

    def scene_of(
        self, codes: Tensor, layer: Layer | None = None, watch: Callable[[Tensor, Tensor], None] | None = None
    ) -> ComposedField:
        """The field in which ray r has the code `codes[r]` `[R, D]`; with one row, all rays have this code. `watch` is
        called with the densities and the layer indices of all samples."""
        count = len(codes)
        bodies = self._local_bodies(codes)

        def query(local: Tensor, part: Tensor, ray: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
            row = ray if count > 1 else torch.zeros_like(ray)
            density, color = self.query(local, part, codes[row], bodies[row], view)
            if watch is not None:
                watch(density, part)
            return density, color

        cells = torch.stack([torch.zeros(count, dtype=torch.int64, device=codes.device), self._grid_of(codes)], 1)
        if layer is not None:
            cells[:, MOVING if layer == "static" else STATIC] = -1
        return ComposedField(
            query=query,
            rotations=torch.eye(3, device=codes.device).expand(count, 2, 3, 3),
            centres=self.middles.expand(count, 2, 3),
            half_extents=self.half_extents,
            cells=cells,
            grid=torch.cat([self.static_grid.density, self.moving_grids.density]),
            **self._march(),
        )

    def static_scene(self) -> VoxelScene:
        """The static layer alone, for the faster renderer of voxels."""
        middles = torch.where(torch.tensor([[False], [True]]).to(self.box.device), FAR_AWAY, self.middles)
        return VoxelScene(
            voxels=self.voxels,
            rotations=torch.eye(3, device=self.box.device).expand(1, 2, 3, 3),
            centres=middles[None],
            rows=None,
            half_extents=self.half_extents,
            light=self.box.new_zeros(3),
            grid=torch.cat([self.static_grid.density, self.moving_grids.density[:1]]),
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

    def _local_bodies(self, codes: Tensor) -> Tensor:
        """`[..., B, 3]` in the conditioned layer's box."""
        return (self.bodies_at(codes) - self.box[0]) / self.box[1]

    @torch.no_grad()
    def set_canonical(self, codes: Tensor) -> None:
        """Makes one of `codes` `[N, D]` the canonical one: where bodies are farthest apart; with one body, where it is
        nearest to the middle."""
        bodies = self._local_bodies(codes)
        if self.bodies > 1:
            apart = torch.cdist(bodies, bodies) + torch.full((self.bodies,), torch.inf).to(bodies).diag()
            best = apart.flatten(1).min(1).values.argmax()
        else:
            best = bodies.flatten(1).norm(dim=-1).argmin()
        self.warp.canonical.copy_(bodies[best])

    def query(
        self, local: Tensor, layer: Tensor, codes: Tensor, bodies: Tensor, view: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Density `[M]` per scene unit and colour `[M, 3]` (without a `view`, nothing in its place) at `local` `[M, 3]`
        of the layers `[M]`, under codes `[M, D]` with bodies at `[M, B, 3]`."""
        moving, static = (layer == MOVING).nonzero()[:, 0], (layer == STATIC).nonzero()[:, 0]
        warped = self.warp(local[moving], codes[moving], bodies[moving])
        inside = (warped.detach().abs() <= 1).all(-1)
        moving_features = self.voxels.features(warped.clamp(-1, 1), layer[moving])
        # No gradients for the static layer: moving objects would leave a smear in it. `static_losses` train it.
        with torch.no_grad():
            static_features = self.voxels.features(local[static], layer[static])
        features = moving_features.new_zeros(len(local), moving_features.shape[1])
        features = features.index_copy(0, moving, moving_features).index_copy(0, static, static_features)
        visible = torch.ones_like(layer, dtype=torch.bool).index_copy(0, moving, inside)
        density = self.voxels.density(features) * self.scales[layer] * visible
        return density, density if view is None else self.voxels.color(features, -view)

    def _grid_of(self, codes: Tensor) -> Tensor:
        """`[R]`: index of the occupancy grid for codes `[R, D]`. Each cell of code space has a grid."""
        n = self.grids
        cell = ((codes.detach() + 1) / 2 * n).long().clamp(0, n - 1)
        powers = n ** torch.arange(self.dims, device=codes.device)
        return 1 + (cell * powers).sum(-1)

    def _static_density(self, coords: Tensor, grid: Tensor) -> Tensor:
        codes, bodies = coords.new_zeros(len(coords), self.dims), coords.new_zeros(len(coords), self.bodies, 3)
        return self.query(coords, grid, codes, bodies, None)[0]

    def _moving_density(self, coords: Tensor, grid: Tensor) -> Tensor:
        """At points of occupancy cells, under a random code of each grid."""
        n = self.grids
        cell = grid[:, None] // n ** torch.arange(self.dims, device=coords.device) % n
        codes = (cell + torch.rand(cell.shape).to(coords)) / n * 2 - 1
        return self.query(coords, torch.full_like(grid, MOVING), codes, self._local_bodies(codes), None)[0]

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
            fog.append(c.fog_weight * (alpha * (layer == MOVING)).sum() / len(codes))

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
    def around(
        config: NodeRFFastConfig, info: SceneInfo, dims: int, frames: Sequence[Frame], bodies: int = 0
    ) -> LatentField:
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
        field = LatentField(config, info, dims, box, bodies)
        if may_be is not None and may_be.any():
            field._close(may_be, bounds)
        return field

    def _close(self, may_be: np.ndarray, bounds: np.ndarray) -> None:
        """Closes the cells of the conditioned layer that are not in `may_be` `[G, G, G]`, of the scene's bounds."""
        g = self.config.grid_resolution
        line = (torch.arange(g) + 0.5) / g * 2 - 1
        points = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).double()
        world = self.box[0].double() + points * self.box[1].double()
        at = (
            ((world - torch.from_numpy(bounds[0])) / torch.from_numpy(bounds[1] - bounds[0]) * g).long().clamp(0, g - 1)
        )
        open_ = torch.from_numpy(may_be)[at[..., 0], at[..., 1], at[..., 2]]
        grids = self.moving_grids
        grids.close((~open_).expand_as(grids.density))

    @staticmethod
    def like(
        config: NodeRFFastConfig, info: SceneInfo, dims: int, tensors: Mapping[str, Tensor], prefix: str
    ) -> LatentField:
        """Of the shapes that a checkpoint has."""
        bodies = len(tensors[prefix + "warp.canonical"])
        return LatentField(config, info, dims, tensors[prefix + "box"], bodies)
