"""Parts made of Gaussians: each rides with a part, or rests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foreseen.geometry.rotations import quaternion_of, quaternion_product, rotation_matrix
from foreseen.methods.base import BatchSpec, ImageBatch, Portion, SceneInfo
from foreseen.methods.gaussian_cloud.cloud import GaussianCloud
from foreseen.methods.gaussian_cloud.config import CloudConfig
from foreseen.methods.gaussian_cloud.density import Density, Sightings
from foreseen.methods.gaussian_cloud.losses import picture_losses, size_losses
from foreseen.methods.gaussian_cloud.start import Start, surface, surface_colors
from foreseen.methods.hulls import View
from foreseen.methods.moving_parts.discovery import Findings
from foreseen.methods.moving_parts.looks import Look
from foreseen.methods.moving_parts.parts import PartsState
from foreseen.methods.packed import PLAIN
from foreseen.render.splat import splat
from foreseen.scenes import Gaussians

OUTSIDE = 1.2
"""A Gaussian that leaves its part's box, grown by so much, is removed."""


class GaussianLook(Look):
    """A cloud whose rows are owned by parts 0 to K - 1, and K: what rests. Gaussians of parts are at rest in their
    part's frame.

    Args:
        halves: `[K, 3]` half sizes of the parts' boxes.
    """

    def __init__(self, config: CloudConfig, empty_weight: float, info: SceneInfo, halves: Tensor) -> None:
        super().__init__()
        self.config, self.info, self.empty_weight = config, info, empty_weight
        low, high = torch.tensor(info.bounds)
        self.extent = float((high - low).max()) / 2
        self.register_buffer("halves", halves)
        self.cloud = GaussianCloud(config.budget, config.degree)
        self.sightings = Sightings(config.budget)
        self.density = Density(self.cloud, config, self.extent)

    @torch.no_grad()
    def begin(self, found: Findings, states: PartsState, views: Sequence[View]) -> None:
        """Gaussians on the surfaces of the hulls, coloured as the views show them."""
        masks, everywhere = found.masks, list(range(len(views)))
        assert masks is not None
        bounds = [np.array([-half, half]) for half in self.halves.numpy()] + [np.array(self.info.bounds)]
        places = [surface(cells, box) for cells, box in zip([*found.own, found.still], bounds)]
        share = min(1.0, self.config.start_points / max(sum(map(len, places)), 1))
        turns = rotation_matrix(states.turns).numpy()
        self.cloud.clear()
        for k, place in enumerate(places):
            kept = place[torch.randperm(len(place))[: round(len(place) * share)].numpy()]
            if not len(kept):
                continue
            poses = (turns[:, k], states.centres[:, k].numpy()) if k < len(self.halves) else None
            start = Start(kept, surface_colors(kept, everywhere, views, masks, poses), "from silhouettes")
            points, colors = (torch.from_numpy(x).float() for x in (start.points, start.colors))
            scales = start.spacing() * self.config.start_scale
            self.cloud.plant(points, colors, scales, self.config.start_opacity, owner=k)
        self.cloud.take_written()

    def gaussians(self, state: PartsState) -> Gaussians:
        """All of them, where the parts of one time carry them."""
        rest = self.cloud.at_rest(self.info.background, self.config.degree, self.config.antialiased)
        owners = self.cloud.owners[: len(rest.means)]
        still = state.turns.new_zeros(1, 3)
        turns, centres = torch.cat([state.turns, still]), torch.cat([state.centres, still])
        turned = (rotation_matrix(turns)[owners] @ rest.means[..., None])[..., 0]
        return replace(
            rest,
            means=turned + centres[owners],
            quaternions=quaternion_product(quaternion_of(turns)[owners], rest.quaternions),
        )

    def scene(self, state: PartsState) -> Gaussians:
        """At one time."""
        return self.gaussians(state)

    def portion(self, state: PartsState, which: Portion) -> Gaussians:
        """By who owns them."""
        rests = self.cloud.owners[: len(self.cloud)] == len(self.halves)
        return self.gaussians(state).only(rests if which == "static" else ~rests)

    def batch_spec(self) -> BatchSpec:
        """A whole picture."""
        return BatchSpec(kind="images")

    def losses(self, states: PartsState, batch: ImageBatch, step: int) -> dict[str, Tensor]:
        """Of each picture its difference, 1 - SSIM, and opacity before the plain background."""
        del step
        means: dict[str, Tensor] = {}
        plain = torch.tensor(self.info.background)
        for camera, image, row in zip(batch.cameras, batch.images, batch.time_indices.tolist()):
            moved = self.gaussians(PartsState(states.centres[row], states.turns[row], states.latent[row]))
            result = splat(moved, camera)
            self.sightings.watch(result, camera)
            terms = picture_losses(result.rgb, image, self.config.ssim_weight)
            empty = ((image - plain.to(image)).abs().amax(-1) < PLAIN).float()
            terms["empty"] = self.empty_weight * (result.opacity * empty).mean()
            for name, term in terms.items():
                means[name] = means.get(name, 0.0) + term / len(batch.images)
        return means | size_losses(self.cloud.at_rest(self.info.background, 0), self.config)

    def before_step(self, step: int, progress: float) -> None:
        """Gaussians come and go."""
        if self.density.keep_up(self.sightings, step, progress):
            self.drop_strays()

    @torch.no_grad()
    def drop_strays(self) -> None:
        """Removes Gaussians that have left their part's box."""
        n, count = len(self.cloud), len(self.halves)
        owners = self.cloud.owners[:n]
        reach = OUTSIDE * self.halves[owners.clamp(max=count - 1)]
        kept = (owners == count) | (self.cloud.means[:n].abs() <= reach).all(-1)
        if not bool(kept.all()) and bool(kept.any()):
            self.cloud.keep(kept)

    def take_written(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Of the cloud."""
        return self.cloud.take_written()

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """A group for each kind of parameter of the cloud."""
        return self.cloud.parameter_groups(self.config, progress, self.extent)
