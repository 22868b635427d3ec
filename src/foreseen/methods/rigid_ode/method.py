"""rigid-ode on one sequence: rigid parts on learned trajectories, and a law that leads them on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreseen.core.batch import BatchSpec
from foreseen.core.capabilities import Layer
from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.core.method import Callback, Method
from foreseen.core.observation import Observation
from foreseen.core.scene_info import SceneInfo, require_one_sequence
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.dynamics.ball_motion import BallParameters
from foreseen.dynamics.impacts import PathSmoother
from foreseen.dynamics.lagrangian_system import FittedPoses, lagrangian_system
from foreseen.dynamics.sequence_dynamics import SequenceDynamics
from foreseen.errors import UserError
from foreseen.methods.rigid_ode.appearance import Appearance
from foreseen.methods.rigid_ode.appearances import (
    appearance_from_reconstruction,
    appearance_from_tensors,
    appearance_without_parts,
    message_without_parts,
)
from foreseen.methods.rigid_ode.config import RigidODEConfig
from foreseen.methods.rigid_ode.parts import RigidParts, RigidPartsState
from foreseen.nn.splines import UniformBSpline, smoothing
from foreseen.reconstruction.ball_rotations import find_rotations
from foreseen.reconstruction.ball_views import BallViews
from foreseen.reconstruction.reconstruct import reconstruct
from foreseen.reconstruction.silhouettes import SilhouetteView
from foreseen.scenes import Gaussians, Scene


class RigidODE(Method[RigidPartsState, Any]):
    """Finds rigid parts, learns their appearance and trajectories, and the dynamics that lead on from these.

    Raises:
        UserError: not one sequence, or fewer than two training times.
    """

    config: RigidODEConfig
    appearance: Appearance
    basis: Tensor
    fit_stage: Tensor

    def __init__(self, config: RigidODEConfig, info: SceneInfo) -> None:
        super().__init__()
        require_one_sequence("rigid-ode", info)
        self.config, self.info = config, info
        if config.appearance == "gaussians":
            self.traits = replace(self.traits, scene=Gaussians)
        times = torch.tensor(info.times[0], dtype=torch.float64)
        self.start, self.window = float(times[0]), float(times[-1] - times[0])
        frames = max(info.frames, len(times))
        found = config.reconstruction
        wanted = min(frames / found.frames_per_control, len(times) / found.times_per_control)
        self.controls = found.num_controls(wanted)
        self.register_buffer("basis", self._basis((times - self.start) / self.window))
        self.register_buffer("fit_stage", torch.tensor(0))
        self.set_parts(appearance_without_parts(config, info), RigidParts(0, self.controls))

    def set_parts(self, appearance: Appearance, parts: RigidParts) -> None:
        """Takes over parts and how things look, and thinks of a law for them."""
        self.parts, self.appearance = parts, appearance
        self.motion = SequenceDynamics(self.config.dynamics, 6 * parts.count or 1, parts.count)

    def _basis(self, times: Tensor) -> Tensor:
        return UniformBSpline(self.controls).basis(times).float()

    # Before training.

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[PoseLabels | None]) -> str:
        """Finds the moving parts and empty space from silhouettes (see `reconstruct`)."""
        del labels  # one sequence is learned from its pictures alone
        if self.info.ndc:  # the hull is carved in the space of the cameras, where rays in NDC do not run
            return message_without_parts(self.config)
        c = self.config
        views = [
            SilhouetteView.of(frame, self.start, self.window, c.reconstruction.hulls.silhouettes) for frame in frames
        ]
        bounds, background = np.array(self.info.bounds), self.info.background
        found = reconstruct(
            views, bounds, background, self.controls, c.grid_resolution, c.reconstruction, self.appearance.is_surface
        )
        count = len(found.parts)
        if count == 0:
            return message_without_parts(self.config)
        parts = RigidParts(count, self.controls)
        parts.half_extents.copy_(found.half_extents())
        with torch.no_grad():
            for k, part in enumerate(found.parts):
                parts.centres[:, k] = torch.from_numpy(part.controls)
                parts.rotations[:, k] = torch.from_numpy(part.rotations)
                parts.is_round[k] = part.is_round
            basis = self._basis(torch.tensor([v.time for v in views], dtype=torch.float64))
            self._find_rotations(parts, frames, views, parts.at(basis).centres)
            states = parts.at(basis)
        self.set_parts(appearance_from_reconstruction(self.config, self.info, found, states, views), parts)
        return f"{count} moving part{'s' if count > 1 else ''} found from silhouettes."

    def _find_rotations(
        self, parts: RigidParts, frames: Sequence[Frame], views: Sequence[SilhouetteView], centres: Tensor
    ) -> None:
        """Tells how round parts turn; `centres` `[T, K, 3]` of all parts in the views."""
        if not parts.is_round.any():
            return
        times, radii = (
            np.array([view.time for view in views]),
            (parts.half_extents.mean(-1) / self.config.reconstruction.parts.box_margin).numpy(),
        )
        for k, ball in enumerate(
            BallViews.of(frames, times, centres.double().numpy(), radii, self.config.reconstruction.rotations)
        ):
            rotations = find_rotations(ball, parts.orientation_track.times().numpy()) if parts.is_round[k] else None
            if rotations is not None:
                parts.orientation_track.learn(k, torch.from_numpy(rotations))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As of any module, with as many parts as the state has."""
        half_extents = state_dict["parts.half_extents"]
        if len(half_extents):
            self.set_parts(
                appearance_from_tensors(self.config, self.info, half_extents, state_dict),
                RigidParts(len(half_extents), self.controls),
            )
        return super().load_state_dict(state_dict, strict, assign)

    # The four verbs (render belongs to the scene).

    def observe(self, observation: Observation) -> RigidPartsState:
        """The parts as they are at the end of the observed window."""
        if observation.sequence != 0:
            raise UserError(f"this run learned one sequence; there is no sequence {observation.sequence}.")
        return self.parts.at(self.basis[-1:])

    def evolve(self, state: RigidPartsState, times: Tensor) -> RigidPartsState:
        """Inside the observed window the trajectories that were seen; outside, the law from the window's ends."""
        del state  # one sequence: its trajectories are the method's own parameters
        u, outside = self._places(times)
        inside = self.parts.at(self._basis(u.clamp(0, 1)))
        if not outside.any() or not self.motion.fitted:
            return inside
        beyond = self.parts.from_pose_vectors(self.motion.extrapolate(u[outside]), u[outside])
        names = ("centres", "rotations", "latent")
        return RigidPartsState(*(getattr(inside, n).index_put((outside,), getattr(beyond, n)) for n in names))

    def _places(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Times as shares of the window, and which of them are outside of it."""
        # Compared as float32, as which times come: the last observed one must not count as after the window.
        first, last = torch.tensor([self.start, self.start + self.window])
        outside = (times.float() < first) | (times.float() > last)
        return (times.double() - self.start) / self.window, outside

    @torch.no_grad()
    def ensemble(self, state: RigidPartsState, times: Tensor) -> Tensor | None:
        """By the law and by the others that the window leaves possible; None where no law is known, or no part."""
        if self.parts.count == 0 or not self.motion.dynamics.fitted:
            return None
        centres = self.evolve(state, times).centres.repeat(len(self.motion.dynamics.ensemble_weights), 1, 1, 1)
        u, outside = self._places(times)
        if outside.any():
            pose_vectors = self.motion.ensemble(u[outside])
            beyond = self.parts.centres_of(pose_vectors.flatten(0, 1)).unflatten(0, pose_vectors.shape[:2])
            centres[:, outside] = beyond.transpose(0, 1)
        return centres

    @torch.no_grad()
    def poses(self) -> tuple[Tensor, Tensor]:
        """What the law is fitted to: numbers of poses `[N, P]` (`RigidParts.pose_vectors`) at even times 0..1 `[N]`."""
        times = torch.linspace(0, 1, 2 * self.controls + 1, dtype=torch.float64)
        return self.parts.pose_vectors(self._basis(times)), times

    def balls(self) -> BallParameters | None:
        """The parts as balls that may collide; None where there are none. Impacts are smeared as by a spline that is
        nearest to true places at the training times."""
        parts = self.parts
        if parts.count == 0:
            return None
        frames = torch.linspace(0, 1, len(self.basis), dtype=torch.float64)
        smoother = PathSmoother(frames, smoothing(self.controls, frames, self.poses()[1]))
        margins = self.config.reconstruction.parts
        radii = parts.half_extents.mean(-1).double() / margins.box_margin
        reach = torch.where(
            parts.is_round, margins.radius_margin * radii, radii
        )  # walls are missed rather by balls that are too small
        return BallParameters(reach.cpu(), parts.units().double().cpu(), smoother)

    def scene(self, state: RigidPartsState) -> Scene:
        """The parts and their surroundings at one time."""
        return self.appearance.scene(state)

    def layer(self, state: RigidPartsState, which: Layer) -> Scene | None:
        """The parts, or what surrounds them."""
        return self.appearance.layer(state, which)

    @property
    def clusters(self) -> int:
        """One sequence has one dynamics."""
        return 1

    def system(self, cluster: int = 0) -> DynamicalSystem | None:
        """The law that the parts' motion follows; None where none does, or nothing moves."""
        del cluster
        poses, times = self.poses()
        when = times + self.start / self.window
        seen = FittedPoses(poses[None], when[None], torch.tensor([len(times)]), False, [0])
        return lagrangian_system(
            self.motion.dynamics, self.window, seen, self.parts.centres_of if self.parts.count else None
        )

    # How it learns.

    def losses(self, batch: Any, step: int) -> dict[str, Tensor]:
        """What the pictures say, and the trajectories' roughness."""
        c, parts = self.config, self.parts
        terms = self.appearance.losses(parts.at(self.basis), batch, step)
        return {
            **terms,
            "jerk": c.jerk_weight * parts.jerk(),
            "turning": c.rotation_smoothness_weight * parts.rotation_roughness(),
        }

    def batch_spec(self, step: int) -> BatchSpec:
        """As the look asks."""
        del step
        return self.appearance.batch_spec()

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """How things look, and the trajectories, which rest once the law was fitted to them for the last time."""
        c, decay = self.config, self.config.lr_decay**progress
        moves = decay if progress < c.dynamics.fit_at[-1] else 0.0
        radius = float(self.parts.half_extents.mean()) if self.parts.count else 1.0
        return [
            *self.appearance.parameter_groups(progress),
            {"name": "centres", "params": [self.parts.centres], "lr": c.centre_lr * radius * moves},
            {"name": "rotations", "params": [self.parts.rotations, self.parts.latent], "lr": c.rotation_lr * moves},
        ]

    def callbacks(self) -> tuple[Callback, ...]:
        """Parts are found before training; the dynamics are fitted at their times."""
        return (Callback(self.warm_start, self.before_step, lambda: self.appearance.pop_written_rows(), self.finish),)

    def before_step(self, step: int, progress: float) -> str | None:
        """What changes in the look, and the law's fits at their times."""
        self.appearance.before_step(step, progress)
        return self._fit_at_stage(sum(progress >= p for p in self.config.dynamics.fit_at))

    def finish(self) -> str | None:
        """The last fit of the law, where a step was so long that the budget ended before its time came."""
        return self._fit_at_stage(len(self.config.dynamics.fit_at))

    def _fit_at_stage(self, stage: int) -> str | None:
        """Fits the law, unless that was done at this stage or a later one."""
        if stage <= int(self.fit_stage):
            return None
        self.fit_stage.fill_(stage)
        return self.fit_dynamics()

    def fit_dynamics(self) -> str:
        """Learns the law from the trajectories as they are now. Says how well it follows them."""
        self.motion.fit(self.poses()[0], self.balls())
        dynamics = self.motion.dynamics
        if self.motion.uses_impacts:
            return f"impacts foretell the observed window: {self.motion.balls.impacts.describe()}."
        if not dynamics.fitted:
            return "no law foretells how the observed window ends: after it the parts coast straight on."
        size = dynamics.manifold.size
        return (
            f"a law of motion on {size} coordinate{'' if size == 1 else 's'} follows the observed window with a misfit "
            f"of {float(dynamics.misfit):.2%}."
        )
