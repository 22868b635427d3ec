"""What the fast presets share: a budget of samples, a box around the scene, losses that keep space empty or smooth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foreseen.batches.rays import RayBatch
from foreseen.core.scene_info import SceneInfo
from foreseen.nn.voxels import VoxelGrids
from foreseen.render import RayResult
from foreseen.render.occupancy import OccupancyGrid
from foreseen.scenes import ComposedField
from foreseen.scenes.composed_field import ComponentQuery

TV_EVERY = 4
"""Steps between looks at voxels' roughness, which then counts for as many: it costs as much as thousands of rays."""
BACKGROUND_TOLERANCE = 0.01
"""A colour this near to the stated background shows the background, or nothing that differs from it."""


class SampleBudget(nn.Module):
    """How many rays make a step of about `samples` samples: few at first, many once empty space is known."""

    per_ray: Tensor

    def __init__(self, samples: int, max_rays: int) -> None:
        super().__init__()
        self.samples, self.max_rays = samples, max_rays
        self.register_buffer("per_ray", torch.tensor(100.0))

    def note(self, result: RayResult) -> None:
        """Learns from a rendered batch."""
        self.per_ray.lerp_(torch.tensor(result.samples / len(result.rgb)).to(self.per_ray), 0.1)

    def rays(self) -> int:
        """Rays for the next step."""
        return int(min(self.max_rays, max(self.samples / max(float(self.per_ray), 1.0), self.max_rays // 8)))


def single_box_field(
    info: SceneInfo, query: ComponentQuery, cells: Tensor, occupancy: OccupancyGrid, step: float
) -> ComposedField:
    """A field in one box at rest around the whole scene, where ray r reads occupancy grid `cells[r]` (`[R]`)."""
    low, high = torch.tensor(info.bounds, device=cells.device)
    return ComposedField(
        query=query,
        rotations=torch.eye(3, device=cells.device).expand(len(cells), 1, 3, 3),
        centres=((low + high) / 2).expand(len(cells), 1, 3),
        half_extents=((high - low) / 2)[None],
        cells=cells[:, None],
        grid=occupancy.density,
        threshold=occupancy.threshold,
        step=step,
        ray_strides=torch.ones(1, dtype=torch.int64, device=cells.device),
        near=info.near,
        far=info.far,
        background=info.background,
    )


def ray_losses(
    result: RayResult, batch: RayBatch, background: tuple[float, float, float], background_opacity_weight: float
) -> dict[str, Tensor]:
    """Mean squared colour error, and the opacity along rays that saw the plain background: a renderer's white haze
    before white costs nothing in colour and everything in speed."""
    error = (result.rgb - batch.colors).square().mean()
    return {
        "color": error,
        "empty": background_opacity_weight * background_opacity(result.opacity, batch.colors, background),
        "_psnr": -10 * torch.log10(error.detach().clamp_min(1e-10)),
    }


def background_opacity(opacity: Tensor, colors: Tensor, background: tuple[float, float, float]) -> Tensor:
    """Mean of `opacity` `[...]` over all pixels, counted where the plain background was seen (`colors` `[..., 3]`)."""
    plain = (colors - torch.tensor(background).to(colors)).abs().amax(-1) < BACKGROUND_TOLERANCE
    return (opacity * plain).mean()


def voxel_tv_loss(voxels: VoxelGrids, weight: float, step: int) -> dict[str, Tensor]:
    """The voxels' roughness, on the steps on which it is looked at."""
    return {} if step % TV_EVERY else {"rough": TV_EVERY * weight * voxels.roughness()}
