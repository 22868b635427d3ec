"""Radiance fields, each static in the frame of a rigid part, composed in one space at one time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

ComponentQuery = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(local positions [M, 3] in [-1, 1], components [M] int64, ray indices [M] int64, view directions [M, 3]) ->
density [M] per unit length of the rays' space, and colour [M, 3] in 0..1."""


@dataclass(frozen=True)
class ComposedField:
    """K parts, each a box with a field inside that moves with it. Where boxes overlap densities add up.

    R is 1, or the number of rays where every ray has its own time (a training batch).

    Attributes:
        query: the fields.
        rotations: `[R, K, 3, 3]`, from a part's frame to the space of the rays.
        centres: `[R, K, 3]`.
        half_extents: `[K, 3]` half sizes of the boxes.
        cells: `[R, K]` int64, index of the grid that holds a part's cached density; -1: the part is absent.
        grid: `[B, G, G, G]` cached density of each grid's box: empty cells are skipped, opaque ones end a ray.
        threshold: cached densities up to this count as empty.
        step: distance between two steps of ray marching.
        ray_strides: `[K]` int64; a part is sampled at every so many steps.
        near, far: bounds of every ray.
        background: colour behind everything.
    """

    query: ComponentQuery
    rotations: Tensor
    centres: Tensor
    half_extents: Tensor
    cells: Tensor
    grid: Tensor
    threshold: float
    step: float
    ray_strides: Tensor
    near: float
    far: float
    background: tuple[float, float, float]
