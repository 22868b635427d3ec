"""foreseen: learns how a captured scene moves, and renders it from any view at any time, past the last frame."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from foreseen.version import __version__

if TYPE_CHECKING:
    from foreseen.data import load_dataset
    from foreseen.evaluation import evaluate_run
    from foreseen.runs import TrainConfig, load_run
    from foreseen.training import run_training, train

__all__ = ["TrainConfig", "__version__", "evaluate_run", "load_dataset", "load_run", "run_training", "train"]

_HOMES = {
    "TrainConfig": "foreseen.runs",
    "evaluate_run": "foreseen.evaluation",
    "load_dataset": "foreseen.data",
    "load_run": "foreseen.runs",
    "run_training": "foreseen.training",
    "train": "foreseen.training",
}


def __getattr__(name: str) -> Any:
    """Imports a public function when it is first asked for (PEP 562): `import foreseen` alone stays fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'foreseen' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
