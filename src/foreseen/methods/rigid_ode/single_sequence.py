"""rigid-ode for one sequence: rigid parts on learned trajectories, and dynamics that extrapolate them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreseen.batches.images import ImageBatch
from foreseen.batches.rays import RayBatch
from foreseen.core.batch import BatchSpec
from foreseen.core.capabilities import Layer
from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.core.method import Callback, Method, TakesShapes
from foreseen.core.observation import Observation, check_sequence_index
from foreseen.core.scene_info import SceneInfo, require_one_sequence
from foreseen.core.window import outside_window
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.dynamics.ball_motion import BallParameters
from foreseen.dynamics.impacts import PathSmoother
from foreseen.dynamics.lagrangian_system import FittedPoses, lagrangian_system
from foreseen.dynamics.sequence_dynamics import SequenceDynamics
from foreseen.methods.rigid_ode.appearance import Appearance
from foreseen.methods.rigid_ode.appearance_factory import (
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


class RigidODE(TakesShapes, Method[RigidPartsState, RayBatch | ImageBatch]):
    """Finds rigid parts, learns their appearance and trajectories, and fits dynamics to the trajectories.

    Raises:
        UserError: not one sequence, or fewer than two training times.
    """

    config: RigidODEConfig
    appearance: Appearance[Any]
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
        c = config.reconstruction
        self.controls = c.num_controls(min(frames / c.frames_per_control, len(times) / c.times_per_control))
        self.register_buffer("basis", self._basis((times - self.start) / self.window))
        self.register_buffer("fit_stage", torch.tensor(0))
        self.set_parts(appearance_without_parts(config, info), self._untrained_parts(0))

    def _untrained_parts(self, count: int) -> RigidParts:
        return RigidParts(count, self.controls, self.config.last_spin_share)

    def set_parts(self, appearance: Appearance[Any], parts: RigidParts) -> None:
        """Sets parts and appearance, and makes untrained dynamics for them."""
        self.parts, self.appearance = parts, appearance
        self.motion = SequenceDynamics(self.config.dynamics, 6 * parts.count or 1, parts.count)

    def _basis(self, times: Tensor) -> Tensor:
        return UniformBSpline(self.controls).basis(times).float()

    # Before training.

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[PoseLabels | None]) -> str:
        """Finds the moving parts and empty space from silhouettes (see `foreseen.reconstruction`)."""
        del labels  # one sequence is learned from its pictures alone
        if self.info.ndc:  # hulls are carved in the space of the cameras, not in NDC
            return message_without_parts(self.config)
        c = self.config
        silhouettes = c.reconstruction.hulls.silhouettes
        views = [SilhouetteView.of(frame, self.start, self.window, silhouettes) for frame in frames]
        bounds, background = np.array(self.info.bounds), self.info.background
        reconstruction = reconstruct(
            views, bounds, background, self.controls, c.grid_resolution, c.reconstruction, self.appearance.is_surface
        )
        count = len(reconstruction.parts)
        if count == 0:
            return message_without_parts(self.config)
        parts = self._untrained_parts(count)
        parts.half_extents.copy_(reconstruction.half_extents())
        with torch.no_grad():
            for k, part in enumerate(reconstruction.parts):
                parts.centres[:, k] = torch.from_numpy(part.controls)
                parts.rotations[:, k] = torch.from_numpy(part.rotations)
                parts.is_round[k] = part.is_round
            basis = self._basis(torch.tensor([v.time for v in views], dtype=torch.float64))
            self._find_rotations(parts, frames, views, parts.at(basis).centres)
            states = parts.at(basis)
        appearance = appearance_from_reconstruction(self.config, self.info, reconstruction, states, views)
        self.set_parts(appearance, parts)
        return f"{count} moving part{'s' if count > 1 else ''} found from silhouettes."

    def _find_rotations(
        self, parts: RigidParts, frames: Sequence[Frame], views: Sequence[SilhouetteView], centres: Tensor
    ) -> None:
        """Finds the rotation of round parts from their texture; `centres` `[T, K, 3]` of all parts in the views."""
        if not parts.is_round.any():
            return
        c, times = self.config.reconstruction, np.array([view.time for view in views])
        radii = (parts.half_extents.mean(-1) / c.parts.box_margin).numpy()
        balls = BallViews.of(frames, times, centres.double().numpy(), radii, c.rotations)
        for k, ball in enumerate(balls):
            rotations = find_rotations(ball, parts.orientation_track.times().numpy()) if parts.is_round[k] else None
            if rotations is not None:
                parts.orientation_track.learn(k, torch.from_numpy(rotations))

    def _take_shapes(self, tensors: Mapping[str, Tensor]) -> None:
        half_extents = tensors["parts.half_extents"]
        if len(half_extents):
            self.set_parts(
                appearance_from_tensors(self.config, self.info, half_extents, tensors),
                self._untrained_parts(len(half_extents)),
            )

    # Observe, evolve, scene.

    def observe(self, observation: Observation) -> RigidPartsState:
        """The poses of the parts at the end of the observed window."""
        check_sequence_index(observation.sequence, 1)
        return self.parts.at(self.basis[-1:])

    def evolve(self, state: RigidPartsState, times: Tensor) -> RigidPartsState:
        """Inside the observed window the learned trajectories; outside, the solution of the dynamics from the nearer
        end of the window."""
        del state  # one sequence: its trajectories are the method's own parameters
        window_times, outside = self._window_times(times)
        learned = self.parts.at(self._basis(window_times.clamp(0, 1)))
        if not outside.any() or not self.motion.fitted:
            return learned
        outside_times = window_times[outside]
        extrapolated = self.parts.from_pose_vectors(self.motion.extrapolate(outside_times), outside_times)
        names = ("centres", "rotations", "latent")
        return RigidPartsState(*(getattr(learned, n).index_put((outside,), getattr(extrapolated, n)) for n in names))

    def _window_times(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Times in windows (0..1 is the observed window), and the mask of the times outside of it."""
        before, after = outside_window(times, self.start, self.start + self.window)
        return (times.double() - self.start) / self.window, before | after

    @torch.no_grad()
    def ensemble(self, state: RigidPartsState, times: Tensor) -> Tensor | None:
        """An ensemble by the sampled dynamics; None without dynamics, or without parts."""
        if self.parts.count == 0 or not self.motion.dynamics.fitted:
            return None
        centres = self.evolve(state, times).centres.repeat(len(self.motion.dynamics.ensemble_weights), 1, 1, 1)
        window_times, outside = self._window_times(times)
        if outside.any():
            pose_vectors = self.motion.ensemble(window_times[outside])
            extrapolated = self.parts.centres_of(pose_vectors.flatten(0, 1)).unflatten(0, pose_vectors.shape[:2])
            centres[:, outside] = extrapolated.transpose(0, 1)
        return centres

    @torch.no_grad()
    def poses(self) -> tuple[Tensor, Tensor]:
        """What the dynamics are fitted to: `RigidParts.pose_vectors` `[N, P]` at even times 0..1 `[N]`."""
        times = torch.linspace(0, 1, 2 * self.controls + 1, dtype=torch.float64)
        return self.parts.pose_vectors(self._basis(times)), times

    def balls(self) -> BallParameters | None:
        """The parts as balls that may collide; None without parts. Impacts are fitted with the smoothing that
        the spline applies to the path near them."""
        parts = self.parts
        if parts.count == 0:
            return None
        frames = torch.linspace(0, 1, len(self.basis), dtype=torch.float64)
        smoother = PathSmoother(frames, smoothing(self.controls, frames, self.poses()[1]))
        c = self.config.reconstruction.parts
        radii = parts.half_extents.mean(-1).double() / c.box_margin
        # A ball that is too small would miss walls.
        radii = torch.where(parts.is_round, c.radius_margin * radii, radii)
        return BallParameters(radii.cpu(), parts.units().double().cpu(), smoother)

    def scene(self, state: RigidPartsState) -> Scene:
        """The parts and the static scene at one time."""
        return self.appearance.scene(state)

    def layer(self, state: RigidPartsState, which: Layer) -> Scene | None:
        """The parts, or the static scene."""
        return self.appearance.layer(state, which)

    def system(self, cluster: int = 0) -> DynamicalSystem | None:
        """The fitted dynamics; None where none were fitted, or nothing moves."""
        del cluster
        poses, times = self.poses()
        in_windows = times + self.start / self.window
        fitted = FittedPoses(poses[None], in_windows[None], torch.tensor([len(times)]), False, [0])
        centres_of = self.parts.centres_of if self.parts.count else None
        return lagrangian_system(self.motion.dynamics, self.window, fitted, centres_of)

    # How it learns.

    def losses(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Losses of the appearance, and of the trajectories' smoothness."""
        c, parts = self.config, self.parts
        terms = self.appearance.losses(parts.at(self.basis), batch, step)
        return {
            **terms,
            "jerk": c.jerk_weight * parts.jerk(),
            "rotation_smoothness": c.rotation_smoothness_weight * parts.rotation_roughness(),
        }

    def batch_spec(self, step: int) -> BatchSpec:
        """As the appearance asks."""
        del step
        return self.appearance.batch_spec()

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Appearance and trajectories. The trajectories stay fixed after the last fit of the dynamics."""
        c, decay = self.config, self.config.lr_decay**progress
        pose_decay = decay if progress < c.dynamics.fit_at[-1] else 0.0
        radius = float(self.parts.half_extents.mean()) if self.parts.count else 1.0
        return [
            *self.appearance.parameter_groups(progress),
            {"name": "centres", "params": [self.parts.centres], "lr": c.centre_lr * radius * pose_decay},
            {
                "name": "rotations",
                "params": [self.parts.rotations, self.parts.latent],
                "lr": c.rotation_lr * pose_decay,
            },
        ]

    def callbacks(self) -> tuple[Callback, ...]:
        """Parts are found before training; the dynamics are fitted at their times."""
        return (Callback(self.warm_start, self.before_step, lambda: self.appearance.pop_written_rows(), self.finish),)

    def before_step(self, step: int, progress: float) -> str | None:
        """Updates the appearance; fits the dynamics when progress passes an entry of `fit_at`."""
        self.appearance.before_step(step, progress)
        return self._fit_at_stage(sum(progress >= p for p in self.config.dynamics.fit_at))

    def finish(self) -> str | None:
        """The last fit of the dynamics, if the budget ended before it was due."""
        return self._fit_at_stage(len(self.config.dynamics.fit_at))

    def _fit_at_stage(self, stage: int) -> str | None:
        """Fits the dynamics, unless that was done at this stage or a later one."""
        if stage <= int(self.fit_stage):
            return None
        self.fit_stage.fill_(stage)
        return self.fit_dynamics()

    def fit_dynamics(self) -> str:
        """Fits dynamics to the current trajectories. Returns a line for the user."""
        self.motion.fit(self.poses()[0], self.balls())
        dynamics = self.motion.dynamics
        if self.motion.uses_impacts:
            return f"impacts predict the observed window: {self.motion.balls.impacts.describe()}."
        if not dynamics.fitted:
            return (
                "no dynamics predict the end of the observed window: after it the parts move on at constant velocity."
            )
        size = dynamics.manifold.size
        return (
            f"dynamics on {size} coordinate{'' if size == 1 else 's'} follow the observed window with a misfit "
            f"of {float(dynamics.misfit):.2%}."
        )
