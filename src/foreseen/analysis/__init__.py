"""Learned dynamics as a dynamical system: fixed points, Lyapunov exponents, energy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foreseen.analysis.analyze import analyze_run
    from foreseen.analysis.report import analysis_tables

__all__ = ["analysis_tables", "analyze_run"]

_HOMES = {"analyze_run": "foreseen.analysis.analyze", "analysis_tables": "foreseen.analysis.report"}


def __getattr__(name: str) -> Any:
    # Lazily: SciPy and Matplotlib come with them.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
