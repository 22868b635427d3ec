"""A run's folder: config.json, checkpoints, and the trained method in it. Evaluation, viewer, report and export read
runs by this room; training writes them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foreseen.runs.config import RunConfig
    from foreseen.runs.forecast import Forecast
    from foreseen.runs.run import Run, load_run
    from foreseen.runs.train_config import TrainConfig

__all__ = ["Forecast", "Run", "RunConfig", "TrainConfig", "load_run"]

_HOMES = {
    "Forecast": "forecast",
    "Run": "run",
    "RunConfig": "config",
    "TrainConfig": "train_config",
    "load_run": "run",
}


def __getattr__(name: str) -> Any:
    # Lazily: `doctor` reads `foreseen.runs.machine`, and must work where another package is broken.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
