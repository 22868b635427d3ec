"""Packed radiance fields: a budget of samples, one box around the scene, losses that keep space empty or smooth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foreseen.batches.rays import RayBatch
from foreseen.core.scene_info import SceneInfo
from foreseen.fields.config import PackedFieldConfig
from foreseen.nn.voxels import VoxelGrids
from foreseen.render import RayResult
from foreseen.render.occupancy import OccupancyGrid
from foreseen.scenes import ComposedField
from foreseen.scenes.composed_field import ComponentQuery


class SampleBudget(nn.Module):
    """Chooses the number of rays of a step, so that it has about `samples` samples: few rays at first, many once empty
    space is known.

    Args:
        samples: samples that a step should have.
        max_rays: largest number of rays of a step.
    """

    per_ray: Tensor

    def __init__(self, samples: int, max_rays: int, config: PackedFieldConfig) -> None:
        super().__init__()
        self.samples, self.max_rays, self.config = samples, max_rays, config
        self.register_buffer("per_ray", torch.tensor(config.initial_samples_per_ray))

    def note(self, result: RayResult) -> None:
        """Updates the average of samples a ray by a rendered batch."""
        newest = torch.tensor(result.samples / len(result.rgb)).to(self.per_ray)
        self.per_ray.lerp_(newest, self.config.samples_per_ray_momentum)

    def rays(self) -> int:
        """Number of rays of the next step."""
        fewest = int(self.max_rays * self.config.min_rays_share)
        return int(min(self.max_rays, max(self.samples / max(float(self.per_ray), 1.0), fewest)))


def single_box_field(
    info: SceneInfo, query: ComponentQuery, cells: Tensor, occupancy: OccupancyGrid, step: float
) -> ComposedField:
    """A field in one static box around the whole scene, where ray r reads occupancy grid `cells[r]` (`[R]`)."""
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
    result: RayResult,
    batch: RayBatch,
    background: tuple[float, float, float],
    background_opacity_weight: float,
    config: PackedFieldConfig,
    counted: Tensor | None = None,
) -> dict[str, Tensor]:
    """Mean squared colour error, and the opacity along rays that saw the stated background: white haze in front of a
    white background costs nothing in colour, but makes rendering slow. `counted` `[N]`: 1 for rays that count, else 0;
    None counts all."""
    errors, opacities = (result.rgb - batch.colors).square(), result.opacity
    if counted is None:
        error = errors.mean()
    else:
        error = (errors.mean(-1) * counted).sum() / counted.sum().clamp_min(1)
        opacities = opacities * counted
    opacity = background_opacity(opacities, batch.colors, background, config.background_tolerance)
    return {
        "color": error,
        "background_opacity": background_opacity_weight * opacity,
        "_psnr": -10 * torch.log10(error.detach().clamp_min(1e-10)),
    }


def background_opacity(
    opacity: Tensor,
    colors: Tensor,
    background: tuple[float, float, float],
    tolerance: float,
) -> Tensor:
    """Sum of `opacity` `[...]` over the pixels that show the stated background (`colors` `[..., 3]` within
    `tolerance`), divided by the number of all pixels."""
    is_background = (colors - torch.tensor(background).to(colors)).abs().amax(-1) < tolerance
    return (opacity * is_background).mean()


def voxel_tv_loss(voxels: VoxelGrids, weight: float, step: int, config: PackedFieldConfig) -> dict[str, Tensor]:
    """Total variation of the voxels, at every `tv_every`-th step; no term at the others."""
    return {} if step % config.tv_every else {"tv": config.tv_every * weight * voxels.roughness()}
