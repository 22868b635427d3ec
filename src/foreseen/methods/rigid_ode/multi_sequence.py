"""rigid-ode for several sequences, which share parts, appearance and dynamics; each has its own initial condition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from foreseen.batches.rays import RayBatch
from foreseen.core.batch import BatchSpec
from foreseen.core.capabilities import Layer
from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.core.method import Callback, Method, TakesShapes
from foreseen.core.observation import Observation, check_sequence_index
from foreseen.core.scene_info import SceneInfo
from foreseen.core.window import outside_window
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.dynamics.lagrangian_system import FittedPoses, lagrangian_system
from foreseen.dynamics.learned import LearnedDynamics
from foreseen.errors import UserError
from foreseen.methods.rigid_ode.config import RigidODEConfig
from foreseen.methods.rigid_ode.initial_condition import state_from_frames, state_from_labels
from foreseen.methods.rigid_ode.parts import RigidPartsState
from foreseen.methods.rigid_ode.shared_dynamics import SharedDynamics
from foreseen.methods.rigid_ode.voxel_appearance import VoxelAppearance
from foreseen.nn.checked_module import check_range
from foreseen.nn.cpu_module import on_cpu
from foreseen.nn.voxels import VoxelGrids, VoxelTable
from foreseen.reconstruction.part_tracks import PartTracks, find_tracks
from foreseen.scenes import Scene

Bounds = tuple[tuple[float, float, float], tuple[float, float, float]]

Solve = Callable[[Tensor, float, Tensor], Tensor]
"""From a state, the time of this state, and times (in windows) to the states at these times."""


@dataclass(frozen=True)
class RigidODEState:
    """A point on a trajectory, and its uncertainty.

    Attributes:
        cluster: `[]` int64, the dynamics cluster.
        state: `[2 d]` float64, coordinates and their velocities per window.
        time: `[]` float64, in the data set's unit.
        sequence: `[]` int64, index of a training sequence, whose poses inside its window are learned; -1: a new one.
        factor: `[2 d, D]` square root of the state's covariance: an ensemble draws `state + factor @ standard normal`.
    """

    cluster: Tensor
    state: Tensor
    time: Tensor
    sequence: Tensor
    factor: Tensor


class MultiSequenceRigidODE(SharedDynamics, TakesShapes, Method[Any, RayBatch]):
    """See README.md, "Several sequences". `evolve` takes a `RigidODEState` and gives a `RigidPartsState`.

    Raises:
        UserError: normalised device coordinates, an appearance other than voxels, or too few training times.
    """

    observes = ("sequence", "initial", "frames")
    fit_stage: Tensor

    def __init__(self, config: RigidODEConfig, info: SceneInfo) -> None:
        super().__init__(config, info.with_bounds(_padded_bounds(info.bounds, config.bounds_margin)))
        if info.ndc:
            raise UserError(
                "rigid-ode cannot learn several sequences in normalised device coordinates: read them in scene units "
                "(--no-ndc), train d-nerf, or give one sequence."
            )
        if config.appearance != "voxels":
            raise UserError(
                "rigid-ode learns several sequences with voxels only: leave out --appearance, or give one sequence."
            )
        # One part in one cluster, until the warm start or a checkpoint replaces them.
        cluster_index = torch.zeros(1, dtype=torch.int64)
        untrained = self._untrained_appearance(torch.ones(1, 3))
        self.set_parts(untrained, cluster_index.expand(len(self.counts)).clone(), cluster_index)

    def _untrained_appearance(self, half_extents: Tensor) -> VoxelAppearance:
        """An empty appearance that the warm start or a checkpoint replaces."""
        levels = [self.config.part_levels] * len(half_extents) + [self.config.static_levels]
        no_open_cells = torch.zeros(len(levels), 2, 2, 2, dtype=torch.bool)
        voxels = VoxelGrids(VoxelTable.build(levels, no_open_cells), self.config.initial_thickness)
        return VoxelAppearance(self.config, self.info, half_extents, voxels)

    # Before training.

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[PoseLabels | None]) -> str:
        """Finds the parts, their poses and empty space; fits the dynamics if the poses are ground truth."""
        c = self.config
        used_labels = labels if c.multi_sequence.labels == "auto" else [None] * len(labels)
        tracks = find_tracks(frames, used_labels, self.info, c.grid_resolution, c.reconstruction)
        appearance = VoxelAppearance.from_open_cells(c, self.info, tracks.half_extents, tracks.occupancy_mask)
        self.set_parts(appearance, tracks.clusters, tracks.cluster_of_part)
        self._copy_poses(tracks)
        message = f"{self._describe_parts()}, {tracks.source}"
        return f"{message}; {self._fit_at_stage(len(c.multi_sequence.fit_at))}" if tracks.exact_poses else f"{message}."

    def _describe_parts(self) -> str:
        descriptions = []
        for cluster in range(self.clusters):
            count, sequences = len(self.parts(cluster)), len(self.sequences(cluster))
            descriptions.append(
                f"{count} moving part{'s' if count > 1 else ''} in {sequences} sequence{'s' if sequences > 1 else ''}"
            )
        return " and ".join(descriptions) + (f" ({self.clusters} dynamics clusters)" if self.clusters > 1 else "")

    @torch.no_grad()
    def _copy_poses(self, tracks: PartTracks) -> None:
        self.exact_poses.fill_(tracks.exact_poses)
        for s, (centres, rotations) in enumerate(zip(tracks.centres, tracks.rotations)):
            part_indices = self.parts(int(self.cluster_of_sequence[s]))
            self.centres[s, : len(centres), part_indices] = centres.float()
            self.rotations[s, : len(rotations), part_indices] = rotations.float()

    def _take_shapes(self, tensors: Mapping[str, Tensor]) -> None:
        clusters, cluster_of_part = tensors["cluster_of_sequence"].clone(), tensors["cluster_of_part"].clone()
        if clusters.shape != self.counts.shape:
            raise UserError(
                f"cluster_of_sequence: {list(clusters.shape)} is not the shape for {len(self.counts)} sequences"
            )
        check_range("cluster_of_part", cluster_of_part, 0, len(cluster_of_part) - 1)
        check_range("cluster_of_sequence", clusters, 0, int(cluster_of_part.max()))
        appearance = VoxelAppearance.from_tensors(self.config, self.info, tensors, len(cluster_of_part))
        self.set_parts(appearance, clusters, cluster_of_part)

    # Observe, evolve, scene.

    @on_cpu
    def observe(self, observation: Observation) -> RigidODEState:
        """The initial state of a training sequence; or of a new one, from its initial conditions or first frames."""
        if observation.initial is not None:
            labels, (cluster, state) = observation.initial, state_from_labels(self, observation.initial)
            factor = observation.relative_std * torch.diag(self.dynamics[cluster].state_scale())
            return _initial_state(cluster, state, float(labels.times[0]), -1, factor)
        if observation.frames:
            cluster, state, factor, time = state_from_frames(self, observation.frames)
            return _initial_state(cluster, state, time, -1, factor)
        check_sequence_index(observation.sequence, len(self.counts))
        cluster = int(self.cluster_of_sequence[observation.sequence])
        poses, times = self.poses(observation.sequence)
        if not self.dynamics[cluster].fitted:
            empty = torch.zeros(0, dtype=torch.float64)
            return _initial_state(cluster, empty, float(times[0]) * self.window, observation.sequence)
        (time, state), _ = self.dynamics[cluster].forecast_states(poses, times, bool(self.exact_poses))
        return _initial_state(cluster, state, time * self.window, observation.sequence)

    @on_cpu
    def evolve(self, state: RigidODEState, times: Tensor) -> RigidPartsState:
        """The solution of the dynamics from `state`. Inside the window of a training sequence: its learned poses."""
        cluster = int(state.cluster)
        return self.from_pose_vectors(cluster, self._pose_vectors(state, times, self.dynamics[cluster].solve))

    @on_cpu
    def ensemble(self, state: RigidODEState, times: Tensor) -> Tensor:
        """Centres of the parts, `[E, T, K, 3]`. The first member has the most likely dynamics and initial state, the
        others have sampled ones. The random samples are the same in each call."""
        cluster, generator = int(state.cluster), torch.Generator().manual_seed(0)
        dynamics = self.dynamics[cluster]
        count = len(dynamics.ensemble_weights)
        draws = torch.randn(count, state.factor.shape[1], generator=generator, dtype=torch.float64)
        draws[0] = 0
        offsets = draws @ state.factor.T

        def solve(initial: Tensor, start: float, times: Tensor) -> Tensor:
            return dynamics.solve_ensemble(initial + offsets, start, times)

        pose_vectors = self._pose_vectors(state, times, solve, (count,))
        centres = self.from_pose_vectors(cluster, pose_vectors.flatten(0, 1)).centres[:, self.parts(cluster)]
        return centres.unflatten(0, pose_vectors.shape[:2]).transpose(0, 1)

    def _pose_vectors(
        self, state: RigidODEState, times: Tensor, solve: Solve, ensemble_shape: tuple[int, ...] = ()
    ) -> Tensor:
        """Pose vectors `[T, *ensemble_shape, 6 K]` at `times` `[T]`, in the data set's unit.

        Args:
            solve: solves the dynamics where no learned poses are used.
            ensemble_shape: `(E,)` if `solve` returns an ensemble, else `()`.
        """
        window_times = times.double() / self.window
        sequence, dynamics = int(state.sequence), self.dynamics[int(state.cluster)]
        if sequence < 0:
            return _decoded(dynamics, solve(state.state, float(state.time) / self.window, window_times))
        poses, pose_times = self.poses(sequence)
        spline = CubicSpline(pose_times.numpy(), poses.numpy())
        interpolated = torch.from_numpy(spline(window_times.clamp(float(pose_times[0]), float(pose_times[-1])).numpy()))
        out = interpolated.view(len(times), *(1 for _ in ensemble_shape), -1).repeat(1, *ensemble_shape, 1)
        if not dynamics.fitted:
            return out
        before, after = outside_window(times, *(pose_times[[0, -1]] * self.window).tolist())
        if before.any() or after.any():
            ends = dynamics.forecast_states(poses, pose_times, bool(self.exact_poses))
            for side, (start, initial) in ((before, ends[0]), (after, ends[1])):
                if side.any():
                    out[side] = _decoded(dynamics, solve(initial, start, window_times[side]))
        return out

    def layer(self, state: RigidPartsState, which: Layer) -> Scene | None:
        """The parts, or the static scene."""
        return self.appearance.layer(state, which)

    def system(self, cluster: int = 0) -> DynamicalSystem | None:
        """The dynamics of a cluster, for analysis; None if they are not fitted, or if nothing moves."""

        def centres(pose_vectors: Tensor) -> Tensor:
            return self.from_pose_vectors(cluster, pose_vectors).centres[:, self.parts(cluster)]

        fitted = FittedPoses(*self.learned_poses(cluster), bool(self.exact_poses), self.sequences(cluster).tolist())
        return lagrangian_system(self.dynamics[cluster], self.window, fitted, centres)

    # Training.

    def losses(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Squared colour error, opacity in front of the stated background, and total variation."""
        max_times = self.times.shape[1]
        rows, row_of_ray = (batch.sequences * max_times + batch.time_indices).unique(return_inverse=True)
        centres, rotations = self.centres.flatten(0, 1)[rows], self.rotations.flatten(0, 1)[rows]
        states = RigidPartsState(centres, rotations, torch.zeros(len(rows), 1))
        return self.appearance.losses(states, replace(batch, time_indices=row_of_ray), step)

    def batch_spec(self, step: int) -> BatchSpec:
        """Rays; as many as the appearance's budget of samples allows."""
        del step
        return self.appearance.batch_spec()

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Appearance and poses. Poses have a learning rate of 0 if they are ground truth, and after the last fit of the
        dynamics."""
        c, decay = self.config, self.config.lr_decay**progress
        is_fixed = bool(self.exact_poses) or progress >= c.multi_sequence.fit_at[-1]
        pose_decay = 0.0 if is_fixed else decay
        radius = float(self.appearance.half_extents[:-1].mean(-1).double().mean())
        return [
            *self.appearance.parameter_groups(progress),
            {"name": "centres", "params": [self.centres], "lr": c.centre_lr * radius * pose_decay},
            {"name": "rotations", "params": [self.rotations], "lr": c.rotation_lr * pose_decay},
        ]

    def callbacks(self) -> tuple[Callback, ...]:
        """Parts are reconstructed before training; dynamics are fitted during it, at `fit_at`, and after it."""
        return (Callback(self.warm_start, self.before_step, after_training=self.finish),)

    def before_step(self, step: int, progress: float) -> str | None:
        """Refreshes the occupancy; fits the dynamics when progress passes an entry of `fit_at`."""
        self.appearance.before_step(step, progress)
        return self._fit_at_stage(sum(progress >= p for p in self.config.multi_sequence.fit_at))

    def finish(self) -> str | None:
        """The last fit of the dynamics, if training ended before the last entry of `fit_at`."""
        return self._fit_at_stage(len(self.config.multi_sequence.fit_at))

    def _fit_at_stage(self, stage: int) -> str | None:
        """Fits the dynamics, unless they were fitted at this stage or a later one. A stage is the number of entries of
        `fit_at` that progress has passed."""
        if stage <= int(self.fit_stage):
            return None
        self.fit_stage.fill_(stage)
        return self.fit_dynamics()


def _initial_state(
    cluster: int, state: Tensor, time: float, sequence: int, factor: Tensor | None = None
) -> RigidODEState:
    zero_covariance = state.new_zeros(len(state), 0)
    return RigidODEState(
        cluster=torch.tensor(cluster),
        state=state,
        time=torch.tensor(time, dtype=torch.float64),
        sequence=torch.tensor(sequence),
        factor=zero_covariance if factor is None else factor,
    )


def _decoded(dynamics: LearnedDynamics, states: Tensor) -> Tensor:
    """Pose vectors `[..., P]` of states `[..., 2 d]`."""
    return dynamics.manifold.decode(states[..., : dynamics.manifold.size])


def _padded_bounds(bounds: Bounds, relative_margin: float) -> Bounds:
    low, high = torch.tensor(bounds, dtype=torch.float64)
    margin = relative_margin * (high - low)
    return tuple((low - margin).tolist()), tuple((high + margin).tolist())
