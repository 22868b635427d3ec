"""Parts made of Gaussians: each rides with a part, or rests."""

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
from foreseen.methods.rigid_ode.parts import RigidPartsState
from foreseen.methods.rigid_ode.shadows import Shadows
from foreseen.nn.checked_module import CheckedModule, check_range
from foreseen.reconstruction.reconstruct import Reconstruction
from foreseen.reconstruction.silhouettes import Silhouettes, SilhouetteView
from foreseen.render.harmonics import harmonics_basis
from foreseen.render.splat import splat
from foreseen.scenes import Gaussians
from foreseen.splatting.cloud import C0, GaussianCloud
from foreseen.splatting.config import CloudConfig
from foreseen.splatting.densification import DensityControl, GradientStatistics
from foreseen.splatting.initialization import InitialPoints, surface, surface_colors
from foreseen.splatting.losses import picture_losses, size_losses

DISC_POINTS = 1500
"""First Gaussians of a shadow, at most."""
INITIAL_SHADOW_LOGIT = -1.0
"""Logit of the share of its light that a Gaussian loses in the shadow, at first."""
LIGHT_HARMONICS = 9
"""Harmonics, up to the second degree, of the light that a part turns in: so many tell nearly all of what falls on a
matt surface (Ramamoorthi and Hanrahan 2001). The constant one is left to the colours."""
MIN_SHADING = 0.05
"""No side of a part is darker than this share of its colours."""
SHADING_LR = 2e-2
LIGHT_LR = 1e-2
STRAY_MARGIN = 1.2
"""A Gaussian that leaves its part's box, or that of its shadow, grown by so much, is removed."""


@dataclass(frozen=True)
class _Frames:
    """Rotation vectors `[O, 3]`, centres `[O, 3]` and sizes `[O]` of all owners at one time."""

    rotations: Tensor
    centres: Tensor
    sizes: Tensor


