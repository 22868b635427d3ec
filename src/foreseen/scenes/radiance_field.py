"""A radiance field at one time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

FieldQuery = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor] | tuple[Tensor, Tensor, dict[str, Tensor]]]
"""(positions [M, 3], view directions [M, 3], ray indices [M] int64) -> density [M] and colour [M, 3] in 0..1, and
optionally extra channels by name, [M, C] each, such as scene flow or blending weights.

Positions are in the space of the rays. The ray index lets a training batch give each ray its own time."""


@dataclass(frozen=True)
class RadianceField:
    """Density, colour and extra channels as functions of position and direction.

    Attributes:
        query: the field, or the fine network of a pair.
        near, far: bounds of every ray.
        background: colour behind everything.
        coarse: the coarse network of a pair (hierarchical sampling), else None.
        options: settings of the quadrature by name, such as {"samples": 64, "importance_samples": 128}.
    """

    query: FieldQuery
    near: float
    far: float
    background: tuple[float, float, float]
    coarse: FieldQuery | None = None
    options: dict[str, Any] = field(default_factory=dict)
