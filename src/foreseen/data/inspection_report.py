"""Parts of an inspection's report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class InspectionSection:
    """One section: rows of name and finding, and what is doubtful, one sentence each."""

    title: str
    rows: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...] = ()


def number(value: float | np.floating[Any]) -> str:
    """Four significant digits."""
    return f"{float(value):.4g}"


def numbers(values: Iterable[float]) -> str:
    """A point, rounded."""
    return "(" + ", ".join(f"{float(v):.3g}" for v in values) + ")"


def between(values: Iterable[float]) -> str:
    """Lowest to highest, or the one value that all have."""
    ordered = sorted(float(v) for v in values)
    low, high = number(ordered[0]), number(ordered[-1])
    return low if low == high else f"{low} to {high}"


def counted(count: int, what: str) -> str:
    """`1 frame`, `3 frames`."""
    return f"{count} {what}" + ("" if count == 1 else "s")
