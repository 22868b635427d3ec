"""Methods whose scene is a cloud of Gaussians."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from foreseen.batches.images import ImageBatch, ImageSpec
from foreseen.core.capabilities import Layer
from foreseen.core.method import Callback, Method, Traits
from foreseen.core.observation import Observation, check_sequence_index
from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.render.splat import splat
from foreseen.scenes.gaussians import Gaussians
from foreseen.splatting.cloud import GaussianCloud
from foreseen.splatting.config import CloudConfig, WarmUpConfig
from foreseen.splatting.densification import DensityControl, GradientStatistics
from foreseen.splatting.hull_guidance import HullGuidance
from foreseen.splatting.initialization import HullTimes, InitialPoints, find_initial_points
from foreseen.splatting.losses import picture_losses, size_losses

DEFORMING, STATIC = 0, 1
"""Part ids in a cloud that is displaced: Gaussians that are known to be static are not displaced."""

CloudState = TypeVar("CloudState")


@dataclass(frozen=True)
class GaussianTimeState:
    """The state is the time itself, `[...]`, in the data set's unit."""

    time: Tensor


class CloudMethod(Method[CloudState, ImageBatch]):
    """Learns a cloud from whole pictures; a subclass has the verbs, and `deformed`, how the cloud moves.

    The background is the stated one of the data set and is not learned. Without a stated background (a room), the
    cloud has to show everything.

    Raises:
        UserError: several sequences, or bounds in normalised device coordinates.
    """

    # The gradient is not clipped, as published: each picture affects other Gaussians, and Adam normalises each of them.
    traits = Traits(max_grad_norm=0.0, scene=Gaussians)
    hull_times: HullTimes = "all"
    """Which times the hull of the first Gaussians is carved from."""

    def __init__(self, name: str, config: CloudConfig, info: SceneInfo) -> None:
        super().__init__()
        check_scene(name, info)
        self.cloud_config, self.info = config, info
        low, high = torch.tensor(info.bounds)
        self.extent = float((high - low).max()) / 2
        self.cloud = GaussianCloud(config.budget, config.degree)
        self.gradient_statistics = GradientStatistics(config.budget)
        self.density = DensityControl(self.cloud, config, self.extent)
        self.step, self.progress = 0, 1.0

    @abstractmethod
    def scene(self, state: CloudState) -> Gaussians:
        """The cloud of a state at one time."""

    @abstractmethod
    def deformed(self, canonical: Gaussians, normalized_time: float) -> Gaussians:
        """The cloud `canonical` at a time; the training window is 0..1."""

    def at(self, time: float) -> Gaussians:
        """The cloud at a time in the data set's unit."""
        return self.deformed(self.canonical(), self.normalized_time(time))

    def normalized_time(self, time: float) -> float:
        """A time of the data set as a share of the training window."""
        first, last = self.info.time_range
        return (time - first) / (last - first) if last > first else 0.0

    def canonical(self) -> Gaussians:
        """The cloud before any displacement."""
        return self.cloud.to_gaussians(self.info.background, self._degree(), self.cloud_config.antialiased)

    def _degree(self) -> int:
        """Degree of the harmonics that are in use."""
        c = self.cloud_config
        if not self.training:
            return c.degree
        joined = max(self.step / c.degree_steps, self.progress / c.degree_share) if c.degree_share else c.degree
        return min(c.degree, int(joined))

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[PoseLabels | None]) -> str | None:
        """Places the first Gaussians."""
        del labels
        start = find_initial_points(frames, self.info, self.cloud_config, self.hull_times)
        self._add_initial_points(start)
        return f"{len(self.cloud)} Gaussians to start with, {start.source}."

    def _add_initial_points(self, start: InitialPoints) -> None:
        c = self.cloud_config
        points, colors = (torch.from_numpy(x).float() for x in (start.points, start.colors))
        scales = start.spacing(c.initialization) * c.start_scale
        is_static = torch.zeros(len(points), dtype=torch.bool)
        if start.static_mask is not None:
            is_static = torch.from_numpy(start.static_mask)
        self.cloud.clear()
        for mask, part_id in ((~is_static, DEFORMING), (is_static, STATIC)):
            self.cloud.add_points(points[mask], colors[mask], scales[mask], c.start_opacity, part_id)
        self.cloud.pop_written_rows()

    def losses(self, batch: ImageBatch, step: int) -> dict[str, Tensor]:
        """Difference and 1 - SSIM of each picture; opacities and sizes once."""
        del step
        means: dict[str, Tensor] = {}
        canonical = self.canonical()
        for camera, image, time in zip(batch.cameras, batch.images, batch.times.tolist()):
            result = splat(self.deformed(canonical, self.normalized_time(time)), camera)
            self.gradient_statistics.record(result, camera)
            for name, term in picture_losses(result.rgb, image, self.cloud_config.ssim_weight).items():
                means[name] = means.get(name, 0.0) + term / len(batch.images)
        return means | size_losses(canonical, self.cloud_config)

    def batch_spec(self, step: int) -> ImageSpec:
        """One image."""
        del step
        return ImageSpec()

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Groups of the cloud."""
        return self.cloud.parameter_groups(self.cloud_config, progress, self.extent)

    def callbacks(self) -> tuple[Callback, ...]:
        """The first Gaussians, and densification."""
        return (Callback(self.warm_start, self.before_step, self.cloud.pop_written_rows, self.finish),)

    def before_step(self, step: int, progress: float) -> str | None:
        """Densification."""
        self.step, self.progress = step, progress
        self.density.step(self.gradient_statistics, step, progress)
        return None

    def finish(self) -> str | None:
        """A line with the number of Gaussians."""
        return f"{len(self.cloud)} Gaussians."


class GaussianMethod(CloudMethod[GaussianTimeState]):
    """A cloud whose state is the time alone."""

    def observe(self, observation: Observation) -> GaussianTimeState:
        """The first training time."""
        check_sequence_index(observation.sequence, 1)
        return GaussianTimeState(self.cloud.means.new_tensor(self.info.time_range[0]))

    def evolve(self, state: GaussianTimeState, times: Tensor) -> GaussianTimeState:
        """`times` themselves."""
        return GaussianTimeState(times.to(state.time))

    def scene(self, state: GaussianTimeState) -> Gaussians:
        """The cloud at the state's time."""
        return self.at(float(state.time))


