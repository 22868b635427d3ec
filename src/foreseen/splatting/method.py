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
from foreseen.data.labels import Labels
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.render.splat import splat
from foreseen.scenes.gaussians import Gaussians
from foreseen.splatting.cloud import GaussianCloud
from foreseen.splatting.config import CloudConfig, WarmUp
from foreseen.splatting.density import Density, Sightings
from foreseen.splatting.guide import HullGuide
from foreseen.splatting.losses import picture_losses, size_losses
from foreseen.splatting.start import When, find_start

LOOKS = 9
"""Where Gaussians go is looked up at so many times of the training window."""
STILL, SLOW = 0.02, 0.15
"""A Gaussian rests that goes no farther than this share of the scene's half size, or than this share of how far those
go that go farthest: networks shake everything a little."""
MOBILE, AT_REST = 0, 1
"""Owners of Gaussians in a cloud that is displaced: what is known to rest is not."""


@dataclass(frozen=True)
class TimeState:
    """The state is the time itself, `[...]`, in the data set's unit."""

    time: Tensor


class GaussianMethod(Method[TimeState, ImageBatch]):
    """Learns a cloud from whole pictures; how it moves is the subclass's (`moved`).

    The background is the data set's stated one: it is not learned. Where nothing is stated to be empty (a room), the
    cloud has to show everything.

    Raises:
        UserError: several sequences, or bounds in normalised device coordinates, in which a cloud cannot stand.
    """

    traits = Traits(max_grad_norm=0.0, scene=Gaussians)
    # Not clipped, as published: every image pulls at other Gaussians, and Adam normalises each of them.
    starts: When = "ever"
    """Where the first Gaussians are."""

    def __init__(self, name: str, config: CloudConfig, info: SceneInfo) -> None:
        super().__init__()
        check_scene(name, info)
        self.settings, self.info = config, info
        low, high = torch.tensor(info.bounds)
        self.extent = float((high - low).max()) / 2
        self.cloud = GaussianCloud(config.budget, config.degree)
        self.sightings = Sightings(config.budget)
        self.density = Density(self.cloud, config, self.extent)
        self.step, self.progress = 0, 1.0

    @abstractmethod
    def moved(self, rest: Gaussians, since: float) -> Gaussians:
        """The cloud `rest` at a time; the training window is 0..1."""

    def observe(self, observation: Observation) -> TimeState:
        """The first training time."""
        if observation.sequence:
            raise UserError(f"this run learned one sequence; there is no sequence {observation.sequence}.")
        return TimeState(self.cloud.means.new_tensor(self.info.time_range[0]))

    def evolve(self, state: TimeState, times: Tensor) -> TimeState:
        """`times` themselves."""
        return TimeState(times.to(state.time))

    def scene(self, state: TimeState) -> Gaussians:
        """The cloud at the state's time."""
        return self.at(float(state.time))

    def at(self, time: float) -> Gaussians:
        """The cloud at a time in the data set's unit."""
        return self.moved(self.rest(), self.since(time))

    def since(self, time: float) -> float:
        """A time of the data set as a share of the training window."""
        first, last = self.info.time_range
        return (time - first) / (last - first) if last > first else 0.0

    def rest(self) -> Gaussians:
        """The cloud as it is before anything moves it."""
        return self.cloud.at_rest(self.info.background, self._degree(), self.settings.antialiased)

    def _degree(self) -> int:
        """Of the harmonics that have joined."""
        if not self.training:
            return self.settings.degree
        c = self.settings
        joined = max(self.step / c.degree_steps, self.progress / c.degree_share) if c.degree_share else c.degree
        return min(c.degree, int(joined))

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[Labels | None]) -> str | None:
        """The first Gaussians."""
        del labels
        start = find_start(frames, self.info, self.settings, self.starts)
        points, colors = (torch.from_numpy(x).float() for x in (start.points, start.colors))
        scales = start.spacing() * self.settings.start_scale
        self.cloud.clear()
        rests = torch.zeros(len(points), dtype=torch.bool) if start.rests is None else torch.from_numpy(start.rests)
        for some, owner in ((~rests, MOBILE), (rests, AT_REST)):
            self.cloud.plant(points[some], colors[some], scales[some], self.settings.start_opacity, owner)
        self.cloud.take_written()
        return f"{len(self.cloud)} Gaussians to start with, {start.source}."

    def losses(self, batch: ImageBatch, step: int) -> dict[str, Tensor]:
        """Of each picture its difference and 1 - SSIM; once for all, opacities and sizes."""
        del step
        means: dict[str, Tensor] = {}
        rest = self.rest()
        for camera, image, time in zip(batch.cameras, batch.images, batch.times.tolist()):
            result = splat(self.moved(rest, self.since(time)), camera)
            self.sightings.watch(result, camera)
            for name, term in picture_losses(result.rgb, image, self.settings.ssim_weight).items():
                means[name] = means.get(name, 0.0) + term / len(batch.images)
        return means | size_losses(rest, self.settings)

    def batch_spec(self, step: int) -> ImageSpec:
        """One image."""
        del step
        return ImageSpec()

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Those of the cloud."""
        return self.cloud.parameter_groups(self.settings, progress, self.extent)

    def callbacks(self) -> tuple[Callback, ...]:
        """The first Gaussians, and densification."""
        return (Callback(self.warm_start, self.before_step, self.cloud.take_written, self.finish),)

    def before_step(self, step: int, progress: float) -> str | None:
        """Gaussians come and go."""
        self.step, self.progress = step, progress
        self.density.keep_up(self.sightings, step, progress)
        return None

    def finish(self) -> str | None:
        """How many Gaussians there are."""
        return f"{len(self.cloud)} Gaussians."


class MovingGaussianMethod(GaussianMethod):
    """A cloud that something learned displaces.

    As published, the cloud is optimised at rest until the warm-up is over: it then shows a blur of what moves, and the
    blur is led apart. Small things before a plain background leave no blur: the median picture, which L1 asks for, is
    empty. So with `guide_share` above 0 and silhouettes that tell, the cloud begins as the hull at one time, and
    hulls of other times say where it goes.
    """

    def __init__(self, name: str, config: CloudConfig, warm_up: WarmUp, info: SceneInfo) -> None:
        super().__init__(name, config, info)
        self.warm_up = warm_up
        self._travel: Tensor | None = None
        self.guide = HullGuide()
        if warm_up.guide_share:
            self.starts = "once"

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[Labels | None]) -> str | None:
        """The first Gaussians, and hulls to follow."""
        line = super().warm_start(frames, labels)
        if self.warm_up.guide_share:
            self.guide.look(frames, self.info, self.extent)
        return line

    def layer(self, state: TimeState, which: Layer) -> Gaussians:
        """By how far Gaussians go in the training window."""
        travel = self.travel()
        farthest = float(travel.quantile(0.99)) if len(travel) else 0.0
        moves = travel > max(STILL * self.extent, SLOW * farthest)
        return self.scene(state).only(moves if which == "dynamic" else ~moves)

    @torch.no_grad()
    def travel(self) -> Tensor:
        """`[N]`: diagonals of the boxes in which each Gaussian's centre stays, in scene units; found once for each
        state of the training."""
        if self._travel is None or len(self._travel) != len(self.cloud):
            rest = self.rest()
            places = torch.stack([self.moved(rest, i / (LOOKS - 1)).means for i in range(LOOKS)])
            self._travel = (places.amax(0) - places.amin(0)).norm(dim=-1)
        return self._travel

    def before_step(self, step: int, progress: float) -> str | None:
        """Gaussians come and go, and their ways change."""
        self._travel = None
        return super().before_step(step, progress)

    def mobile(self) -> Tensor:
        """`[M]` int64: the Gaussians that may move; the others are known to rest."""
        return (self.cloud.owners[: len(self.cloud)] == MOBILE).nonzero()[:, 0]

    def spread_out(self, values: Tensor) -> Tensor:
        """`[N, C]`: `values` `[M, C]` of those that may move, 0 for the others."""
        mobile, count = self.mobile(), len(self.cloud)
        if len(mobile) == count:
            return values
        return values.new_zeros(count, values.shape[-1]).index_copy(0, mobile, values)

    def displaces(self) -> bool:
        """Whether anything is displaced by now."""
        w = self.warm_up
        if not self.training or int(self.guide.known):
            return True
        return self.step >= w.steps or self.progress >= w.share

    def losses(self, batch: ImageBatch, step: int) -> dict[str, Tensor]:
        """Hulls alone at first; then pictures, and hulls less and less."""
        w = self.warm_up
        if not int(self.guide.known) or self.progress >= w.guide_share:
            return super().losses(batch, step)
        moment = self.guide.draw()
        moved = self.moved(self.rest(), float(self.guide.times[moment]))
        guide = {"guide": w.guide_weight * self.guide.distance(moved, self.mobile(), moment, self.extent)}
        if self.progress < w.hulls_share and step < w.hulls_steps:
            return guide
        return super().losses(batch, step) | {"guide": guide["guide"] * (1 - self.progress / w.guide_share)}


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
