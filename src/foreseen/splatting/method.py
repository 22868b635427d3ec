"""A method whose scene is a cloud of Gaussians."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from foreseen.batches.images import ImageBatch, ImageSpec
from foreseen.core.capabilities import Layer
from foreseen.core.method import Callback, Method, Traits
from foreseen.core.observation import Observation
from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.render.splat import splat
from foreseen.scenes.gaussians import Gaussians
from foreseen.splatting.cloud import GaussianCloud
from foreseen.splatting.config import CloudConfig, WarmUp
from foreseen.splatting.densification import DensityControl, GradientStatistics
from foreseen.splatting.hull_guidance import HullGuidance
from foreseen.splatting.initialization import When, find_initial_points
from foreseen.splatting.losses import picture_losses, size_losses

MOTION_SAMPLES = 9
"""Where Gaussians go is looked up at so many times of the training window."""
STATIC_DISTANCE, STATIC_SHARE = 0.02, 0.15
"""A Gaussian rests that goes no farther than this share of the scene's half size, or than this share of how far those
go that go farthest: networks shake everything a little."""
DEFORMING, STATIC = 0, 1
"""Owners of Gaussians in a cloud that is displaced: what is known to rest is not."""


@dataclass(frozen=True)
class GaussianTimeState:
    """The state is the time itself, `[...]`, in the data set's unit."""

    time: Tensor