class DeformingCloudMethod(CloudMethod[CloudState]):
    """A cloud that a learned deformation displaces.

    As published, the cloud is first optimised as static: it shows a blur of what moves, and the deformation then
    separates the blur. A small object before a plain background leaves no blur, because the median picture, which an L1
    loss prefers, is empty. So with `guidance_share` above 0, and silhouettes, the cloud starts as the hull at one time,
    and hulls of other times attract it.
    """

    def __init__(self, name: str, config: CloudConfig, warm_up: WarmUpConfig, info: SceneInfo) -> None:
        super().__init__(name, config, info)
        self.warm_up = warm_up
        self._motion_extent: Tensor | None = None
        self.hull_guidance = HullGuidance(warm_up)
        if warm_up.guidance_share:
            self.hull_times = "one"

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[PoseLabels | None]) -> str | None:
        """Places the first Gaussians, and carves the hulls that attract them."""
        line = super().warm_start(frames, labels)
        if self.warm_up.guidance_share:
            self.hull_guidance.carve_hulls(frames, self.info, self.extent, self.cloud_config.initialization)
        return line

    def layer(self, state: CloudState, which: Layer) -> Gaussians:
        """Static or dynamic Gaussians, by how far they move in the training window."""
        c, motion_extent = self.warm_up.layers, self.motion_extent()
        farthest = float(motion_extent.quantile(c.largest_quantile)) if len(motion_extent) else 0.0
        moves = motion_extent > max(c.min_distance * self.extent, c.min_share * farthest)
        return self.scene(state).only(moves if which == "dynamic" else ~moves)

    @torch.no_grad()
    def motion_extent(self) -> Tensor:
        """`[N]`: diagonal of the box that holds each Gaussian's mean over the training window, in scene units. Cached
        until the next step."""
        if self._motion_extent is None or len(self._motion_extent) != len(self.cloud):
            canonical, last = self.canonical(), self.warm_up.layers.samples - 1
            means = torch.stack([self.deformed(canonical, i / last).means for i in range(last + 1)])
            self._motion_extent = (means.amax(0) - means.amin(0)).norm(dim=-1)
        return self._motion_extent

    def before_step(self, step: int, progress: float) -> str | None:
        """Densification; the cached motion is dropped."""
        self._motion_extent = None
        return super().before_step(step, progress)

    def moving_indices(self) -> Tensor:
        """`[M]` int64: the Gaussians that may move; the others are known to be static."""
        return (self.cloud.part_ids[: len(self.cloud)] == DEFORMING).nonzero()[:, 0]

    def scatter_moving(self, values: Tensor) -> Tensor:
        """`[N, C]`: `values` `[M, C]` of the Gaussians that may move, 0 for the others."""
        moving_indices, count = self.moving_indices(), len(self.cloud)
        if len(moving_indices) == count:
            return values
        return values.new_zeros(count, values.shape[-1]).index_copy(0, moving_indices, values)

    def is_deforming(self) -> bool:
        """Whether the deformation is in use yet."""
        w = self.warm_up
        if not self.training or int(self.hull_guidance.num_times):
            return True
        return self.step >= w.steps or self.progress >= w.share

    def losses(self, batch: ImageBatch, step: int) -> dict[str, Tensor]:
        """Hulls alone at first; then pictures, and hulls with a falling weight."""
        w, guidance = self.warm_up, self.hull_guidance
        if not int(guidance.num_times) or self.progress >= w.guidance_share:
            return super().losses(batch, step)
        time_index = guidance.sample_time()
        deformed = self.deformed(self.canonical(), float(guidance.times[time_index]))
        distance = w.guidance_weight * guidance.distance(deformed, self.moving_indices(), time_index, self.extent)
        if self.progress < w.hull_only_share and step < w.hull_only_steps:
            return {"hull_guidance": distance}
        return super().losses(batch, step) | {"hull_guidance": distance * (1 - self.progress / w.guidance_share)}


def check_scene(name: str, info: SceneInfo) -> None:
    """Raises `UserError` for data that a single cloud cannot show."""
    if len(info.times) > 1:
        raise UserError(
            f"{name} learns one sequence, and the data set has {len(info.times)}: give a folder with one of them, or "
            "train rigid-ode or d-nerf."
        )
    if info.ndc:
        raise UserError(
            f"{name} cannot place Gaussians in normalised device coordinates, in which this data set states its "
            "bounds: read it in scene units (--no-ndc), or train d-nerf or rigid-ode."
        )
