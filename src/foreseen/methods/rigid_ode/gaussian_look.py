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
from foreseen.fields.packed import opacity_of_nothing
from foreseen.geometry.rotations import quaternion_of, quaternion_product, rotation_matrix
from foreseen.methods.rigid_ode.looks import Look
from foreseen.methods.rigid_ode.parts import PartsState
from foreseen.methods.rigid_ode.shadows import Shadows
from foreseen.nn.checked import Checked, check_range
from foreseen.reconstruction.findings import MARGIN, Findings
from foreseen.reconstruction.hulls import Silhouettes, View
from foreseen.render.harmonics import harmonics_basis
from foreseen.render.splat import splat
from foreseen.scenes import Gaussians
from foreseen.splatting.cloud import C0, GaussianCloud
from foreseen.splatting.config import CloudConfig
from foreseen.splatting.density import Density, Sightings
from foreseen.splatting.losses import picture_losses, size_losses
from foreseen.splatting.start import Start, surface, surface_colors

DISC_POINTS = 1500
"""First Gaussians of a shadow, at most."""
SHADED = -1.0
"""Logit of the share of its light that a Gaussian loses in the shadow, at first."""
LIGHT = 9
"""Harmonics, up to the second degree, of the light that a part turns in: so many tell nearly all of what falls on a
matt surface (Ramamoorthi and Hanrahan 2001). The constant one is left to the colours."""
DARK = 0.05
"""No side of a part is darker than this share of its colours."""
SHADING_LR = 2e-2
LIGHT_LR = 1e-2
OUTSIDE = 1.2
"""A Gaussian that leaves its part's box, or that of its shadow, grown by so much, is removed."""


@dataclass(frozen=True)
class _Frames:
    """Rotation vectors `[O, 3]`, centres `[O, 3]` and sizes `[O]` of all owners at one time."""

    turns: Tensor
    centres: Tensor
    sizes: Tensor


