"""rigid-ode over several sequences: the parts and the law are shared, how each sequence begins is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from scipy.interpolate import CubicSpline
from torch import Tensor, nn

from foreseen.batches.rays import RayBatch, RaySpec
from foreseen.core.batch import BatchSpec
from foreseen.core.capabilities import Layer
from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.core.method import Callback, Method
from foreseen.core.observation import Observation
from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.dynamics.lagrangian_system import FittedPoses, lagrangian_system
from foreseen.dynamics.learned import LearnedDynamics, check_counts
from foreseen.errors import UserError
from foreseen.methods.rigid_ode.config import RigidODEConfig
from foreseen.methods.rigid_ode.initial_condition import state_from_frames, state_from_labels
from foreseen.methods.rigid_ode.parts import RigidPartsState
from foreseen.methods.rigid_ode.voxel_appearance import VoxelAppearance
from foreseen.nn.checked_module import check_range
from foreseen.nn.cpu_module import on_cpu
from foreseen.nn.voxels import VoxelGrids, VoxelTable
from foreseen.reconstruction.part_tracks import PartTracks, find_tracks
from foreseen.scenes import Scene
from foreseen.scenes.voxel_scene import FAR_AWAY

Bounds = tuple[tuple[float, float, float], tuple[float, float, float]]
BOUNDS_MARGIN = 0.03
"""The box around everything reaches so much of its size beyond what is seen: a floor that lies in its face, and a
corner of it that a ray just touches, would have no room to be opaque in."""


Solve = Callable[[Tensor, float, Tensor], Tensor]
"""State, its time, and times, in windows -> the states then."""


@dataclass(frozen=True)
class RigidODEState:
    """A point on a trajectory, and whose it is.

    Attributes:
        kind: `[]` int64, of motion: whose surface and law.
        state: `[2 d]` float64, coordinates and their rates per window.
        time: `[]` float64, in the data set's unit.
        sequence: `[]` int64, index of a learned sequence, whose own poses are known where it was seen; -1: a new one.
        factor: `[2 d, D]`; `state + factor @ standard normal` may be the state as well.
    """

    cluster: Tensor
    state: Tensor
    time: Tensor
    sequence: Tensor
    factor: Tensor


class RigidODEMany(Method[Any, RayBatch]):
    """See README.md, "fast, many sequences"."""

    observes = ("sequence", "initial", "frames")
    appearance: VoxelAppearance
    cluster_of_sequence: Tensor
    cluster_of_part: Tensor
    fit_stage: Tensor
    times: Tensor
    counts: Tensor
    exact_poses: Tensor

    def __init__(self, config: RigidODEConfig, info: SceneInfo) -> None:
        super().__init__()
        info = info.with_bounds(_padded_bounds(info.bounds))
        self.config, self.info = config, info
        self.batch = RaySpec(rays=config.rays, foreground=config.foreground)
        counts = torch.tensor([len(times) for times in info.times])
        check_counts(counts, config.multi_sequence.min_times)
        if info.ndc:
            raise UserError("rigid-ode learns several sequences in the world's own coordinates: NDC is not for them.")
        if config.appearance != "voxels":
            raise UserError(
                "rigid-ode learns several sequences with voxels only: leave out --appearance, or give one sequence."
            )
        self.window = max(times[-1] - times[0] for times in info.times)
        times = torch.zeros(len(counts), int(counts.max()), dtype=torch.float64)
        for s, own in enumerate(info.times):
            times[s, : len(own)] = torch.tensor(own, dtype=torch.float64) / self.window
        self.register_buffer("times", times, persistent=False)
        self.register_buffer("counts", counts, persistent=False)
        self.register_buffer("fit_stage", torch.tensor(0))
        self.register_buffer("exact_poses", torch.tensor(False))
        one = torch.zeros(1, dtype=torch.int64)
        self.set_parts(self._untrained(torch.ones(1, 3)), one.expand(len(counts)).clone(), one)

    def _untrained(self, half_extents: Tensor) -> VoxelAppearance:
        """Looks of the right kind, to be replaced by those of a warm start or of a checkpoint."""
        levels = [self.config.part_levels] * len(half_extents) + [self.config.static_levels]
        closed = torch.zeros(len(levels), 2, 2, 2, dtype=torch.bool)
        voxels = VoxelGrids(VoxelTable.build(levels, closed), self.config.initial_thickness)
        return VoxelAppearance(self.config, self.info, half_extents, voxels)

    def set_parts(self, appearance: VoxelAppearance, clusters: Tensor, cluster_of_part: Tensor) -> None:
        """Takes over how things look, and makes new poses for its parts.

        Args:
            kinds: `[S]` int64, the kind of each sequence.
            owners: `[P]` int64, the kind that each part of the look belongs to.
        """
        self.appearance = appearance
        self.register_buffer("cluster_of_sequence", clusters)
        self.register_buffer("cluster_of_part", cluster_of_part)
        shape = (*self.times.shape, len(cluster_of_part), 3)
        absent = (cluster_of_part != clusters[:, None])[:, None, :, None]
        self.centres = nn.Parameter(torch.where(absent, FAR_AWAY, 0.0).expand(shape).clone())
        self.rotations = nn.Parameter(torch.zeros(shape))
        self.dynamics_models = nn.ModuleList(
            LearnedDynamics(self.config.multi_sequence, 6 * count) for count in cluster_of_part.bincount().tolist()
        )

    # Before training.

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[PoseLabels | None]) -> str:
        """Finds the parts, where they are, and empty space; and the law, where the poses are known."""
        c = self.config
        used = labels if c.multi_sequence.labels == "auto" else [None] * len(labels)
        found = find_tracks(frames, used, self.info, c.grid_resolution, c.reconstruction)
        self.set_parts(
            VoxelAppearance.from_open_cells(c, self.info, found.half_extents, found.occupancy_mask),
            found.clusters,
            found.cluster_of_part,
        )
        self._take_over(found)
        line = f"{self._parts()}, {found.source}"
        return f"{line}; {self._fit_at_stage(len(c.multi_sequence.fit_at))}" if found.exact_poses else f"{line}."

    def _parts(self) -> str:
        """How many, in words."""
        words = []
        for cluster in range(self.clusters):
            count, sequences = len(self.parts(cluster)), len(self.sequences(cluster))
            words.append(
                f"{count} moving part{'s' if count > 1 else ''} in {sequences} sequence{'s' if sequences > 1 else ''}"
            )
        return " and ".join(words) + (f" ({self.clusters} kinds of motion)" if self.clusters > 1 else "")

    @torch.no_grad()
    def _take_over(self, found: PartTracks) -> None:
        self.exact_poses.fill_(found.exact_poses)
        for s, (centres, rotations) in enumerate(zip(found.centres, found.rotations)):
            own = self.parts(int(self.cluster_of_sequence[s]))
            self.centres[s, : len(centres), own] = centres.float()
            self.rotations[s, : len(rotations), own] = rotations.float()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As of any module, with as many kinds, parts and voxels as the state has."""
        self._make_room(state_dict)
        return super().load_state_dict(state_dict, strict, assign)

    def _make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Makes room for as many kinds, parts and voxels as the checkpoint has."""
        clusters, cluster_of_part = tensors["cluster_of_sequence"].clone(), tensors["cluster_of_part"].clone()
        if clusters.shape != self.counts.shape:
            raise UserError(
                f"cluster_of_sequence: {list(clusters.shape)} are not the kinds of {len(self.counts)} sequences"
            )
        check_range("cluster_of_part", cluster_of_part, 0, len(cluster_of_part) - 1)
        check_range("cluster_of_sequence", clusters, 0, int(cluster_of_part.max()))
        self.set_parts(
            VoxelAppearance.from_tensors(self.config, self.info, tensors, len(cluster_of_part)),
            clusters,
            cluster_of_part,
        )

    # What the laws are about.

    @property
    def dynamics(self) -> list[LearnedDynamics]:
        """Surface and law of each kind."""
        return cast(list[LearnedDynamics], list(self.dynamics_models))

    @property
    def clusters(self) -> int:
        """Number of dynamics clusters."""
        return len(self.dynamics_models)

    def parts(self, cluster: int) -> Tensor:
        """Indices of a kind's K parts."""
        return (self.cluster_of_part == cluster).nonzero()[:, 0]

    def sequences(self, cluster: int) -> Tensor:
        """Indices of the learned sequences of a kind."""
        return (self.cluster_of_sequence == cluster).nonzero()[:, 0]

    def _sizes(self, cluster: int) -> Tensor:
        """`[K, 1]` mean half sizes of the parts, on the CPU."""
        return self.appearance.half_extents[self.parts(cluster)].mean(-1, keepdim=True).double().cpu()

    def pose_vectors(self, cluster: int, centres: Tensor, rotations: Tensor) -> Tensor:
        """Poses `[..., 6 K]` float64, on the CPU, of centres and rotation vectors `[..., K, 3]`: as
        `Parts.pose_vectors`, in scene units: turns as the way that a rim of the part's own size goes."""
        sizes = self._sizes(cluster)
        both = torch.cat([centres.double().cpu(), rotations.double().cpu() * sizes], dim=-1)
        return (both * sizes / sizes.max()).flatten(-2)

    def from_pose_vectors(self, cluster: int, pose_vectors: Tensor) -> RigidPartsState:
        """The inverse of `pose_vectors` `[T, 6 K]`; all parts, those of other kinds far away."""
        sizes, own = self._sizes(cluster), self.parts(cluster)
        both = pose_vectors.unflatten(-1, (len(sizes), 6)) * sizes.max() / sizes
        centres = self.centres.new_full((len(pose_vectors), len(self.cluster_of_part), 3), FAR_AWAY)
        rotations = torch.zeros_like(centres)
        centres[:, own], rotations[:, own] = both[..., :3].to(centres), (both[..., 3:] / sizes).to(centres)
        return RigidPartsState(centres, rotations, centres.new_zeros(len(pose_vectors), 1))

    def learned_poses(self, cluster: int) -> tuple[Tensor, Tensor, Tensor]:
        """Poses `[S, T, 6 K]` of a kind's sequences as they are now, when `[S, T]`, and how many of each `[S]`."""
        rows, own = self.sequences(cluster), self.parts(cluster)
        poses = self.pose_vectors(cluster, self.centres[rows][:, :, own], self.rotations[rows][:, :, own])
        return poses.detach(), self.times[rows].cpu(), self.counts[rows].cpu()

    @torch.no_grad()
    def fit_dynamics(self) -> str:
        """Learns the laws from the poses as they are now. Says how well they follow them."""
        words = []
        for cluster, dynamics in enumerate(self.dynamics):
            dynamics.fit(*self.learned_poses(cluster), bool(self.exact_poses))
            size = dynamics.manifold.size
            words.append(
                f"a law of motion on {size} coordinate{'' if size == 1 else 's'} follows the sequences "
                f"with a misfit of {float(dynamics.misfit):.2%}"
            )
        if len(words) > 1:
            words = [f"kind {cluster + 1}: {line}" for cluster, line in enumerate(words)]
        return "; ".join(words) + "."

    # The four verbs (render belongs to the scene).

    @on_cpu
    def observe(self, observation: Observation) -> RigidODEState:
        """How a sequence begins: of a learned one its first pose, of a new one what is given, or what fits its first
        frames best."""
        if observation.initial is not None:
            known, (cluster, state) = observation.initial, state_from_labels(self, observation.initial)
            unsure = observation.precision * torch.diag(self.dynamics[cluster].state_scale())
            return self._begin(cluster, state, float(known.times[0]), -1, unsure)
        if observation.frames:
            cluster, state, factor, time = state_from_frames(self, observation.frames)
            return self._begin(cluster, state, time, -1, factor)
        if not 0 <= observation.sequence < len(self.counts):
            raise UserError(
                f"this run learned {len(self.counts)} sequences; there is no sequence {observation.sequence}."
            )
        cluster = int(self.cluster_of_sequence[observation.sequence])
        poses, times = self.poses(observation.sequence)
        if not self.dynamics[cluster].fitted:
            nothing = torch.zeros(0, dtype=torch.float64)
            return self._begin(cluster, nothing, float(times[0]) * self.window, observation.sequence)
        (time, state), _ = self.dynamics[cluster].forecast_states(poses, times, bool(self.exact_poses))
        return self._begin(cluster, state, time * self.window, observation.sequence)

    @staticmethod
    def _begin(cluster: int, state: Tensor, time: float, sequence: int, factor: Tensor | None = None) -> RigidODEState:
        sure = state.new_zeros(len(state), 0)
        when = torch.tensor(time, dtype=torch.float64)
        return RigidODEState(
            torch.tensor(cluster), state, when, torch.tensor(sequence), sure if factor is None else factor
        )

    def poses(self, sequence: int) -> tuple[Tensor, Tensor]:
        """`[T, 6 K]` poses of a learned sequence as they were seen, and when `[T]`, in windows."""
        cluster, count = int(self.cluster_of_sequence[sequence]), int(self.counts[sequence])
        own = self.parts(cluster)
        centres, rotations = self.centres[sequence, :count, own], self.rotations[sequence, :count, own]
        return self.pose_vectors(cluster, centres, rotations).detach(), self.times[sequence, :count].cpu()

    @on_cpu
    def evolve(self, state: RigidODEState, times: Tensor) -> RigidPartsState:
        """The law from where the state says; inside what was seen of a learned sequence, what was seen."""
        cluster = int(state.cluster)
        return self.from_pose_vectors(cluster, self._pose_vectors(state, times, self.dynamics[cluster].solve))

    @on_cpu
    def ensemble(self, state: RigidODEState, times: Tensor) -> Tensor:
        """By the most likely law and by the others that the sequences leave possible, each from a state that is
        possible. The same draws each time."""
        cluster, generator = int(state.cluster), torch.Generator().manual_seed(0)
        dynamics = self.dynamics[cluster]
        count = len(dynamics.ensemble_weights)
        draws = torch.randn(count, state.factor.shape[1], generator=generator, dtype=torch.float64)
        draws[0] = 0
        off = draws @ state.factor.T

        def solve(begin: Tensor, start: float, u: Tensor) -> Tensor:
            return dynamics.solve_ensemble(begin + off, start, u)

        pose_vectors = self._pose_vectors(state, times, solve, (count,))
        centres = self.from_pose_vectors(cluster, pose_vectors.flatten(0, 1)).centres[:, self.parts(cluster)]
        return centres.unflatten(0, pose_vectors.shape[:2]).transpose(0, 1)

    def _pose_vectors(
        self, state: RigidODEState, times: Tensor, solve: Solve, ensemble: tuple[int, ...] = ()
    ) -> Tensor:
        """`[T, *ensemble, 6 K]` poses at `times`."""
        u = times.double() / self.window
        sequence, dynamics = int(state.sequence), self.dynamics[int(state.cluster)]
        if sequence < 0:
            return _decoded(dynamics, solve(state.state, float(state.time) / self.window, u))
        poses, seen = self.poses(sequence)
        spline = CubicSpline(seen.numpy(), poses.numpy())
        inside = torch.from_numpy(spline(u.clamp(float(seen[0]), float(seen[-1])).numpy()))
        out = inside.view(len(u), *(1 for _ in ensemble), -1).repeat(1, *ensemble, 1)
        if not dynamics.fitted:
            return out
        # Compared as float32, as which times come: the last observed one must not count as after the window.
        first, last = (seen[[0, -1]] * self.window).float()
        before, after = times.float() < first, times.float() > last
        if before.any() or after.any():
            ends = dynamics.forecast_states(poses, seen, bool(self.exact_poses))
            for side, (start, begin) in ((before, ends[0]), (after, ends[1])):
                if side.any():
                    out[side] = _decoded(dynamics, solve(begin, start, u[side]))
        return out

    def scene(self, state: RigidPartsState) -> Scene:
        """The parts and their surroundings at one time."""
        return self.appearance.scene(state)

    def layer(self, state: RigidPartsState, which: Layer) -> Scene | None:
        """The parts, or what is around them."""
        return self.appearance.layer(state, which)

    def system(self, cluster: int = 0) -> DynamicalSystem | None:
        """The law on the surface of a kind's poses; None where none was fitted, or nothing moves."""

        def centres(pose_vectors: Tensor) -> Tensor:
            return self.from_pose_vectors(cluster, pose_vectors).centres[:, self.parts(cluster)]

        seen = FittedPoses(*self.learned_poses(cluster), bool(self.exact_poses), self.sequences(cluster).tolist())
        return lagrangian_system(self.dynamics[cluster], self.window, seen, centres)

    # How it learns.

    def losses(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Squared colour error, opacity where the plain background was seen, and roughness."""
        width = self.times.shape[1]
        rows, which = (batch.sequences * width + batch.time_indices).unique(return_inverse=True)
        centres, rotations = self.centres.flatten(0, 1)[rows], self.rotations.flatten(0, 1)[rows]
        states = RigidPartsState(centres, rotations, torch.zeros(len(rows), 1))
        return self.appearance.losses(states, replace(batch, time_indices=which), step)

    def batch_spec(self, step: int) -> BatchSpec:
        """As many rays as the step's budget of samples allows."""
        del step
        return self.appearance.batch_spec()

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """How things look, and the poses, which rest where they are known, or once the law was fitted for the last
        time."""
        c, decay = self.config, self.config.lr_decay**progress
        moves = 0.0 if bool(self.exact_poses) or progress >= c.multi_sequence.fit_at[-1] else decay
        radius = float(self.appearance.half_extents[:-1].mean(-1).double().mean())
        return [
            *self.appearance.parameter_groups(progress),
            {"name": "centres", "params": [self.centres], "lr": c.centre_lr * radius * moves},
            {"name": "rotations", "params": [self.rotations], "lr": c.rotation_lr * moves},
        ]

    def callbacks(self) -> tuple[Callback, ...]:
        """Parts are found before training; the dynamics are fitted at their times."""
        return (Callback(self.warm_start, self.before_step, after_training=self.finish),)

    def before_step(self, step: int, progress: float) -> str | None:
        """Refreshes the occupancy, and fits the law at its times."""
        self.appearance.before_step(step, progress)
        return self._fit_at_stage(sum(progress >= p for p in self.config.multi_sequence.fit_at))

    def finish(self) -> str | None:
        """The last fit of the law, where a step was so long that the budget ended before its time came."""
        return self._fit_at_stage(len(self.config.multi_sequence.fit_at))

    def _fit_at_stage(self, stage: int) -> str | None:
        """Fits the law, unless that was done at this stage or a later one."""
        if stage <= int(self.fit_stage):
            return None
        self.fit_stage.fill_(stage)
        return self.fit_dynamics()


def _decoded(dynamics: LearnedDynamics, path: Tensor) -> Tensor:
    """Poses of states."""
    return dynamics.manifold.decode(path[..., : dynamics.manifold.size])


def _padded_bounds(bounds: Bounds) -> Bounds:
    low, high = torch.tensor(bounds, dtype=torch.float64)
    margin = BOUNDS_MARGIN * (high - low)
    return tuple((low - margin).tolist()), tuple((high + margin).tolist())