class GaussianMethod(Method[GaussianTimeState, ImageBatch]):
    """Learns a cloud from whole pictures; how it moves is the subclass's (`deformed`).

    The background is the data set's stated one: it is not learned. Where nothing is stated to be empty (a room), the
    cloud has to show everything.

    Raises:
        UserError: several sequences, or bounds in normalised device coordinates, in which a cloud cannot stand.
    """

    traits = Traits(max_grad_norm=0.0, scene=Gaussians)
    # Not clipped, as published: every image pulls at other Gaussians, and Adam normalises each of them.
    initial_points_when: When = "ever"
    """Where the first Gaussians are."""

    def __init__(self, name: str, config: CloudConfig, info: SceneInfo) -> None:
        super().__init__()
        check_scene(name, info)
        self.settings, self.info = config, info
        low, high = torch.tensor(info.bounds)
        self.extent = float((high - low).max()) / 2
        self.cloud = GaussianCloud(config.budget, config.degree)
        self.gradient_statistics = GradientStatistics(config.budget)
        self.density = DensityControl(self.cloud, config, self.extent)
        self.step, self.progress = 0, 1.0

    @abstractmethod
    def deformed(self, canonical: Gaussians, normalized_time: float) -> Gaussians:
        """The cloud `canonical` at a time; the training window is 0..1."""

    def observe(self, observation: Observation) -> GaussianTimeState:
        """The first training time."""
        if observation.sequence:
            raise UserError(f"this run learned one sequence; there is no sequence {observation.sequence}.")
        return GaussianTimeState(self.cloud.means.new_tensor(self.info.time_range[0]))

    def evolve(self, state: GaussianTimeState, times: Tensor) -> GaussianTimeState:
        """`times` themselves."""
        return GaussianTimeState(times.to(state.time))

    def scene(self, state: GaussianTimeState) -> Gaussians:
        """The cloud at the state's time."""
        return self.at(float(state.time))

    def at(self, time: float) -> Gaussians:
        """The cloud at a time in the data set's unit."""
        return self.deformed(self.canonical(), self.normalized_time(time))

    def normalized_time(self, time: float) -> float:
        """A time of the data set as a share of the training window."""
        first, last = self.info.time_range
        return (time - first) / (last - first) if last > first else 0.0

    def canonical(self) -> Gaussians:
        """The cloud as it is before anything moves it."""
        return self.cloud.to_gaussians(self.info.background, self._degree(), self.settings.antialiased)

    def _degree(self) -> int:
        """Of the harmonics that have joined."""
        if not self.training:
            return self.settings.degree
        c = self.settings
        joined = max(self.step / c.degree_steps, self.progress / c.degree_share) if c.degree_share else c.degree
        return min(c.degree, int(joined))

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[PoseLabels | None]) -> str | None:
        """The first Gaussians."""
        del labels
        start = find_initial_points(frames, self.info, self.settings, self.initial_points_when)
        points, colors = (torch.from_numpy(x).float() for x in (start.points, start.colors))
        scales = start.spacing() * self.settings.start_scale
        self.cloud.clear()
        static_mask = (
            torch.zeros(len(points), dtype=torch.bool)
            if start.static_mask is None
            else torch.from_numpy(start.static_mask)
        )
        for some, part_id in ((~static_mask, DEFORMING), (static_mask, STATIC)):
            self.cloud.add_points(points[some], colors[some], scales[some], self.settings.start_opacity, part_id)
        self.cloud.pop_written_rows()
        return f"{len(self.cloud)} Gaussians to start with, {start.source}."

    def losses(self, batch: ImageBatch, step: int) -> dict[str, Tensor]:
        """Of each picture its difference and 1 - SSIM; once for all, opacities and sizes."""
        del step
        means: dict[str, Tensor] = {}
        canonical = self.canonical()
        for camera, image, time in zip(batch.cameras, batch.images, batch.times.tolist()):
            result = splat(self.deformed(canonical, self.normalized_time(time)), camera)
            self.gradient_statistics.watch(result, camera)
            for name, term in picture_losses(result.rgb, image, self.settings.ssim_weight).items():
                means[name] = means.get(name, 0.0) + term / len(batch.images)
        return means | size_losses(canonical, self.settings)

    def batch_spec(self, step: int) -> ImageSpec:
        """One image."""
        del step
        return ImageSpec()

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Those of the cloud."""
        return self.cloud.parameter_groups(self.settings, progress, self.extent)

    def callbacks(self) -> tuple[Callback, ...]:
        """The first Gaussians, and densification."""
        return (Callback(self.warm_start, self.before_step, self.cloud.pop_written_rows, self.finish),)

    def before_step(self, step: int, progress: float) -> str | None:
        """Gaussians come and go."""
        self.step, self.progress = step, progress
        self.density.step(self.gradient_statistics, step, progress)
        return None

    def finish(self) -> str | None:
        """How many Gaussians there are."""
        return f"{len(self.cloud)} Gaussians."


class MovingGaussianMethod(GaussianMethod):
    """A cloud that something learned displaces.

    As published, the cloud is optimised at rest until the warm-up is over: it then shows a blur of what moves, and the
    blur is led apart. Small things before a plain background leave no blur: the median picture, which L1 asks for, is
    empty. So with `guidance_share` above 0 and silhouettes that tell, the cloud begins as the hull at one time, and
    hulls of other times say where it goes.
    """

    def __init__(self, name: str, config: CloudConfig, warm_up: WarmUp, info: SceneInfo) -> None:
        super().__init__(name, config, info)
        self.warm_up = warm_up
        self._motion_extent: Tensor | None = None
        self.hull_guidance = HullGuidance()
        if warm_up.guidance_share:
            self.initial_points_when = "once"

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[PoseLabels | None]) -> str | None:
        """The first Gaussians, and hulls to follow."""
        line = super().warm_start(frames, labels)
        if self.warm_up.guidance_share:
            self.hull_guidance.carve_hulls(frames, self.info, self.extent, self.settings.hulls)
        return line

    def layer(self, state: GaussianTimeState, which: Layer) -> Gaussians:
        """By how far Gaussians go in the training window."""
        motion_extent = self.motion_extent()
        farthest = float(motion_extent.quantile(0.99)) if len(motion_extent) else 0.0
        moves = motion_extent > max(STATIC_DISTANCE * self.extent, STATIC_SHARE * farthest)
        return self.scene(state).only(moves if which == "dynamic" else ~moves)

    @torch.no_grad()
    def motion_extent(self) -> Tensor:
        """`[N]`: diagonals of the boxes in which each Gaussian's centre stays, in scene units; found once for each
        state of the training."""
        if self._motion_extent is None or len(self._motion_extent) != len(self.cloud):
            canonical = self.canonical()
            places = torch.stack(
                [self.deformed(canonical, i / (MOTION_SAMPLES - 1)).means for i in range(MOTION_SAMPLES)]
            )
            self._motion_extent = (places.amax(0) - places.amin(0)).norm(dim=-1)
        return self._motion_extent

    def before_step(self, step: int, progress: float) -> str | None:
        """Gaussians come and go, and their ways change."""
        self._motion_extent = None
        return super().before_step(step, progress)

    def moving_indices(self) -> Tensor:
        """`[M]` int64: the Gaussians that may move; the others are known to rest."""
        return (self.cloud.part_ids[: len(self.cloud)] == DEFORMING).nonzero()[:, 0]

    def scatter_moving(self, values: Tensor) -> Tensor:
        """`[N, C]`: `values` `[M, C]` of those that may move, 0 for the others."""
        moving_indices, count = self.moving_indices(), len(self.cloud)
        if len(moving_indices) == count:
            return values
        return values.new_zeros(count, values.shape[-1]).index_copy(0, moving_indices, values)

    def is_deforming(self) -> bool:
        """Whether anything is displaced by now."""
        w = self.warm_up
        if not self.training or int(self.hull_guidance.num_times):
            return True
        return self.step >= w.steps or self.progress >= w.share

    def losses(self, batch: ImageBatch, step: int) -> dict[str, Tensor]:
        """Hulls alone at first; then pictures, and hulls less and less."""
        w = self.warm_up
        if not int(self.hull_guidance.num_times) or self.progress >= w.guidance_share:
            return super().losses(batch, step)
        moment = self.hull_guidance.sample_time()
        deformed = self.deformed(self.canonical(), float(self.hull_guidance.times[moment]))
        hull_guidance = {
            "hull_guidance": w.guidance_weight
            * self.hull_guidance.distance(deformed, self.moving_indices(), moment, self.extent)
        }
        if self.progress < w.hull_only_share and step < w.hull_only_steps:
            return hull_guidance
        return super().losses(batch, step) | {
            "hull_guidance": hull_guidance["hull_guidance"] * (1 - self.progress / w.guidance_share)
        }


def check_scene(name: str, info: SceneInfo) -> None:
    """Raises `UserError` for data that a single cloud cannot show."""
    if len(info.times) > 1:
        raise UserError(
            f"{name} learns one sequence, and these are {len(info.times)}: give a folder with one of them, or train "
            "rigid-ode or d-nerf."
        )
    if info.ndc:
        raise UserError(
            f"{name} has no way to place Gaussians in normalised device coordinates, in which this data set states "
            "its bounds: train d-nerf or rigid-ode."
        )