class GaussianLook(Look, Checked):
    """A cloud whose rows are owned by parts 0 to K - 1, by what rests (K), and, where a light is known and nothing is
    seen of what shadows fall on, by the parts' shadows (from K + 1 on). Gaussians are at rest in their owner's frame.
    A part's shadow on other Gaussians darkens these as far as each is lit by that light (`SHADED`). The light that
    falls on a part rests, and does not turn with it: its side that faces n is `1 + light . Y(n)` times as bright.

    Args:
        halves: `[K, 3]` half sizes of the parts' boxes.
    """

    solid = True

    def __init__(self, config: CloudConfig, empty_weight: float, info: SceneInfo, halves: Tensor) -> None:
        super().__init__()
        self.config, self.info, self.empty_weight = config, info, empty_weight
        low, high = torch.tensor(info.bounds)
        self.extent = float((high - low).max()) / 2
        self.register_buffer("halves", halves)
        self.light = nn.Parameter(torch.zeros(len(halves), LIGHT - 1))
        self.cloud = GaussianCloud(config.budget, config.degree, features=1)
        self.shadows = Shadows()
        self.sightings = Sightings(config.budget)
        self.density = Density(self.cloud, config, self.extent)

    def check(self) -> None:
        """Every Gaussian's owner is one of those above."""
        parts = len(self.halves)
        owners = self.cloud.owners[: len(self.cloud)]
        check_range("Gaussians: owners", owners, 0, 2 * parts if self.shadows.known else parts)

    @torch.no_grad()
    def begin(self, found: Findings, states: PartsState, views: Sequence[View]) -> None:
        """Gaussians on the surfaces of the hulls, coloured as the views show them."""
        masks, everywhere = found.masks, list(range(len(views)))
        assert masks is not None
        bounds = [np.array([-half, half]) for half in self.halves.numpy()] + [found.box]
        places = [surface(cells, box) for cells, box in zip([*found.own, found.still], bounds)]
        seen_as: list[Silhouettes] = [masks] * len(places)
        if found.lamp is not None:
            self.shadows.light_up(found.lamp)
            if _fall_on_nothing(found.shadows, masks):
                places += [self._disc(float(half[0])) for half in self.halves]
                seen_as += [replace(masks, moving=list(found.shadows))] * len(self.halves)
        share = min(1.0, self.config.most_at_first / max(sum(map(len, places)), 1))
        frames = [self._frames(PartsState(*x)) for x in zip(states.centres, states.turns, states.latent)]
        turns = rotation_matrix(torch.stack([frame.turns for frame in frames])).numpy()
        centres = torch.stack([frame.centres for frame in frames]).numpy()
        self.cloud.clear()
        for k, (place, silhouettes) in enumerate(zip(places, seen_as)):
            kept = place[torch.randperm(len(place))[: int(len(place) * share)].numpy()]
            if not len(kept):
                continue
            poses = None if k == len(self.halves) else (turns[:, k], centres[:, k])
            colors = surface_colors(kept, everywhere, views, silhouettes, poses)
            start = Start(kept, colors, "from silhouettes")
            points, shades = (torch.from_numpy(x).float() for x in (start.points, start.colors))
            scales = start.spacing() * self.config.start_scale
            self.cloud.plant(points, shades, scales, self.config.start_opacity, owner=k)
        self.cloud.take_written()

    def _disc(self, half: float) -> np.ndarray:
        """Points `[P, 3]` of the shadow of a sphere in a box of half size `half`, from the shadow's middle."""
        radius = float(self.shadows.growth) * half / MARGIN
        normal, toward = self.shadows.plane[:3].double().numpy(), self.shadows.light[:3].double().numpy()
        ball = torch.randn(DISC_POINTS, 3).double().numpy()
        ball *= radius / np.linalg.norm(ball, axis=-1, keepdims=True)
        return ball - (ball @ normal / (toward @ normal))[:, None] * toward

    def _frames(self, state: PartsState) -> _Frames:
        """Of all owners at one time."""
        still = state.turns.new_zeros(1, 3)
        turns, centres, sizes = [state.turns, still], [state.centres, still], [still.new_ones(len(self.halves) + 1)]
        if self.shadows.known:
            places, growth = self.shadows.on_plane(state.centres)
            turns, centres, sizes = [*turns, torch.zeros_like(places)], [*centres, places], [*sizes, growth]
        return _Frames(torch.cat(turns), torch.cat(centres), torch.cat(sizes))

    def scene(self, state: PartsState) -> Gaussians:
        """All of them, where the parts of one time carry them. Colours depend on directions in the world's frame, in
        which the light rests."""
        rest = self.cloud.at_rest(self.info.background, self.config.degree, self.config.antialiased)
        owners, frames = self.cloud.owners[: len(rest.means)], self._frames(state)
        turned = (rotation_matrix(frames.turns)[owners] @ rest.means[..., None])[..., 0]
        sizes = frames.sizes[owners, None]
        means = sizes * turned + frames.centres[owners]
        return replace(
            rest,
            means=means,
            quaternions=quaternion_product(quaternion_of(frames.turns)[owners], rest.quaternions),
            scales=sizes * rest.scales,
            harmonics=self._shaded(rest.harmonics, means, turned, owners, state.centres),
        )

    def _shaded(self, harmonics: Tensor, means: Tensor, turned: Tensor, owners: Tensor, centres: Tensor) -> Tensor:
        """Colours in the light, and under the parts' shadows; `turned` `[N, 3]`: where they are from their owners."""
        count = len(self.halves)
        facing = harmonics_basis(nn.functional.normalize(turned.detach(), dim=-1), LIGHT)[:, 1:]
        light = torch.cat([self.light, self.light.new_zeros(1, LIGHT - 1)])[owners.clamp_max(count)]
        left = (1 + (light * facing).sum(-1)).clamp_min(DARK)
        if self.shadows.known:
            lit = (self.cloud.features[: len(means), 0] + SHADED).sigmoid() * (owners <= count)
            radii = self.halves[:, 0] / MARGIN
            left = left * (1 - lit * self.shadows.covered(means.detach(), owners, centres.detach(), radii))
        black = torch.zeros_like(harmonics)
        black[:, 0] = -0.5 / C0
        return black + left[:, None, None] * (harmonics - black)

    def layer(self, state: PartsState, which: Layer) -> Gaussians:
        """By who owns them."""
        rests = self.cloud.owners[: len(self.cloud)] == len(self.halves)
        return self.scene(state).only(rests if which == "static" else ~rests)

    def batch_spec(self) -> BatchSpec:
        """A whole picture."""
        return ImageSpec()

    def losses(self, states: PartsState, batch: ImageBatch, step: int) -> dict[str, Tensor]:
        """Of each picture its difference, 1 - SSIM, and opacity before the plain background."""
        del step
        means: dict[str, Tensor] = {}
        for camera, image, row in zip(batch.cameras, batch.images, batch.time_indices.tolist()):
            moved = self.scene(PartsState(states.centres[row], states.turns[row], states.latent[row]))
            result = splat(moved, camera)
            self.sightings.watch(result, camera)
            terms = picture_losses(result.rgb, image, self.config.ssim_weight)
            terms["empty"] = self.empty_weight * opacity_of_nothing(result.opacity, image, self.info.background)
            for name, term in terms.items():
                means[name] = means.get(name, 0.0) + term / len(batch.images)
        return means | size_losses(self.cloud.at_rest(self.info.background, 0), self.config)

    def before_step(self, step: int, progress: float) -> None:
        """Gaussians come and go."""
        if self.density.keep_up(self.sightings, step, progress):
            self.drop_strays()

    @torch.no_grad()
    def drop_strays(self) -> None:
        """Removes Gaussians that have left their part's box, or the box around its shadow."""
        n = len(self.cloud)
        reach = [self.halves, torch.full_like(self.halves[:1], torch.inf)]
        if self.shadows.known:
            reach.append(self.halves * self.shadows.length().clamp_min(1))
        kept = (self.cloud.means[:n].abs() <= OUTSIDE * torch.cat(reach)[self.cloud.owners[:n]]).all(-1)
        if not bool(kept.all()) and bool(kept.any()):
            self.cloud.keep(kept)

    def take_written(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Of the cloud."""
        return self.cloud.take_written()

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """A group for each kind of parameter of the cloud."""
        shading = {"name": "shading", "params": [self.cloud.features], "lr": SHADING_LR}
        light = {"name": "light", "params": [self.light], "lr": LIGHT_LR * (1 - 0.95 * progress)}
        return [*self.cloud.parameter_groups(self.config, progress, self.extent), shading, light]


def _fall_on_nothing(shadows: Sequence[np.ndarray], masks: Silhouettes) -> bool:
    """Whether most of the shadows are seen where there is nothing at rest to be darkened."""
    there = sum(int((shade & screen).sum()) for shade, screen in zip(shadows, masks.screen))
    return masks.plain and 2 * there < sum(int(shade.sum()) for shade in shadows)
