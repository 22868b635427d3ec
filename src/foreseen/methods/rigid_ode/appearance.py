"""How parts look: what a method that moves parts asks of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from foreseen.core.batch import BatchSpec
from foreseen.core.capabilities import Layer
from foreseen.methods.rigid_ode.parts import RigidPartsState
from foreseen.scenes import Scene


class Appearance(nn.Module, ABC):
    """Parts at rest in their own frames, and what surrounds them.

    Attributes:
        halves: `[K, 3]` half sizes of the parts' boxes, or more rows (of what is at rest) after those.
    """

    half_extents: Tensor
    is_surface = False
    """It begins where matter surely is, and shows parts' shadows, which else are parts of their own; a look that is not
    is told where matter may be, and finds what is empty."""

    @abstractmethod
    def scene(self, state: RigidPartsState) -> Scene:
        """At one time (`state` without leading axis)."""

    def layer(self, state: RigidPartsState, which: Layer) -> Scene | None:
        """Of that scene what surrounds the parts, or the parts; None where there are none."""
        del state, which
        return None

    @abstractmethod
    def batch_spec(self) -> BatchSpec:
        """What the next batch is to be."""

    @abstractmethod
    def losses(self, states: RigidPartsState, batch: Any, step: int) -> dict[str, Tensor]:
        """Of a batch whose `time_indices` are rows of `states`."""

    @abstractmethod
    def before_step(self, step: int, progress: float) -> None:
        """What changes between steps."""

    def pop_written_rows(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Rows `[R]` of parameters that stand for something new since this was called last."""
        return []

    @abstractmethod
    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Optimiser groups at `progress` in 0..1 of the training budget."""
