"""The contract of every method: four verbs, losses, and how it wants to be trained.

`render` belongs to the scene's type (`foreseen.render`). What only some methods can do is a typed protocol in
`foreseen.core.capabilities`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from foreseen.core.batch import BatchSpec
from foreseen.core.observation import Observation
from foreseen.core.optimizer import adam
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.scenes import Scene

State = TypeVar("State")
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Traits:
    """What a trainer, a renderer or an exporter has to know about a method.

    Attributes:
        max_grad_norm: the gradient of all parameters together is scaled down to this norm; 0 leaves it as it is.
        bf16: `losses` may run under bf16 autocast. Networks bear it; positions of parts and Gaussians do not.
        default_steps: training steps where the user gives neither steps nor minutes; None: the trainer's default time.
        static: the scene is the same at all times; else training frames are needed at two times or more.
        needs_cameras: the camera of every training frame must be known.
        needs_colour: pixels must be red, green and blue in 0..1.
        scene: the type of the scenes that it makes, where that is known before training.
    """

    max_grad_norm: float = 10.0
    bf16: bool = False
    default_steps: int | None = None
    static: bool = False
    needs_cameras: bool = True
    needs_colour: bool = True
    scene: type | None = None


@dataclass(frozen=True)
class Callback:
    """What happens outside of the losses: warm starts, schedules, densification, fits of dynamics.

    Each function may return one line for the user. All run between steps, alike in every process.

    Attributes:
        before_training: called once, before the first step of a new run, with the training frames and, for each
            sequence, the labels at its training times. May change shapes of parameters.
        before_step: called before each step with the step and the progress in 0..1 of the budget.
        rewritten_rows: called after `before_step`: rows `[R]` int64 of parameters that stand for something new since
            the last call. The optimizer's memory of their gradients is cleared.
        after_training: called when the budget is spent, before the last checkpoint.
    """

    before_training: Callable[[Sequence[Frame], Sequence[PoseLabels | None]], str | None] | None = None
    before_step: Callable[[int, float], str | None] | None = None
    rewritten_rows: Callable[[], Iterable[tuple[nn.Parameter, Tensor]]] | None = None
    after_training: Callable[[], str | None] | None = None


class Method(nn.Module, ABC, Generic[State, Batch]):
    """A way to learn how a scene moves.

    A subclass is built as `cls(config, info)`, draws no random number outside torch's global generator, and keeps all
    that it learns or needs to resume in parameters and buffers. Where a warm start changes their shapes, it also is a
    `TakesShapes`.
    """

    traits: Traits = Traits()

    @property
    def device(self) -> torch.device:
        """Where its parameters and the tensors of its scenes are."""
        return next(self.parameters()).device

    @abstractmethod
    def observe(self, observation: Observation) -> State:
        """An observation -> a state (a dataclass of tensors)."""

    @abstractmethod
    def evolve(self, state: State, times: Tensor) -> State:
        """A state -> the states at `times` `[T]` (the data set's unit, any order, before or after the observed window);
        every tensor of the result has a leading axis T."""

    @abstractmethod
    def scene(self, state: State) -> Scene:
        """A state at one time (no leading axis) -> a scene that `foreseen.render.render` renders."""

    @abstractmethod
    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Named scalar loss terms, already weighted; the trainer minimises their sum. A name that starts with "_" is
        only logged."""

    @abstractmethod
    def batch_spec(self, step: int) -> BatchSpec:
        """How the batch of this step is drawn. Called after the callbacks of the same step, and depends on nothing but
        what they were told, so that a resumed run draws the same batches."""

    @abstractmethod
    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Groups `{"params": [...], "lr": float, "name": str}` at `progress` in 0..1 of the budget. The parameters are
        taken from the first call; the learning rates are read again before each step."""

    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer over `parameter_groups(0)`."""
        return adam(self.parameter_groups(0.0))

    def callbacks(self) -> tuple[Callback, ...]:
        """What happens between steps, in this order."""
        return ()


class TakesShapes(nn.Module):
    """A module whose warm start changes shapes of parameters: loading a state takes its shapes first."""

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As for any module, with the shapes that the state has."""
        self._take_shapes(state_dict)
        return super().load_state_dict(state_dict, strict, assign)

    def _take_shapes(self, tensors: Mapping[str, Tensor]) -> None:
        """Makes the parts of the module that have the shapes of `tensors` (a state dict)."""
        raise NotImplementedError


def take(state: Any, index: int) -> Any:
    """One time of an evolved state: every tensor of the dataclass indexed along its leading axis."""
    if isinstance(state, Tensor):
        return state[index]
    if is_dataclass(state) and not isinstance(state, type):
        return type(state)(**{f.name: take(getattr(state, f.name), index) for f in fields(state)})
    return state


def scene_at(method: Method[Any, Any], time: float, observation: Observation | None = None) -> Scene:
    """The scene at one time: observe, evolve and scene in a row."""
    state = method.evolve(method.observe(observation or Observation()), torch.tensor([time], dtype=torch.float32))
    return method.scene(take(state, 0))
