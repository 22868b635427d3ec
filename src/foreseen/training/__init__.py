"""The trainer: from a `TrainConfig` to a run."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foreseen.training.launch import run_training, train
    from foreseen.training.signals import TrainingInterrupted

__all__ = ["TrainingInterrupted", "run_training", "train"]

_HOMES = {"TrainingInterrupted": "signals", "run_training": "launch", "train": "launch"}


def __getattr__(name: str) -> Any:
    # Lazily: the command line catches `TrainingInterrupted`, and must not wait for torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
