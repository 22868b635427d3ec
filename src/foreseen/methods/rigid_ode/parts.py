"""The trajectories of one sequence: of rigid parts, or of one latent coordinate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foreseen.geometry.rotations import quaternion_of, quaternion_product, rotation_vector
from foreseen.methods.rigid_ode.config import RigidODEConfig
from foreseen.methods.rigid_ode.orientation_track import OrientationTrack
from foreseen.nn.splines import UniformBSpline


@dataclass(frozen=True)
class RigidPartsState:
    """Poses of K parts. Leading axes are times.

    Attributes:
        centres: `[..., K, 3]`, in the space of the rays.
        rotations: `[..., K, 3]` rotation vectors [rad].
        latent: `[..., 1]` in -1..1: latent coordinate that the field of a scene without parts depends on; constant
            where there are parts.
    """

    centres: Tensor
    rotations: Tensor
    latent: Tensor


class RigidParts(nn.Module):
    """K rigid parts: trajectories over the observed window (unit time), and box sizes.

    Parts that are round (`is_round` `[K]` bool) rotate as their texture shows (`orientation_track`), with small learned
    `rotations` on top, or not at all. The dynamics do not include their rotation: it would be noise.

    Without parts (K = 0) the motion is `latent`, one coordinate that starts as the time itself.
    """

    half_extents: Tensor
    is_round: Tensor
    time_controls: Tensor

    def __init__(self, count: int, controls: int, last_spin_share: float = RigidODEConfig.last_spin_share) -> None:
        super().__init__()
        self.count = count
        self.spline = UniformBSpline(controls)
        self.centres = nn.Parameter(torch.zeros(controls, count, 3))
        self.rotations = nn.Parameter(torch.zeros(controls, count, 3))
        self.orientation_track = OrientationTrack(count, 2 * controls + 1, last_spin_share)
        # A spline through these control points is the time itself.
        line = (torch.arange(controls) - 1.0) / (controls - 3)
        self.register_buffer("time_controls", line, persistent=False)
        self.latent = nn.Parameter((2 * line - 1 if count == 0 else torch.zeros(controls))[:, None])
        self.register_buffer("half_extents", torch.ones(count, 3))
        self.register_buffer("is_round", torch.zeros(count, dtype=torch.bool))

    def at(self, basis: Tensor) -> RigidPartsState:
        """Poses at the times of the spline weights `basis` `[T, controls]`."""
        basis = basis.to(self.centres)
        centres = torch.einsum("tc,ckd->tkd", basis, self.centres)
        return RigidPartsState(
            centres, self._rotation_vectors(basis, basis @ self.time_controls.to(basis)), basis @ self.latent
        )

    def _rotation_vectors(self, basis: Tensor, times: Tensor) -> Tensor:
        """Rotation vectors `[T, K, 3]` at `times`; `basis`: spline weights at these times, clamped to the window."""
        learned = torch.einsum("tc,ckd->tkd", basis, self.rotations)
        free = learned * ~self.is_round[:, None]
        if not self.orientation_track.valid.any():
            return free
        tracked = self.orientation_track.at(times.to(learned))
        composed = rotation_vector(quaternion_product(quaternion_of(learned), tracked))
        return torch.where(self.orientation_track.valid[:, None], composed, free)

    def pose_vectors(self, basis: Tensor) -> Tensor:
        """Coordinates `[T, P]` float64 for the dynamics, on the CPU: the parts' centres, and their rotation vectors
        times the part's size, which is the distance that its rim moves. Both are scaled by the part's size, so that
        large parts, whose positions are more accurate, count for more. Without parts: the latent coordinate."""
        state = self.at(basis)
        if self.count == 0:
            return state.latent.double().cpu()
        rotations = torch.where(self.is_round[:, None], 0.0, state.rotations) * self._sizes()[:, None]
        poses = torch.cat([state.centres, rotations], dim=-1) * self.units()[:, None]
        return poses.flatten(1).double().cpu()

    def from_pose_vectors(self, pose_vectors: Tensor, times: Tensor) -> RigidPartsState:
        """The inverse of `pose_vectors`, at `times` `[T]` (0..1 is the window)."""
        if self.count == 0:
            empty = self.centres.new_zeros(len(pose_vectors), 0, 3)
            return RigidPartsState(empty, empty, pose_vectors.to(self.latent).clamp(-1, 1))
        centres, rotations = self._split_poses(pose_vectors)
        tracked = self._rotation_vectors(self.spline.basis(times.clamp(0, 1)).to(self.rotations), times)
        rotations = torch.where(self.is_round[:, None], tracked, rotations / self._sizes()[:, None])
        return RigidPartsState(centres, rotations, centres.new_zeros(len(pose_vectors), 1))

    def centres_of(self, pose_vectors: Tensor) -> Tensor:
        """Centres `[T, K, 3]` of `pose_vectors`."""
        return self._split_poses(pose_vectors)[0]

    def _split_poses(self, pose_vectors: Tensor) -> tuple[Tensor, Tensor]:
        poses = pose_vectors.to(self.centres).unflatten(-1, (self.count, 6)) / self.units()[:, None]
        centres, rotations = poses.split(3, dim=-1)
        return centres, rotations

    def units(self) -> Tensor:
        """`[K]`: a length of 1 scene unit in `pose_vectors`."""
        sizes = self._sizes()
        return sizes / sizes.max() ** 2

    def _sizes(self) -> Tensor:
        """`[K]` mean half sizes of the boxes."""
        return self.half_extents.mean(-1)

    def rotation_roughness(self) -> Tensor:
        """Mean squared first difference of the rotation vectors. A part whose rotation is not visible stays still."""
        return self.rotations.diff(dim=0).square().mean() if self.count else self.rotations.sum()

    def jerk(self) -> Tensor:
        """Mean squared third difference of the control points, in sizes of the parts and in radians."""
        if self.count == 0:
            return self.latent.diff(n=3, dim=0).square().mean()
        scaled = torch.cat([self.centres / self._sizes()[None, :, None], self.rotations], dim=-1)
        return scaled.diff(n=3, dim=0).square().mean()