class GaussianAppearance(Appearance, CheckedModule):
    """A cloud whose rows are owned by parts 0 to K - 1, by what rests (K), and, where a light is known and nothing is
    seen of what shadows fall on, by the parts' shadows (from K + 1 on). Gaussians are at rest in their owner's frame.
    A part's shadow on other Gaussians darkens these as far as each is lit by that light (`INITIAL_SHADOW_LOGIT`). The
    light that falls on a part rests, and does not turn with it: its side that faces n is `1 + light . Y(n)` times as
    bright.

    Args:
        half_extents: `[K, 3]` half sizes of the parts' boxes.
        box_margin: half size of a part's box over the part's radius.
    """

    is_surface = True

    def __init__(
        self,
        config: CloudConfig,
        background_opacity_weight: float,
        info: SceneInfo,
        half_extents: Tensor,
        box_margin: float,
    ) -> None:
        super().__init__()
        self.config, self.info, self.background_opacity_weight = config, info, background_opacity_weight
        self.box_margin = box_margin
        low, high = torch.tensor(info.bounds)
        self.extent = float((high - low).max()) / 2
        self.register_buffer("half_extents", half_extents)
        self.light = nn.Parameter(torch.zeros(len(half_extents), LIGHT_HARMONICS - 1))
        self.cloud = GaussianCloud(config.budget, config.degree, features=1)
        self.shadows = Shadows()
        self.gradient_statistics = GradientStatistics(config.budget)
        self.density = DensityControl(self.cloud, config, self.extent)

    def check(self) -> None:
        """Every Gaussian's owner is one of those above."""
        parts = len(self.half_extents)
        part_ids = self.cloud.part_ids[: len(self.cloud)]
        check_range("Gaussians: owners", part_ids, 0, 2 * parts if self.shadows.has_light else parts)

    @torch.no_grad()
    def initialize(
        self, reconstruction: Reconstruction, states: RigidPartsState, views: Sequence[SilhouetteView]
    ) -> None:
        """Gaussians on the surfaces of the hulls, coloured as the views show them."""
        masks, everywhere = reconstruction.masks, list(range(len(views)))
        assert masks is not None
        bounds = [np.array([-half, half]) for half in self.half_extents.numpy()] + [reconstruction.box]
        places = [
            surface(cells, box)
            for cells, box in zip([*reconstruction.part_occupancy, reconstruction.static_occupancy], bounds)
        ]
        seen_as: list[Silhouettes] = [masks] * len(places)
        if reconstruction.shadow_light is not None:
            self.shadows.set_light(reconstruction.shadow_light)
            if _fall_on_nothing(reconstruction.shadows, masks):
                places += [self._disc(float(half[0])) for half in self.half_extents]
                seen_as += [replace(masks, moving=list(reconstruction.shadows))] * len(self.half_extents)
        share = min(1.0, self.config.max_initial_points / max(sum(map(len, places)), 1))
        frames = [self._frames(RigidPartsState(*x)) for x in zip(states.centres, states.rotations, states.latent)]
        rotations = rotation_matrix(torch.stack([frame.rotations for frame in frames])).numpy()
        centres = torch.stack([frame.centres for frame in frames]).numpy()
        self.cloud.clear()
        for k, (place, silhouettes) in enumerate(zip(places, seen_as)):
            kept = place[torch.randperm(len(place))[: int(len(place) * share)].numpy()]
            if not len(kept):
                continue
            poses = None if k == len(self.half_extents) else (rotations[:, k], centres[:, k])
            colors = surface_colors(kept, everywhere, views, silhouettes, poses)
            start = InitialPoints(kept, colors, "from silhouettes")
            points, shades = (torch.from_numpy(x).float() for x in (start.points, start.colors))
            scales = start.spacing() * self.config.start_scale
            self.cloud.add_points(points, shades, scales, self.config.start_opacity, part_id=k)
        self.cloud.pop_written_rows()

    def _disc(self, half: float) -> np.ndarray:
        """Points `[P, 3]` of the shadow of a sphere in a box of half size `half`, from the shadow's middle."""
        radius = float(self.shadows.growth) * half / self.box_margin
        normal, toward = self.shadows.plane[:3].double().numpy(), self.shadows.light[:3].double().numpy()
        ball = torch.randn(DISC_POINTS, 3).double().numpy()
        ball *= radius / np.linalg.norm(ball, axis=-1, keepdims=True)
        return ball - (ball @ normal / (toward @ normal))[:, None] * toward

    def _frames(self, state: RigidPartsState) -> _Frames:
        """Of all owners at one time."""
        still = state.rotations.new_zeros(1, 3)
        rotations, centres, sizes = (
            [state.rotations, still],
            [state.centres, still],
            [still.new_ones(len(self.half_extents) + 1)],
        )
        if self.shadows.has_light:
            places, growth = self.shadows.project_to_plane(state.centres)
            rotations, centres, sizes = [*rotations, torch.zeros_like(places)], [*centres, places], [*sizes, growth]
        return _Frames(torch.cat(rotations), torch.cat(centres), torch.cat(sizes))

    def scene(self, state: RigidPartsState) -> Gaussians:
        """All of them, where the parts of one time carry them. Colours depend on directions in the world's frame, in
        which the light rests."""
        rest = self.cloud.to_gaussians(self.info.background, self.config.degree, self.config.antialiased)
        part_ids, frames = self.cloud.part_ids[: len(rest.means)], self._frames(state)
        rotated = (rotation_matrix(frames.rotations)[part_ids] @ rest.means[..., None])[..., 0]
        sizes = frames.sizes[part_ids, None]
        means = sizes * rotated + frames.centres[part_ids]
        return replace(
            rest,
            means=means,
            quaternions=quaternion_product(quaternion_of(frames.rotations)[part_ids], rest.quaternions),
            scales=sizes * rest.scales,
            harmonics=self._shaded(rest.harmonics, means, rotated, part_ids, state.centres),
        )

    def _shaded(self, harmonics: Tensor, means: Tensor, rotated: Tensor, part_ids: Tensor, centres: Tensor) -> Tensor:
        """Colours in the light, and under the parts' shadows; `rotated` `[N, 3]`: where they are from their owners."""
        count = len(self.half_extents)
        facing = harmonics_basis(nn.functional.normalize(rotated.detach(), dim=-1), LIGHT_HARMONICS)[:, 1:]
        light = torch.cat([self.light, self.light.new_zeros(1, LIGHT_HARMONICS - 1)])[part_ids.clamp_max(count)]
        left = (1 + (light * facing).sum(-1)).clamp_min(MIN_SHADING)
        if self.shadows.has_light:
            lit = (self.cloud.features[: len(means), 0] + INITIAL_SHADOW_LOGIT).sigmoid() * (part_ids <= count)
            radii = self.half_extents[:, 0] / self.box_margin
            left = left * (1 - lit * self.shadows.covered(means.detach(), part_ids, centres.detach(), radii))
        black = torch.zeros_like(harmonics)
        black[:, 0] = -0.5 / C0
        return black + left[:, None, None] * (harmonics - black)

    def layer(self, state: RigidPartsState, which: Layer) -> Gaussians:
        """By who owns them."""
        rests = self.cloud.part_ids[: len(self.cloud)] == len(self.half_extents)
        return self.scene(state).only(rests if which == "static" else ~rests)

    def batch_spec(self) -> BatchSpec:
        """A whole picture."""
        return ImageSpec()

    def losses(self, states: RigidPartsState, batch: ImageBatch, step: int) -> dict[str, Tensor]:
        """Of each picture its difference, 1 - SSIM, and opacity before the plain background."""
        del step
        means: dict[str, Tensor] = {}
        for camera, image, row in zip(batch.cameras, batch.images, batch.time_indices.tolist()):
            moved = self.scene(RigidPartsState(states.centres[row], states.rotations[row], states.latent[row]))
            result = splat(moved, camera)
            self.gradient_statistics.watch(result, camera)
            terms = picture_losses(result.rgb, image, self.config.ssim_weight)
            terms["empty"] = self.background_opacity_weight * background_opacity(
                result.opacity, image, self.info.background
            )
            for name, term in terms.items():
                means[name] = means.get(name, 0.0) + term / len(batch.images)
        return means | size_losses(self.cloud.to_gaussians(self.info.background, 0), self.config)

    def before_step(self, step: int, progress: float) -> None:
        """Gaussians come and go."""
        if self.density.step(self.gradient_statistics, step, progress):
            self.remove_strays()

    @torch.no_grad()
    def remove_strays(self) -> None:
        """Removes Gaussians that have left their part's box, or the box around its shadow."""
        n = len(self.cloud)
        reach = [self.half_extents, torch.full_like(self.half_extents[:1], torch.inf)]
        if self.shadows.has_light:
            reach.append(self.half_extents * self.shadows.length().clamp_min(1))
        kept = (self.cloud.means[:n].abs() <= STRAY_MARGIN * torch.cat(reach)[self.cloud.part_ids[:n]]).all(-1)
        if not bool(kept.all()) and bool(kept.any()):
            self.cloud.keep(kept)

    def pop_written_rows(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Of the cloud."""
        return self.cloud.pop_written_rows()

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """A group for each kind of parameter of the cloud."""
        shading = {"name": "shading", "params": [self.cloud.features], "lr": SHADING_LR}
        light = {"name": "light", "params": [self.light], "lr": LIGHT_LR * (1 - 0.95 * progress)}
        return [*self.cloud.parameter_groups(self.config, progress, self.extent), shading, light]


def _fall_on_nothing(shadows: Sequence[np.ndarray], masks: Silhouettes) -> bool:
    """Whether most of the shadows are seen where there is nothing at rest to be darkened."""
    there = sum(int((shade & occluders).sum()) for shade, occluders in zip(shadows, masks.occluders))
    return masks.uniform_background and 2 * there < sum(int(shade.sum()) for shade in shadows)
