"""The previous and the next frame of each ray's camera track: cameras to project into, as flow losses need them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class RayNeighbours:
    """The frames before and after those of N rays, in their camera tracks. Index 0 of the second axis is the previous
    frame, index 1 the next one. Where there is none, the ray's own frame stands in and `exists` is False.

    Attributes:
        own_pixels: `[N, 2]` (x, y) of the rays in their own frames, at pixel centres.
        exists: `[N, 2]` bool: there is such a training frame.
        flow_leads_there: `[N, 2]` bool: it is also the data set's own previous or next frame of the track, to which
            `flow_backward` and `flow_forward` lead.
        times: `[N, 2]`, in the data set's unit.
        time_indices: `[N, 2]` int64, index into `SceneInfo.times[sequence]`.
        camera_to_world: `[N, 2, 4, 4]`.
        focals, centres: `[N, 2, 2]` (x, y), in pixels.
    """

    own_pixels: Tensor
    exists: Tensor
    flow_leads_there: Tensor
    times: Tensor
    time_indices: Tensor
    camera_to_world: Tensor
    focals: Tensor
    centres: Tensor

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """World points `[N, 2, S, 3]` -> pixels `[N, 2, S, 2]` in the neighbours' pictures, and depths `[N, 2, S]`
        along z of their cameras."""
        rotation, position = self.camera_to_world[..., :3, :3], self.camera_to_world[..., None, :3, 3]
        local = (points - position) @ rotation
        depth = local[..., 2]
        safe = torch.where(depth.abs() < 1e-9, torch.full_like(depth, 1e-9), depth)
        return local[..., :2] / safe[..., None] * self.focals[:, :, None] + self.centres[:, :, None], depth

    def to(self, device: torch.device) -> RayNeighbours:
        """The same on another device."""
        return RayNeighbours(*(getattr(self, field.name).to(device) for field in fields(self)))
