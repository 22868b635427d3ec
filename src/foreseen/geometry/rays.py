"""Rays in space, and in normalised device coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rays:
    """A bundle of rays.

    `origins` and `directions` `[..., 3]` say where samples lie: `origin + distance * direction`, in scene units with
    unit directions, or in NDC where the camera asks for it. `view_directions` `[..., 3]` are unit vectors in the world,
    whatever the space of the samples.
    """

    origins: Tensor
    directions: Tensor
    view_directions: Tensor

    def __getitem__(self, index: object) -> Rays:
        return Rays(self.origins[index], self.directions[index], self.view_directions[index])  # type: ignore[index]

    def at(self, distances: Tensor) -> Tensor:
        """Points `[..., S, 3]` at `distances` `[..., S]` along each ray."""
        return self.origins[..., None, :] + distances[..., None] * self.directions[..., None, :]

    def reshape(self, *shape: int) -> Rays:
        """The same rays with leading axes `shape`."""
        return Rays(*(x.reshape(*shape, 3) for x in (self.origins, self.directions, self.view_directions)))

    def to(self, device: torch.device | str) -> Rays:
        """The same rays on another device."""
        return Rays(self.origins.to(device), self.directions.to(device), self.view_directions.to(device))

    @staticmethod
    def concatenate(parts: list[Rays]) -> Rays:
        """Bundles joined along the first axis."""
        return Rays(
            torch.cat([p.origins for p in parts]),
            torch.cat([p.directions for p in parts]),
            torch.cat([p.view_directions for p in parts]),
        )
