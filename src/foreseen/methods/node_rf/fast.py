"""Node-RF, preset `fast`: radiance fields at rest in the frames of moving parts, whose motion is a neural ODE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.geometry.rotations import rotation_matrix
from foreseen.methods.base import BatchSpec, Method, Observation, RayBatch, SceneInfo
from foreseen.methods.node_rf.config import FastConfig
from foreseen.methods.node_rf.discovery import explore
from foreseen.methods.node_rf.hulls import View
from foreseen.methods.node_rf.law import Motion
from foreseen.methods.node_rf.paper import check_scene
from foreseen.methods.node_rf.parts import Parts, PartsState, surroundings
from foreseen.methods.packed import SampleBudget, packed_losses
from foreseen.nn.splines import UniformBSpline
from foreseen.render import render_rays
from foreseen.render.occupancy import OccupancyGrid
from foreseen.scenes import ComposedField

DISCOVERY_SIZE = 200
"""Silhouettes are looked at in pictures shrunk to about so many pixels."""
NO_PARTS = "no moving part was told apart: the whole scene changes with one latent number."
EMPTY_ALPHA = 0.01
"""A cell counts as empty when one step through it takes less than this share of the light."""


class FastNodeRF(Method):
    """See README.md, "fast"."""

    basis: Tensor
    middle: Tensor
    extent: Tensor
    law_stage: Tensor

    def __init__(self, config: FastConfig, info: SceneInfo) -> None:
        super().__init__()
        check_scene(info)
        self.config, self.info = config, info
        self.batch = BatchSpec(rays=config.rays, foreground=config.foreground)
        low, high = (torch.tensor(b) for b in info.bounds)
        self.register_buffer("middle", (low + high) / 2)
        self.register_buffer("extent", (high - low) / 2)
        times = torch.tensor(info.times[0], dtype=torch.float64)
        self.start, self.window = float(times[0]), float(times[-1] - times[0])
        self.controls = max(8, min(config.most_controls, round(len(times) / config.frames_per_control)))
        self.register_buffer("basis", self._basis((times - self.start) / self.window))
        self.register_buffer("law_stage", torch.tensor(0))
        self.budget = SampleBudget(config.samples, config.rays)
        self.set_parts(torch.zeros(0, 3))

    def set_parts(self, halves: Tensor) -> None:
        """Makes new, untrained parts with boxes of half sizes `halves` `[K, 3]`."""
        c, count = self.config, len(halves)
        self.parts = Parts(count, c, self.controls)
        self.parts.halves.copy_(halves)
        self.surroundings = surroundings(c, changes=count == 0)
        self.motion = Motion(6 * count or 1, c.most_coordinates, c.law_width, 4 * self.controls + 1)
        boxes = count + 1 if count else c.latent_boxes
        self.occupancy = OccupancyGrid(boxes, c.cells, threshold=EMPTY_ALPHA / self.step)

    def _basis(self, times: Tensor) -> Tensor:
        return UniformBSpline(self.controls).basis(times).float()

    @property
    def step(self) -> float:
        """Distance between two points of a ray's ladder: a share of the smallest part's box, or of the scene."""
        if self.parts.count == 0:
            return 2 * float(self.extent.max()) / self.config.static_samples
        return 2 * float(self.parts.halves.min()) / self.config.part_samples

    # Before training.

    def warm_start(self, frames: Sequence[Frame]) -> str:
        """Finds the moving parts and empty space from silhouettes (see `discovery`)."""
        if self.info.ndc:  # the hull is carved in the space of the cameras, where rays in NDC do not run
            return NO_PARTS
        bounds = torch.stack([self.middle - self.extent, self.middle + self.extent]).double().numpy()
        views = [self._view(frame) for frame in frames]
        c = self.config
        found = explore(views, bounds, self.info.background, self.controls, c.cells, c.most_parts)
        count = len(found.parts)
        self.set_parts(torch.tensor([[1.25 * p.radius] * 3 for p in found.parts]).reshape(count, 3))
        outside = self.occupancy.outside_sphere()
        with torch.no_grad():
            for k, part in enumerate(found.parts):
                self.parts.centres[:, k] = torch.from_numpy(part.controls)
                self.parts.turns[:, k] = torch.from_numpy(part.rotations)
                self.occupancy.close(k, outside)
        if count == 0:
            return NO_PARTS
        self.occupancy.close(count, ~torch.from_numpy(found.still))
        return f"{count} moving part{'s' if count > 1 else ''} found from silhouettes."

    def _view(self, frame: Frame) -> View:
        factor = max(1, round(min(frame.camera.width, frame.camera.height) / DISCOVERY_SIZE))
        small = replace(frame, camera=frame.camera.downscale(factor))
        return View(small.camera, (frame.time - self.start) / self.window, small.image().numpy())

    def shape_like(self, tensors: Mapping[str, Tensor]) -> None:
        """Makes room for as many parts as the checkpoint has."""
        self.set_parts(tensors["parts.halves"])

    # The four verbs (render belongs to the scene).

    def observe(self, observation: Observation) -> PartsState:
        """The parts as they are at the end of the observed window."""
        if observation.sequence != 0:
            raise UserError(f"this run learned one sequence; there is no sequence {observation.sequence}.")
        return self.parts.at(self.basis[-1:])

    def evolve(self, state: PartsState, times: Tensor) -> PartsState:
        """Inside the observed window the trajectories that were seen; outside, the law from the window's ends."""
        del state  # one sequence: its trajectories are the method's own parameters
        u = (times.double() - self.start) / self.window
        inside = self.parts.at(self._basis(u.clamp(0, 1)))
        # Compared as float32, as which times come: the last observed one must not count as after the window.
        first, last = torch.tensor([self.start, self.start + self.window])
        outside = (times.float() < first) | (times.float() > last)
        if not outside.any() or not self.motion.fitted:
            return inside
        beyond = self.parts.from_numbers(self.motion.extrapolate(u[outside], self.config.law_steps))
        names = ("centres", "turns", "latent")
        return PartsState(*(getattr(inside, n).index_put((outside,), getattr(beyond, n)) for n in names))

    def scene(self, state: PartsState) -> ComposedField:
        """The parts and their surroundings at one time."""
        return self.compose(PartsState(state.centres[None], state.turns[None], state.latent[None]))

    def compose(self, state: PartsState) -> ComposedField:
        """The scene in which ray r sees the parts as they are in row r of `state` (or all rays its one row)."""
        rows, count = len(state.latent), self.parts.count
        rotations = torch.cat([rotation_matrix(state.turns), torch.eye(3).expand(rows, 1, 3, 3)], dim=1)

        def query(local: Tensor, part: Tensor, ray: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
            row = ray if rows > 1 else torch.zeros_like(ray)
            turn = rotations[row, part]
            seen_from = torch.einsum("mba,mb->ma", turn, view)
            condition = torch.cat([seen_from, turn[:, 0], turn[:, 2]], dim=-1)
            return self._query(local, part, state.latent[row], condition)

        stride = max(1, round(2 * float(self.extent.max()) / self.config.static_samples / self.step))
        return ComposedField(
            query=query,
            rotations=rotations,
            centres=torch.cat([state.centres, self.middle.expand(rows, 1, 3)], dim=1),
            halves=torch.cat([self.parts.halves, self.extent[None]]),
            cells=self._cells(state),
            grid=self.occupancy.density,
            threshold=self.occupancy.threshold,
            step=self.step,
            strides=torch.tensor([1] * count + [stride]),
            near=self.info.near,
            far=self.info.far,
            background=self.info.background,
        )

    def _cells(self, state: PartsState) -> Tensor:
        """`[R, K + 1]` each part has its own occupancy grid; a changing scene has one for each stretch of the
        latent."""
        if self.parts.count:
            return torch.arange(self.parts.count + 1).expand(len(state.latent), -1)
        boxes = self.config.latent_boxes
        return ((state.latent.detach() + 1) / 2 * boxes).long().clamp(0, boxes - 1)

    def _query(self, local: Tensor, part: Tensor, latent: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Samples of parts go to the parts' field, the others to the surroundings'."""
        density, color = torch.empty(len(part)), torch.empty(len(part), 3)
        moving = part < self.parts.count
        for is_part in (True, False):
            i = (moving == is_part).nonzero()[:, 0]
            if len(i) == 0:
                continue
            if is_part:
                d, c = self.parts.field(local[i], part[i], condition[i])
            else:
                d, c = self.surroundings(self._coords(local[i], latent[i]), None, condition[i])
            density, color = density.index_copy(0, i, d), color.index_copy(0, i, c)
        return density / self._sizes()[part], color

    def _coords(self, local: Tensor, latent: Tensor) -> Tensor:
        return local if self.parts.count else torch.cat([local, latent], dim=-1)

    def _sizes(self) -> Tensor:
        """`[K + 1]` mean half sizes: inside the fields densities are per half size."""
        return torch.cat([self.parts.halves.mean(-1), self.extent.mean()[None]])

    # How it learns.

    def losses(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Squared colour error, opacity where the plain background was seen, and the trajectories' roughness."""
        del step
        scene = self.compose(self.parts.at(self.basis[batch.time_indices]))
        result = render_rays(scene, batch.rays, stratified=True)
        self.budget.note(result)
        terms = packed_losses(result, batch, self.info.background, self.config.empty_weight)
        c, parts = self.config, self.parts
        return {**terms, "jerk": c.jerk_weight * parts.jerk(), "turning": c.turning_weight * parts.turning()}

    def batch_spec(self, step: int) -> BatchSpec:
        """As many rays as the step's budget of samples allows: many once empty space is known."""
        del step
        return replace(self.batch, rays=self.budget.rays())

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Planes, networks, and the trajectories, which rest once the law was fitted to them for the last time."""
        c, decay = self.config, self.config.lr_decay**progress
        moves = decay if progress < c.law_at[-1] else 0.0
        radius = float(self.parts.halves.mean()) if self.parts.count else 1.0
        fields = (self.surroundings, self.parts.field)
        return [
            {"name": "planes", "params": [f.planes.data for f in fields], "lr": c.plane_lr * decay},
            {
                "name": "networks",
                "params": [p for f in fields for p in f.network_parameters()],
                "lr": c.network_lr * decay,
            },
            {"name": "centres", "params": [self.parts.centres], "lr": c.centre_lr * radius * moves},
            {"name": "turns", "params": [self.parts.turns, self.parts.latent], "lr": c.turn_lr * moves},
        ]

    def before_step(self, step: int, progress: float) -> str | None:
        """Refreshes the occupancy, and fits the law at its times."""
        c = self.config
        if step and step % c.refresh_every == 0:
            self.occupancy.refresh(self._cached_density, share=c.refresh_share * (4 if step <= 256 else 1))
        stage = sum(progress >= p for p in c.law_at)
        if stage > int(self.law_stage):
            self.law_stage.fill_(stage)
            return self.fit_law()
        return None

    def _cached_density(self, coords: Tensor, box: Tensor) -> Tensor:
        if self.parts.count == 0:
            boxes = self.config.latent_boxes
            latent = (box + torch.rand(len(box))) / boxes * 2 - 1
            return self.surroundings.density(self._coords(coords, latent[:, None]))[0] / self._sizes()[-1]
        out = torch.empty(len(coords))
        moving = box < self.parts.count
        out[moving] = self.parts.field.density(coords[moving], box[moving])[0]
        out[~moving] = self.surroundings.density(coords[~moving])[0]
        return out / self._sizes()[box]

    def fit_law(self) -> str:
        """Learns the law from the trajectories as they are now. Says how far it follows them."""
        c = self.config
        times = torch.linspace(0, 1, 4 * self.controls + 1, dtype=torch.float64)
        with torch.no_grad():
            numbers = self.parts.numbers(self._basis(times))
        self.motion.fit(numbers, c.law_iterations, c.law_steps, c.law_lengths)
        m = self.motion
        if bool(m.misfit.isnan()):
            return "no law of motion follows the parts: after the observed window they go straight on."
        return (
            f"a law of motion on {int(m.coordinates.used)} coordinates follows {float(m.reach):.0%} of the observed "
            f"window with a misfit of {float(m.misfit):.1%}."
        )
