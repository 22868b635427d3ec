"""Appearance made of Gaussians, each attached to a part, to a part's shadow, or static."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foreseen.batches.images import ImageBatch, ImageSpec
from foreseen.core.batch import BatchSpec
from foreseen.core.capabilities import Layer
from foreseen.core.scene_info import SceneInfo
from foreseen.fields.packed import background_opacity
from foreseen.geometry.rotations import quaternion_of, quaternion_product, rotation_matrix
from foreseen.methods.rigid_ode.appearance import Appearance
from foreseen.methods.rigid_ode.config import RigidODEConfig
from foreseen.methods.rigid_ode.parts import RigidPartsState
from foreseen.methods.rigid_ode.shadows import Shadows
from foreseen.nn.checked_module import CheckedModule, check_range
from foreseen.reconstruction.reconstruct import Reconstruction
from foreseen.reconstruction.silhouettes import Silhouettes, SilhouetteView
from foreseen.render.harmonics import harmonics_basis
from foreseen.render.splat import splat
from foreseen.scenes import Gaussians
from foreseen.splatting.cloud import C0, GaussianCloud
from foreseen.splatting.densification import DensityControl, GradientStatistics
from foreseen.splatting.initialization import InitialPoints, surface, surface_colors
from foreseen.splatting.losses import picture_losses, size_losses


@dataclass(frozen=True)
class _PartFrames:
    """Frames at one time, one for each part id: rotation vectors `[O, 3]`, centres `[O, 3]` and sizes `[O]`."""

    rotations: Tensor
    centres: Tensor
    sizes: Tensor


class GaussianAppearance(Appearance[ImageBatch], CheckedModule):
    """A cloud in which each Gaussian has a part id and is fixed in the frame of that part.

    Ids 0 to K - 1 are the parts, K is the static scene. Where a light is known and the surface that shadows fall on is
    not visible otherwise, K + 1 to 2 K are the parts' shadows. The shadow of a part on other Gaussians darkens these
    by a learned share. The light on a part does not rotate with it: a side that faces n is `1 + light . Y(n)` times as
    bright, Y being spherical harmonics.

    Args:
        half_extents: `[K, 3]` half sizes of the parts' boxes.
    """

    is_surface = True

    def __init__(self, config: RigidODEConfig, info: SceneInfo, half_extents: Tensor) -> None:
        super().__init__()
        self.config, self.info = config, info
        self.cloud_config, self.parts_config = config.cloud, config.gaussian_parts
        self.box_margin = config.reconstruction.parts.box_margin
        low, high = torch.tensor(info.bounds)
        self.extent = float((high - low).max()) / 2
        self.register_buffer("half_extents", half_extents)
        # The constant harmonic of the light is left to the colours.
        self.harmonics = (self.parts_config.light_degree + 1) ** 2
        self.light = nn.Parameter(torch.zeros(len(half_extents), self.harmonics - 1))
        self.cloud = GaussianCloud(self.cloud_config.budget, self.cloud_config.degree, features=1)
        self.shadows = Shadows(self.parts_config.shadow_edge)
        self.gradient_statistics = GradientStatistics(self.cloud_config.budget)
        self.density = DensityControl(self.cloud, self.cloud_config, self.extent)

    def check(self) -> None:
        """Every part id is one of those above."""
        parts = len(self.half_extents)
        part_ids = self.cloud.part_ids[: len(self.cloud)]
        check_range("Gaussians: part_ids", part_ids, 0, 2 * parts if self.shadows.has_light else parts)

    @torch.no_grad()
    def initialize(
        self, reconstruction: Reconstruction, states: RigidPartsState, views: Sequence[SilhouetteView]
    ) -> None:
        """Places Gaussians on the surfaces of the hulls, with the colours of the views."""
        masks, all_views, parts = reconstruction.masks, list(range(len(views))), len(self.half_extents)
        assert masks is not None
        points, masks_of = self._surface_points(reconstruction, masks)
        share = min(1.0, self.cloud_config.max_initial_points / max(sum(map(len, points)), 1))
        frames = [self._frames(RigidPartsState(*x)) for x in zip(states.centres, states.rotations, states.latent)]
        rotations = rotation_matrix(torch.stack([frame.rotations for frame in frames])).numpy()
        centres = torch.stack([frame.centres for frame in frames]).numpy()
        self.cloud.clear()
        for part_id, (candidates, silhouettes) in enumerate(zip(points, masks_of)):
            chosen = candidates[torch.randperm(len(candidates))[: int(len(candidates) * share)].numpy()]
            if not len(chosen):
                continue
            poses = None if part_id == parts else (rotations[:, part_id], centres[:, part_id])
            colors = surface_colors(chosen, all_views, views, silhouettes, self.cloud_config.initialization, poses)
            self._add_points(InitialPoints(chosen, colors, "from silhouettes"), part_id)
        self.cloud.pop_written_rows()

    def _surface_points(
        self, reconstruction: Reconstruction, masks: Silhouettes
    ) -> tuple[list[np.ndarray], list[Silhouettes]]:
        """For each part id the candidates `[P, 3]` in its frame, and the masks in which it is visible."""
        boxes = [np.array([-half, half]) for half in self.half_extents.numpy()] + [reconstruction.box]
        solids = [*reconstruction.part_occupancy, reconstruction.static_occupancy]
        points = [surface(cells, box) for cells, box in zip(solids, boxes)]
        masks_of: list[Silhouettes] = [masks] * len(points)
        if reconstruction.shadow_light is not None:
            self.shadows.set_light(reconstruction.shadow_light)
            if _shadows_fall_on_background(reconstruction.shadows, masks):
                points += [self._shadow_points(float(half[0])) for half in self.half_extents]
                masks_of += [replace(masks, moving=list(reconstruction.shadows))] * len(self.half_extents)
        return points, masks_of

    def _add_points(self, start: InitialPoints, part_id: int) -> None:
        points, colors = (torch.from_numpy(x).float() for x in (start.points, start.colors))
        scales = start.spacing(self.cloud_config.initialization) * self.cloud_config.start_scale
        self.cloud.add_points(points, colors, scales, self.cloud_config.start_opacity, part_id)

    def _shadow_points(self, half: float) -> np.ndarray:
        """Points `[P, 3]` in the shadow of a sphere in a box of half size `half`, relative to the shadow's centre."""
        radius = float(self.shadows.growth) * half / self.box_margin
        normal, toward = self.shadows.plane[:3].double().numpy(), self.shadows.light[:3].double().numpy()
        ball = torch.randn(self.parts_config.shadow_points, 3).double().numpy()
        ball *= radius / np.linalg.norm(ball, axis=-1, keepdims=True)
        return ball - (ball @ normal / (toward @ normal))[:, None] * toward

    def _frames(self, state: RigidPartsState) -> _PartFrames:
        """The frames of all part ids at one time."""
        static = state.rotations.new_zeros(1, 3)
        rotations, centres = [state.rotations, static], [state.centres, static]
        sizes = [static.new_ones(len(self.half_extents) + 1)]
        if self.shadows.has_light:
            positions, growth = self.shadows.project_to_plane(state.centres)
            rotations, centres = [*rotations, torch.zeros_like(positions)], [*centres, positions]
            sizes = [*sizes, growth]
        return _PartFrames(torch.cat(rotations), torch.cat(centres), torch.cat(sizes))

    def scene(self, state: RigidPartsState) -> Gaussians:
        """All Gaussians, moved by the poses of one time. Colours depend on directions in the world frame, in which the
        light is fixed."""
        local = self.cloud.to_gaussians(self.info.background, self.cloud_config.degree, self.cloud_config.antialiased)
        part_ids, frames = self.cloud.part_ids[: len(local.means)], self._frames(state)
        rotated = (rotation_matrix(frames.rotations)[part_ids] @ local.means[..., None])[..., 0]
        sizes = frames.sizes[part_ids, None]
        means = sizes * rotated + frames.centres[part_ids]
        return replace(
            local,
            means=means,
            quaternions=quaternion_product(quaternion_of(frames.rotations)[part_ids], local.quaternions),
            scales=sizes * local.scales,
            harmonics=self._shaded(local.harmonics, means, rotated, part_ids, state.centres),
        )

    def _shaded(self, harmonics: Tensor, means: Tensor, rotated: Tensor, part_ids: Tensor, centres: Tensor) -> Tensor:
        """Colours with light and shadows; `rotated` `[N, 3]`: positions relative to the centres of their parts."""
        count = len(self.half_extents)
        facing = harmonics_basis(nn.functional.normalize(rotated.detach(), dim=-1), self.harmonics)[:, 1:]
        light = torch.cat([self.light, self.light.new_zeros(1, self.harmonics - 1)])[part_ids.clamp_max(count)]
        brightness = (1 + (light * facing).sum(-1)).clamp_min(self.parts_config.min_shading)
        if self.shadows.has_light:
            logits = self.cloud.features[: len(means), 0] + self.parts_config.initial_shadow_logit
            darkening = logits.sigmoid() * (part_ids <= count)
            radii = self.half_extents[:, 0] / self.box_margin
            covered = self.shadows.covered(means.detach(), part_ids, centres.detach(), radii)
            brightness = brightness * (1 - darkening * covered)
        black = torch.zeros_like(harmonics)
        black[:, 0] = -0.5 / C0
        return black + brightness[:, None, None] * (harmonics - black)

    def layer(self, state: RigidPartsState, which: Layer) -> Gaussians:
        """Static or dynamic Gaussians, by their part ids."""
        is_static = self.cloud.part_ids[: len(self.cloud)] == len(self.half_extents)
        return self.scene(state).only(is_static if which == "static" else ~is_static)

    def batch_spec(self) -> BatchSpec:
        """A whole picture."""
        return ImageSpec()

    def losses(self, states: RigidPartsState, batch: ImageBatch, step: int) -> dict[str, Tensor]:
        """Difference and 1 - SSIM of each picture, and opacity in front of the stated background."""
        del step
        means: dict[str, Tensor] = {}
        for camera, image, row in zip(batch.cameras, batch.images, batch.time_indices.tolist()):
            scene = self.scene(RigidPartsState(states.centres[row], states.rotations[row], states.latent[row]))
            result = splat(scene, camera)
            self.gradient_statistics.record(result, camera)
            terms = picture_losses(result.rgb, image, self.cloud_config.ssim_weight)
            tolerance = self.config.packed.background_tolerance
            opacity = background_opacity(result.opacity, image, self.info.background, tolerance)
            terms["background_opacity"] = self.config.background_opacity_weight * opacity
            for name, term in terms.items():
                means[name] = means.get(name, 0.0) + term / len(batch.images)
        return means | size_losses(self.cloud.to_gaussians(self.info.background, 0), self.cloud_config)

    def before_step(self, step: int, progress: float) -> None:
        """Densification."""
        if self.density.step(self.gradient_statistics, step, progress):
            self.remove_strays()

    @torch.no_grad()
    def remove_strays(self) -> None:
        """Removes Gaussians that have left their part's box, or the box around its shadow."""
        n = len(self.cloud)
        limits = [self.half_extents, torch.full_like(self.half_extents[:1], torch.inf)]
        if self.shadows.has_light:
            limits.append(self.half_extents * self.shadows.length().clamp_min(1))
        limit = self.parts_config.stray_margin * torch.cat(limits)[self.cloud.part_ids[:n]]
        is_inside = (self.cloud.means[:n].abs() <= limit).all(-1)
        if not bool(is_inside.all()) and bool(is_inside.any()):
            self.cloud.keep(is_inside)

    def pop_written_rows(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Rows of the cloud."""
        return self.cloud.pop_written_rows()

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Groups of the cloud, of the shadows' logits, and of the light."""
        c = self.parts_config
        shading = {"name": "shading", "params": [self.cloud.features], "lr": c.shadow_lr}
        light_lr = c.light_lr * (1 - (1 - c.light_lr_final) * progress)
        light = {"name": "light", "params": [self.light], "lr": light_lr}
        return [*self.cloud.parameter_groups(self.cloud_config, progress, self.extent), shading, light]


def _shadows_fall_on_background(shadows: Sequence[np.ndarray], masks: Silhouettes) -> bool:
    """Whether most shadow pixels show the uniform background, so that no static object is there to be darkened."""
    on_objects = sum(int((shade & occluders).sum()) for shade, occluders in zip(shadows, masks.occluders))
    return masks.uniform_background and 2 * on_objects < sum(int(shade.sum()) for shade in shadows)
