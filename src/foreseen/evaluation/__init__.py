"""Metrics, baselines and horizons: how well a run predicts frames that it has not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foreseen.evaluation.evaluate import evaluate_run
    from foreseen.evaluation.report import metrics_tables

__all__ = ["evaluate_run", "metrics_tables"]

_HOMES = {"evaluate_run": "foreseen.evaluation.evaluate", "metrics_tables": "foreseen.evaluation.report"}


def __getattr__(name: str) -> Any:
    # Lazily: `foreseen.evaluate_run` must not load torch before it is called.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
