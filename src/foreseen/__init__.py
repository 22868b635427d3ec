"""foreseen: learns how a filmed scene moves, and shows it from any view at any time, past the last frame."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foreseen.data import load_dataset
    from foreseen.training import load_run, train

__version__ = "0.1.0"

__all__ = ["__version__", "load_dataset", "load_run", "train"]

_HOMES = {"load_dataset": "foreseen.data", "load_run": "foreseen.training", "train": "foreseen.training"}


def __getattr__(name: str) -> Any:
    """Imports a public function when it is first asked for (PEP 562): `import foreseen` alone stays fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'foreseen' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
