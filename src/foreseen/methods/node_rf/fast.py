"""Node-RF, preset `fast`: radiance fields at rest in the frames of moving parts, whose motion is a neural ODE."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from foreseen.geometry.rotations import rotation_matrix
from foreseen.methods.base import BatchSpec, Method, Observation, RayBatch, SceneInfo
from foreseen.methods.node_rf.config import FastConfig
from foreseen.methods.node_rf.discovery import View, explore
from foreseen.nn.plane_field import PlaneField
from foreseen.nn.planes import FeaturePlanes
from foreseen.nn.splines import UniformBSpline
from foreseen.render import render_rays
from foreseen.render.occupancy import OccupancyGrid
from foreseen.scenes import ComposedField

SPACE = ((0, 1), (0, 2), (1, 2))


@dataclass(frozen=True)
class PartsState:
    """Where the K parts are. Leading axes are times.

    Attributes:
        centres: `[..., K, 3]`.
        turns: `[..., K, 3]` rotation vectors.
    """

    centres: Tensor
    turns: Tensor


class Parts(nn.Module):
    """K rigid parts: trajectories over the observed window (unit time), box sizes, and their fields."""

    halves: Tensor

    def __init__(self, count: int, config: FastConfig, controls: int) -> None:
        super().__init__()
        self.count = count
        self.spline = UniformBSpline(controls)
        self.centres = nn.Parameter(torch.zeros(controls, count, 3))
        self.turns = nn.Parameter(torch.zeros(controls, count, 3))
        self.register_buffer("halves", torch.ones(count, 3))
        planes = FeaturePlanes(SPACE, tuple((n,) * 3 for n in config.part_resolutions), config.channels, max(count, 1))
        self.field = PlaneField(planes, condition=9, width=config.width)

    def at(self, basis: Tensor) -> PartsState:
        """The poses under spline weights `basis` `[T, controls]`."""
        return PartsState(
            torch.einsum("tc,ckd->tkd", basis, self.centres), torch.einsum("tc,ckd->tkd", basis, self.turns)
        )

    def jerk(self) -> Tensor:
        """Mean squared third difference of the control points, in boxes and in radians."""
        scaled = torch.cat([self.centres / self.halves.mean(-1)[None, :, None], self.turns], dim=-1)
        return scaled.diff(n=3, dim=0).square().mean()


class FastNodeRF(Method):
    """See README.md, "fast"."""

    batch: BatchSpec

    def __init__(self, config: FastConfig, info: SceneInfo) -> None:
        super().__init__()
        self.config, self.info = config, info
        self.batch = BatchSpec(rays=config.rays, foreground=config.foreground)
        low, high = (torch.tensor(b) for b in info.bounds)
        self.register_buffer("middle", (low + high) / 2)
        self.register_buffer("extent", (high - low) / 2)
        times = torch.tensor(info.times[0], dtype=torch.float64)
        self.start, self.window = float(times[0]), float(times[-1] - times[0])
        self.controls = max(8, min(120, round(len(times) / config.frames_per_control)))
        self.register_buffer("samples_per_ray", torch.tensor(100.0))
        self.register_buffer("basis", UniformBSpline(self.controls).basis((times - self.start) / self.window).float())
        static = FeaturePlanes(SPACE, tuple((n,) * 3 for n in config.static_resolutions), config.channels)
        self.static = PlaneField(static, condition=9, width=config.width, initial=0.1)
        self.set_parts(0)

    def set_parts(self, count: int) -> None:
        """Makes room for `count` parts."""
        self.parts = Parts(count, self.config, self.controls)
        self.occupancy = OccupancyGrid(count + 1, self.config.cells, threshold=0.01 / self.step)

    @property
    def step(self) -> float:
        """Distance between two points of a ray's ladder: the smallest part's box in `part_samples` pieces."""
        if self.parts.count == 0:
            return 2 * float(self.extent.max()) / self.config.static_samples
        return 2 * float(self.parts.halves.min()) / self.config.part_samples

    def warm_start(self, views: list[View]) -> str:
        bounds = torch.stack([self.middle - self.extent, self.middle + self.extent]).double().numpy()
        c = self.config
        found = explore(views, bounds, self.info.background, self.controls, c.cells, c.most_parts)
        parts = found.parts
        self.set_parts(len(parts))
        with torch.no_grad():
            for k, part in enumerate(parts):
                self.parts.centres[:, k] = torch.from_numpy(part.controls)
                self.parts.turns[:, k] = torch.from_numpy(part.rotations)
                self.parts.halves[k] = 1.25 * part.radius
        self.occupancy = OccupancyGrid(len(parts) + 1, c.cells, threshold=0.01 / self.step)
        self.occupancy.density[-1][~torch.from_numpy(found.still)] = 0
        self.occupancy.clear_outside_spheres(len(parts))
        return f"{len(parts)} moving parts"

    def batch_spec(self, step: int) -> BatchSpec:
        """As many rays as the step's budget of samples allows: many once empty space is known."""
        c = self.config
        rays = int(min(c.rays, max(c.samples / float(self.samples_per_ray), c.rays // 8)))
        return replace(self.batch, rays=rays)

    def parameter_groups(self, progress: float) -> list[dict]:
        c, decay = self.config, self.config.lr_decay**progress
        radius = float(self.parts.halves.mean())
        return [
            {"name": "planes", "params": [self.static.planes.data, self.parts.field.planes.data], "lr": c.plane_lr * decay},
            {
                "name": "networks",
                "params": self.static.network_parameters() + self.parts.field.network_parameters(),
                "lr": c.network_lr * decay,
            },
            {"name": "centres", "params": [self.parts.centres], "lr": c.centre_lr * radius * decay},
            {"name": "turns", "params": [self.parts.turns], "lr": c.turn_lr * decay},
        ]

    def before_step(self, step: int, progress: float) -> str | None:
        if step and step % 16 == 0:
            self.occupancy.refresh(self._cached_density, share=0.06 if step > 256 else 0.25)
        return None

    def _cached_density(self, coords: Tensor, box: Tensor) -> Tensor:
        out = torch.empty(len(coords))
        moving = box < self.parts.count
        for where, field, group in ((moving, self.parts.field, box), (~moving, self.static, None)):
            if where.any():
                out[where] = field.density(coords[where], None if group is None else group[where])[0]
        return out / self._sizes()[box]

    def _sizes(self) -> Tensor:
        """`[K + 1]` mean half sizes: densities are per half size inside the fields."""
        return torch.cat([self.parts.halves.mean(-1), self.extent.mean()[None]])

    def observe(self, observation: Observation) -> PartsState:
        return self.parts.at(self.basis)

    def evolve(self, state: PartsState, times: Tensor) -> PartsState:
        u = ((times.double() - self.start) / self.window).clamp(0, 1)
        return self.parts.at(UniformBSpline(self.controls).basis(u).float())

    def scene(self, state: PartsState) -> ComposedField:
        return self.compose(PartsState(state.centres[None], state.turns[None]))

    def compose(self, state: PartsState) -> ComposedField:
        """The scene in which ray r sees the parts as they are at `state[r]`."""
        rows, count = state.centres.shape[0], self.parts.count
        rotations = rotation_matrix(state.turns)

        def query(local: Tensor, part: Tensor, ray: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
            moving = part < count
            row = ray if rows > 1 else torch.zeros_like(ray)
            density = torch.empty(len(part))
            color = torch.empty(len(part), 3)
            i = moving.nonzero()[:, 0]
            if len(i):
                r = rotations[row[i], part[i]]
                condition = torch.cat([torch.einsum("mba,mb->ma", r, view[i]), r[:, 0], r[:, 2]], dim=-1)
                d, c = self.parts.field(local[i], part[i], condition)
                density = density.index_copy(0, i, d)
                color = color.index_copy(0, i, c)
            j = (~moving).nonzero()[:, 0]
            if len(j):
                still = torch.tensor([1.0, 0, 0, 0, 0, 1.0]).expand(len(j), 6)
                d, c = self.static(local[j], None, torch.cat([view[j], still], dim=-1))
                density = density.index_copy(0, j, d)
                color = color.index_copy(0, j, c)
            return density / self._sizes()[part], color

        eye = torch.eye(3).expand(rows, 1, 3, 3)
        stride = max(1, round(2 * float(self.extent.max()) / self.config.static_samples / self.step))
        return ComposedField(
            query=query,
            rotations=torch.cat([rotations, eye], dim=1),
            centres=torch.cat([state.centres, self.middle.expand(rows, 1, 3)], dim=1),
            halves=torch.cat([self.parts.halves, self.extent[None]]),
            cells=torch.arange(count + 1).expand(rows, count + 1),
            grid=self.occupancy.density,
            threshold=self.occupancy.threshold,
            step=self.step,
            strides=torch.tensor([1] * count + [stride]),
            near=self.info.near,
            far=self.info.far,
            background=self.info.background,
        )

    def losses(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        scene = self.compose(self.parts.at(self.basis[batch.time_indices]))
        result = render_rays(scene, batch.rays, stratified=True)
        self.samples_per_ray.lerp_(torch.tensor(result.samples / len(batch.times)), 0.1)
        plain = ((batch.colors - torch.tensor(self.info.background)).abs().amax(-1) < 0.01).float()
        return {
            "color": (result.rgb - batch.colors).square().mean(),
            "empty": self.config.empty_weight * (result.opacity * plain).mean(),
            "jerk": self.config.jerk_weight * self.parts.jerk(),
        }
