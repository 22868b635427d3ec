"""What a step of training learns from. Each kind of batch is one file of `foreseen.batches`: spec, batch, sampler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from foreseen.core.scene_info import SceneInfo, sequence_names
from foreseen.data.types import Dataset, Frame


@dataclass(frozen=True)
class BatchSpec:
    """How a method wants its next batch; a subclass for each kind of batch."""


class Batch(Protocol):
    """What every batch can do."""

    @property
    def pixels(self) -> int:
        """Number of pixels in the batch, for the reported speed."""
        ...

    def to(self, device: torch.device) -> Any:
        """The same batch on another device."""
        ...


class Sampler(ABC):
    """Draws batches from the training data. All randomness comes from its own generator, whose state is saved.

    A subclass is built as `cls(frames, names, info, seed, memory_mb, say)`; see
    `foreseen.batches.sampler.FrameSampler`.
    """

    generator: torch.Generator

    def __init__(
        self,
        frames: Sequence[Frame],
        info: SceneInfo,
        seed: int,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.frames, self.info = frames, info
        self.say = say or (lambda _: None)
        self.generator = torch.Generator().manual_seed(seed)

    @classmethod
    def of(cls, data: Dataset, frames: Sequence[Frame], info: SceneInfo, seed: int, **options: Any) -> Sampler:
        """A sampler for `frames` of a data set; `options` are `memory_mb` and `say`. A sampler that draws from more
        than frames takes it from `data` here."""
        build: Any = cls
        sampler: Sampler = build(frames, sequence_names(data, frames), info, seed, **options)
        return sampler

    def prepare(self, spec: Any) -> None:
        """Does the slow work that the first batch would otherwise wait for."""
        del spec

    @abstractmethod
    def batch(self, spec: Any, step: int) -> Any:
        """The next batch, on the CPU."""

    def state(self) -> Tensor:
        """The generator's state, uint8."""
        return self.generator.get_state()

    def set_state(self, state: Tensor) -> None:
        """Continues from a saved state."""
        self.generator.set_state(state)


_SAMPLERS: dict[type[BatchSpec], type[Sampler]] = {}
Kind = TypeVar("Kind", bound=type[Sampler])


def samples(spec: type[BatchSpec]) -> Callable[[Kind], Kind]:
    """Class decorator: registers a sampler for a kind of batch."""

    def register(sampler: Kind) -> Kind:
        _SAMPLERS[spec] = sampler
        return sampler

    return register


def sampler_of(spec: BatchSpec) -> type[Sampler]:
    """The sampler that is registered for a spec's type.

    Raises:
        TypeError: none is registered.
    """
    for kind in type(spec).__mro__:
        if kind in _SAMPLERS:
            return _SAMPLERS[kind]
    known = ", ".join(sorted(kind.__name__ for kind in _SAMPLERS)) or "none"
    raise TypeError(f"no sampler is registered for {type(spec).__name__} (known: {known})")
