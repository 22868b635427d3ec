"""Poses of rigid parts in several sequences, and the dynamics that clusters of sequences share."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from foreseen.core.scene_info import SceneInfo
from foreseen.dynamics.learned import LearnedDynamics, check_counts
from foreseen.methods.rigid_ode.config import RigidODEConfig
from foreseen.methods.rigid_ode.parts import RigidPartsState
from foreseen.methods.rigid_ode.voxel_appearance import VoxelAppearance
from foreseen.scenes import Scene
from foreseen.scenes.voxel_scene import FAR_AWAY


class SharedDynamics(nn.Module):
    """Sequences with the same manifold of poses form a dynamics cluster. Each cluster has separate parts and dynamics.

    There are S sequences of at most T training times, and P parts in all clusters together. A part of another cluster
    is far away. Times are in windows: the longest sequence takes 1.

    Attributes:
        window: length of the longest sequence, in the data set's unit.
        times: `[S, T]` float64 training times in windows, padded with 0.
        counts: `[S]` int64, training times of each sequence.
        centres, rotations: `[S, T, P, 3]` poses of the parts (rotation vectors [rad]).
        cluster_of_sequence: `[S]` int64.
        cluster_of_part: `[P]` int64.
        exact_poses: bool; poses are ground truth and not learned.
    """

    appearance: VoxelAppearance
    cluster_of_sequence: Tensor
    cluster_of_part: Tensor
    times: Tensor
    counts: Tensor
    exact_poses: Tensor

    def __init__(self, config: RigidODEConfig, info: SceneInfo) -> None:
        super().__init__()
        self.config, self.info = config, info
        counts = torch.tensor([len(times) for times in info.times])
        check_counts(counts, config.multi_sequence.min_times, info.names)
        self.window = max(times[-1] - times[0] for times in info.times)
        times = torch.zeros(len(counts), int(counts.max()), dtype=torch.float64)
        for s, of_sequence in enumerate(info.times):
            times[s, : len(of_sequence)] = torch.tensor(of_sequence, dtype=torch.float64) / self.window
        self.register_buffer("times", times, persistent=False)
        self.register_buffer("counts", counts, persistent=False)
        self.register_buffer("fit_stage", torch.tensor(0))
        self.register_buffer("exact_poses", torch.tensor(False))

    def set_parts(self, appearance: VoxelAppearance, cluster_of_sequence: Tensor, cluster_of_part: Tensor) -> None:
        """Sets appearance and clusters; makes new poses, all 0, and untrained dynamics."""
        self.appearance = appearance
        self.register_buffer("cluster_of_sequence", cluster_of_sequence)
        self.register_buffer("cluster_of_part", cluster_of_part)
        shape = (*self.times.shape, len(cluster_of_part), 3)
        absent = (cluster_of_part != cluster_of_sequence[:, None])[:, None, :, None]
        self.centres = nn.Parameter(torch.where(absent, FAR_AWAY, 0.0).expand(shape).clone())
        self.rotations = nn.Parameter(torch.zeros(shape))
        self.dynamics_models = nn.ModuleList(
            LearnedDynamics(self.config.multi_sequence, 6 * count) for count in cluster_of_part.bincount().tolist()
        )

    @property
    def dynamics(self) -> list[LearnedDynamics]:
        """The dynamics of each cluster."""
        return cast(list[LearnedDynamics], list(self.dynamics_models))

    @property
    def clusters(self) -> int:
        """Number of dynamics clusters."""
        return len(self.dynamics_models)

    def parts(self, cluster: int) -> Tensor:
        """Indices of a cluster's K parts."""
        return (self.cluster_of_part == cluster).nonzero()[:, 0]

    def sequences(self, cluster: int) -> Tensor:
        """Indices of the learned sequences of a cluster."""
        return (self.cluster_of_sequence == cluster).nonzero()[:, 0]

    def _sizes(self, cluster: int) -> Tensor:
        """`[K, 1]` mean half sizes of the parts, on the CPU."""
        return self.appearance.half_extents[self.parts(cluster)].mean(-1, keepdim=True).double().cpu()

    def pose_vectors(self, cluster: int, centres: Tensor, rotations: Tensor) -> Tensor:
        """Coordinates `[..., 6 K]` float64 for the dynamics, on the CPU, from centres and rotation vectors
        `[..., K, 3]`: as `RigidParts.pose_vectors`, but in scene units."""
        sizes = self._sizes(cluster)
        poses = torch.cat([centres.double().cpu(), rotations.double().cpu() * sizes], dim=-1)
        return (poses * sizes / sizes.max()).flatten(-2)

    def from_pose_vectors(self, cluster: int, pose_vectors: Tensor) -> RigidPartsState:
        """The inverse of `pose_vectors` `[T, 6 K]`: poses of all P parts, those of other clusters far away."""
        sizes, part_indices = self._sizes(cluster), self.parts(cluster)
        poses = pose_vectors.unflatten(-1, (len(sizes), 6)) * sizes.max() / sizes
        centres = self.centres.new_full((len(pose_vectors), len(self.cluster_of_part), 3), FAR_AWAY)
        rotations = torch.zeros_like(centres)
        centres[:, part_indices] = poses[..., :3].to(centres)
        rotations[:, part_indices] = (poses[..., 3:] / sizes).to(centres)
        return RigidPartsState(centres, rotations, centres.new_zeros(len(pose_vectors), 1))

    def learned_poses(self, cluster: int) -> tuple[Tensor, Tensor, Tensor]:
        """Current pose vectors `[S, T, 6 K]` of a cluster's sequences, their times `[S, T]` in windows, and the number
        of times of each `[S]`."""
        rows, part_indices = self.sequences(cluster), self.parts(cluster)
        centres, rotations = self.centres[rows][:, :, part_indices], self.rotations[rows][:, :, part_indices]
        poses = self.pose_vectors(cluster, centres, rotations)
        return poses.detach(), self.times[rows].cpu(), self.counts[rows].cpu()

    def poses(self, sequence: int) -> tuple[Tensor, Tensor]:
        """Current pose vectors `[T, 6 K]` of a learned sequence, and their times `[T]` in windows."""
        cluster, count = int(self.cluster_of_sequence[sequence]), int(self.counts[sequence])
        part_indices = self.parts(cluster)
        centres = self.centres[sequence, :count, part_indices]
        rotations = self.rotations[sequence, :count, part_indices]
        return self.pose_vectors(cluster, centres, rotations).detach(), self.times[sequence, :count].cpu()

    def scene(self, state: RigidPartsState) -> Scene:
        """The parts and the static scene at one time."""
        return self.appearance.scene(state)

    @torch.no_grad()
    def fit_dynamics(self) -> str:
        """Fits the dynamics of each cluster to the current poses. Returns a line for the user."""
        messages = []
        for cluster, dynamics in enumerate(self.dynamics):
            dynamics.fit(*self.learned_poses(cluster), bool(self.exact_poses))
            size = dynamics.manifold.size
            messages.append(
                f"dynamics on {size} coordinate{'' if size == 1 else 's'} follow the sequences "
                f"with a misfit of {float(dynamics.misfit):.2%}"
            )
        if len(messages) > 1:
            messages = [f"dynamics cluster {cluster + 1}: {message}" for cluster, message in enumerate(messages)]
        return "; ".join(messages) + "."
