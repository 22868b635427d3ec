"""How one attribute of Gaussians changes over time."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class AttributeTrack:
    """The values of one attribute, of those Gaussians in which it changes.

    Attributes:
        index: `[M]` int64, ascending: which Gaussians.
        values: `[T, M, ...]` at the times.
    """

    index: Tensor
    values: Tensor
