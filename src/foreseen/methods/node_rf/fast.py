"""Node-RF, preset `fast`: radiance fields at rest in the frames of moving parts, whose motion is a neural ODE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreseen.data.labels import Labels
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.methods.base import BatchSpec, DynamicalSystem, Method, Observation, RayBatch, SceneInfo
from foreseen.methods.hulls import View
from foreseen.methods.node_rf.changing import ChangingLook
from foreseen.methods.node_rf.config import FastConfig
from foreseen.methods.node_rf.discovery import MARGIN, explore
from foreseen.methods.node_rf.law import Motion
from foreseen.methods.node_rf.paper import check_scene
from foreseen.methods.node_rf.parts import Parts, PartsState
from foreseen.methods.node_rf.rigid import RigidLook
from foreseen.methods.node_rf.systems import system_of_fast
from foreseen.methods.packed import packed_losses
from foreseen.nn.splines import UniformBSpline
from foreseen.render import render_rays
from foreseen.scenes import ComposedField, VoxelScene

NO_PARTS = "no moving part was told apart: the whole scene changes with one latent number."


class FastNodeRF(Method):
    """See README.md, "fast"."""

    basis: Tensor
    law_stage: Tensor

    def __init__(self, config: FastConfig, info: SceneInfo) -> None:
        super().__init__()
        check_scene(info)
        self.config, self.info = config, info
        self.batch = BatchSpec(rays=config.rays, foreground=config.foreground)
        times = torch.tensor(info.times[0], dtype=torch.float64)
        self.start, self.window = float(times[0]), float(times[-1] - times[0])
        self.controls = max(8, min(config.most_controls, round(len(times) / config.frames_per_control)))
        self.register_buffer("basis", self._basis((times - self.start) / self.window))
        self.register_buffer("law_stage", torch.tensor(0))
        self.progress = 0.0
        self.adopt(ChangingLook(config, info))

    def adopt(self, look: RigidLook | ChangingLook) -> None:
        """Takes over how things look, and makes new, untrained trajectories for its parts."""
        halves = look.halves[:-1] if isinstance(look, RigidLook) else torch.zeros(0, 3)
        count = len(halves)
        self.parts = Parts(count, self.controls)
        self.parts.halves.copy_(halves)
        self.look = look
        self.motion = Motion(6 * count or 1, self.config.most_coordinates, self.config.law_width, 4 * self.controls + 1)

    def _basis(self, times: Tensor) -> Tensor:
        return UniformBSpline(self.controls).basis(times).float()

    # Before training.

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[Labels | None]) -> str:
        """Finds the moving parts and empty space from silhouettes (see `discovery`)."""
        del labels  # one sequence is learned from its pictures alone
        if self.info.ndc:  # the hull is carved in the space of the cameras, where rays in NDC do not run
            return NO_PARTS
        views = [View.of(frame, self.start, self.window) for frame in frames]
        c = self.config
        found = explore(views, np.array(self.info.bounds), self.info.background, self.controls, c.cells, c.most_parts)
        count = len(found.parts)
        if count == 0:
            return NO_PARTS
        halves = torch.tensor([[MARGIN * p.radius] * 3 for p in found.parts])
        may_be = torch.from_numpy(np.stack([*found.own, found.still]))
        self.adopt(RigidLook.where(c, self.info, halves, may_be))
        with torch.no_grad():
            for k, part in enumerate(found.parts):
                self.parts.centres[:, k] = torch.from_numpy(part.controls)
                self.parts.turns[:, k] = torch.from_numpy(part.rotations)
        return f"{count} moving part{'s' if count > 1 else ''} found from silhouettes."

    def shape_like(self, tensors: Mapping[str, Tensor]) -> None:
        """Makes room for as many parts as the checkpoint has."""
        if len(tensors["parts.halves"]):
            self.adopt(RigidLook.like(self.config, self.info, tensors, "look."))

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

    def scene(self, state: PartsState) -> VoxelScene | ComposedField:
        """The parts and their surroundings at one time."""
        return self.look.scene(PartsState(state.centres[None], state.turns[None], state.latent[None]), None)

    def system(self, kind: int = 0) -> DynamicalSystem | None:
        """The law that the parts' motion follows."""
        del kind
        return system_of_fast(self)

    # How it learns.

    def losses(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Squared colour error, opacity where the plain background was seen, and the trajectories' roughness."""
        scene = self.look.scene(self.parts.at(self.basis), batch.time_indices)
        result = render_rays(scene, batch.rays, stratified=True)
        self.look.budget.note(result)
        terms = packed_losses(result, batch, self.info.background, self.config.empty_weight)
        c, parts = self.config, self.parts
        terms |= self.look.penalties(step, self.progress)
        return {**terms, "jerk": c.jerk_weight * parts.jerk(), "turning": c.turning_weight * parts.turning()}

    def batch_spec(self, step: int) -> BatchSpec:
        """As many rays as the step's budget of samples allows: many once empty space is known."""
        del step
        return replace(self.batch, rays=self.look.budget.rays())

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """How things look, and the trajectories, which rest once the law was fitted to them for the last time."""
        c, decay = self.config, self.config.lr_decay**progress
        moves = decay if progress < c.law_at[-1] else 0.0
        radius = float(self.parts.halves.mean()) if self.parts.count else 1.0
        return [
            *self.look.parameter_groups(decay),
            {"name": "centres", "params": [self.parts.centres], "lr": c.centre_lr * radius * moves},
            {"name": "turns", "params": [self.parts.turns, self.parts.latent], "lr": c.turn_lr * moves},
        ]

    def before_step(self, step: int, progress: float) -> str | None:
        """Refreshes the occupancy, and fits the law at its times."""
        c, self.progress = self.config, progress
        if step and step % c.refresh_every == 0:
            self.look.refresh(c.refresh_share * (4 if step <= 256 else 1))
        return self._law_of_stage(sum(progress >= p for p in c.law_at))

    def finish(self) -> str | None:
        """The last fit of the law, where a step was so long that the budget ended before its time came."""
        return self._law_of_stage(len(self.config.law_at))

    def _law_of_stage(self, stage: int) -> str | None:
        """Fits the law, unless that was done at this stage or a later one."""
        if stage <= int(self.law_stage):
            return None
        self.law_stage.fill_(stage)
        return self.fit_law()

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
