"""What rigid-ode asks of an appearance: how parts and the static scene look."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from foreseen.core.batch import BatchSpec
from foreseen.core.capabilities import Layer
from foreseen.methods.rigid_ode.parts import RigidPartsState
from foreseen.scenes import Scene

AppearanceBatch = TypeVar("AppearanceBatch")


class Appearance(nn.Module, ABC, Generic[AppearanceBatch]):
    """The appearance of the parts, each in its own frame, and of the static scene around them.

    Attributes:
        half_extents: `[K, 3]` half sizes of the parts' boxes; it may have further rows for the static scene.
    """

    half_extents: Tensor
    is_surface = False
    """True: it starts on surfaces that nearly all views agree on, and models shadows itself. False: it starts with all
    cells that may hold matter, and a shadow counts as a part."""

    @abstractmethod
    def scene(self, state: RigidPartsState) -> Scene:
        """The scene at one time (`state` without leading axis)."""

    def layer(self, state: RigidPartsState, which: Layer) -> Scene | None:
        """The static or the dynamic layer of that scene; None without parts."""
        del state, which
        return None

    @abstractmethod
    def batch_spec(self) -> BatchSpec:
        """How the next batch is drawn."""

    @abstractmethod
    def losses(self, states: RigidPartsState, batch: AppearanceBatch, step: int) -> dict[str, Tensor]:
        """Losses of a batch whose `time_indices` are rows of `states`."""

    @abstractmethod
    def before_step(self, step: int, progress: float) -> None:
        """Called before each step, with the progress 0..1 of the budget."""

    def pop_written_rows(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Parameters and rows `[R]` that were rewritten since the last call."""
        return []

    @abstractmethod
    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Optimiser groups at `progress` 0..1 of the budget."""
