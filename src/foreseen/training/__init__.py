"""Trainer, checkpoints, samplers, runs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foreseen.training.launch import train
    from foreseen.training.run import Run, load_run
    from foreseen.training.signals import TrainingInterrupted

__all__ = ["Run", "TrainingInterrupted", "load_run", "train"]

_HOMES = {"Run": "run", "load_run": "run", "train": "launch", "TrainingInterrupted": "signals"}


def __getattr__(name: str) -> Any:
    # Lazily: evaluation reads runs, and runs offer evaluation; `doctor` must work where a package is broken.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
