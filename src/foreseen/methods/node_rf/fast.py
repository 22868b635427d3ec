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
from foreseen.methods.laws.balls import Balls
from foreseen.methods.laws.impacts import Smoother
from foreseen.methods.laws.single import Motion
from foreseen.methods.moving_parts.discovery import MARGIN, explore
from foreseen.methods.moving_parts.parts import Parts, PartsState
from foreseen.methods.node_rf.changing import ChangingLook
from foreseen.methods.node_rf.config import FastConfig
from foreseen.methods.node_rf.paper import check_scene
from foreseen.methods.node_rf.rigid import RigidLook
from foreseen.methods.node_rf.systems import system_of_fast
from foreseen.methods.packed import packed_losses
from foreseen.nn.splines import UniformBSpline, smoothing
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
        self.motion = Motion(self.config.one, 6 * count or 1, count)

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
        u, outside = self._places(times)
        inside = self.parts.at(self._basis(u.clamp(0, 1)))
        if not outside.any() or not self.motion.fitted:
            return inside
        beyond = self.parts.from_numbers(self.motion.extrapolate(u[outside]))
        names = ("centres", "turns", "latent")
        return PartsState(*(getattr(inside, n).index_put((outside,), getattr(beyond, n)) for n in names))

    def _places(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Times as shares of the window, and which of them are outside of it."""
        # Compared as float32, as which times come: the last observed one must not count as after the window.
        first, last = torch.tensor([self.start, self.start + self.window])
        outside = (times.float() < first) | (times.float() > last)
        return (times.double() - self.start) / self.window, outside

    @torch.no_grad()
    def spread(self, state: PartsState, times: Tensor) -> Tensor | None:
        """By the law and by the others that the window leaves possible; None where no law is known, or no part."""
        if self.parts.count == 0 or not self.motion.dynamics.fitted:
            return None
        centres = self.evolve(state, times).centres.repeat(len(self.motion.dynamics.members), 1, 1, 1)
        u, outside = self._places(times)
        if outside.any():
            numbers = self.motion.futures(u[outside])
            beyond = self.parts.from_numbers(numbers.flatten(0, 1)).centres.unflatten(0, numbers.shape[:2])
            centres[:, outside] = beyond.transpose(0, 1)
        return centres

    @torch.no_grad()
    def poses(self) -> tuple[Tensor, Tensor]:
        """What the law is fitted to: numbers of poses `[N, P]` (`Parts.numbers`) at even times 0..1 `[N]`."""
        times = torch.linspace(0, 1, 2 * self.controls + 1, dtype=torch.float64)
        return self.parts.numbers(self._basis(times)), times

    def balls(self) -> Balls | None:
        """The parts as balls that may collide."""
        if self.parts.count == 0:
            return None
        fine = torch.linspace(0, 1, self.basis.shape[0], dtype=torch.float64)
        smoother = Smoother(fine, smoothing(self.controls, fine, self.poses()[1]))
        parts = self.parts
        return Balls(parts.halves.mean(-1).double() / MARGIN, parts.units().double(), smoother)

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
        moves = decay if progress < c.one.law_at[-1] else 0.0
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
        return self._law_of_stage(sum(progress >= p for p in c.one.law_at))

    def finish(self) -> str | None:
        """The last fit of the law, where a step was so long that the budget ended before its time came."""
        return self._law_of_stage(len(self.config.one.law_at))

    def _law_of_stage(self, stage: int) -> str | None:
        """Fits the law, unless that was done at this stage or a later one."""
        if stage <= int(self.law_stage):
            return None
        self.law_stage.fill_(stage)
        return self.fit_law()

    def fit_law(self) -> str:
        """Learns the law from the trajectories as they are now. Says how well it follows them."""
        self.motion.fit(self.poses()[0], self.balls())
        dynamics = self.motion.dynamics
        if self.motion.collide:
            return f"impacts foretell how the observed window ends; {self.motion.balls.impacts.words()}."
        if not dynamics.fitted:
            return "no law foretells how the observed window ends: after it the parts coast straight on."
        size = dynamics.manifold.size
        return (
            f"a law of motion on {size} coordinate{'' if size == 1 else 's'} follows the observed window with a misfit "
            f"of {float(dynamics.misfit):.2%}."
        )
