"""Rays and solids: the nearest hit, its surface normal and its colour; compiled by Numba."""

from __future__ import annotations

import math

import numpy as np

from foreseen.simulate.intersections import (
    MISS,
    Vector,
    box,
    box_normal,
    capsule,
    capsule_normal,
    compiled,
    dot,
    field,
    field_normal,
    plane,
    sphere,
    unit,
)
from foreseen.simulate.kernel_tables import (
    BOUND,
    BOX,
    CAPSULE,
    CHECK,
    COLOR,
    KIND,
    NX,
    NY,
    OFFSET,
    PLANE,
    POSITION,
    ROTATION,
    SECOND,
    SIZE,
    SPHERE,
)


@compiled
def rotate(m: np.ndarray, p: int, c: int, v: Vector) -> Vector:
    """R v, the matrix R written in row p of a table from column c on."""
    return (
        m[p, c] * v[0] + m[p, c + 1] * v[1] + m[p, c + 2] * v[2],
        m[p, c + 3] * v[0] + m[p, c + 4] * v[1] + m[p, c + 5] * v[2],
        m[p, c + 6] * v[0] + m[p, c + 7] * v[1] + m[p, c + 8] * v[2],
    )


@compiled
def rotate_back(m: np.ndarray, p: int, c: int, v: Vector) -> Vector:
    """R^T v."""
    return (
        m[p, c] * v[0] + m[p, c + 3] * v[1] + m[p, c + 6] * v[2],
        m[p, c + 1] * v[0] + m[p, c + 4] * v[1] + m[p, c + 7] * v[2],
        m[p, c + 2] * v[0] + m[p, c + 5] * v[1] + m[p, c + 8] * v[2],
    )


@compiled
def from_centre(solids: np.ndarray, p: int, point: Vector) -> Vector:
    return (
        point[0] - solids[p, POSITION],
        point[1] - solids[p, POSITION + 1],
        point[2] - solids[p, POSITION + 2],
    )


@compiled
def _size(solids: np.ndarray, p: int) -> Vector:
    return (solids[p, SIZE], solids[p, SIZE + 1], solids[p, SIZE + 2])


@compiled
def _surface_grid(solids: np.ndarray, p: int, heights: np.ndarray) -> np.ndarray:
    offset, nx, ny = int(solids[p, OFFSET]), int(solids[p, NX]), int(solids[p, NY])
    return heights[offset : offset + nx * ny].reshape((nx, ny))


@compiled
def distance_to(solids: np.ndarray, heights: np.ndarray, p: int, o: Vector, d: Vector) -> float:
    """Distance along a unit-length world ray to solid p, or MISS."""
    centre = from_centre(solids, p, o)
    ahead, reach = -dot(centre, d), solids[p, BOUND]
    if ahead < -reach or dot(centre, centre) - ahead * ahead > reach * reach:
        return MISS
    kind, size = solids[p, KIND], _size(solids, p)
    if kind == SPHERE:
        return sphere(centre, d, size[0])
    lo, ld = rotate_back(solids, p, ROTATION, centre), rotate_back(solids, p, ROTATION, d)
    if kind == BOX:
        return box(lo, ld, size)
    if kind == CAPSULE:
        return capsule(lo, ld, size[0], size[1])
    if kind == PLANE:
        return plane(lo, ld)
    return field(lo, ld, _surface_grid(solids, p, heights), size, size[2], solids[p, SIZE + 3])


@compiled
def nearest(solids: np.ndarray, heights: np.ndarray, first: int, o: Vector, d: Vector) -> tuple[float, int]:
    """Distance and index of the first solid that a ray hits, from index `first` on; (MISS, -1) if none."""
    best, index = MISS, -1
    for p in range(first, solids.shape[0]):
        t = distance_to(solids, heights, p, o, d)
        if t < best:
            best, index = t, p
    return best, index


@compiled
def _local_normal(solids: np.ndarray, heights: np.ndarray, p: int, local: Vector) -> Vector:
    size, kind = _size(solids, p), solids[p, KIND]
    if kind == SPHERE:
        return unit(local)
    if kind == BOX:
        return box_normal(local, size)
    if kind == CAPSULE:
        return capsule_normal(local, size[1])
    if kind == PLANE:
        return (0.0, 0.0, 1.0)
    return field_normal(local, _surface_grid(solids, p, heights), size, size[2])


@compiled
def _ramp(x: float) -> float:
    """Integral of the square wave that is +1 on [0, 1) and -1 on [1, 2)."""
    f = x - 2.0 * math.floor(0.5 * x)
    return min(f, 2.0 - f)


@compiled
def _square_wave(x: float, width: float) -> float:
    """The square wave averaged over `width` about x, so that far tiles fade to grey instead of flickering."""
    return (_ramp(x + 0.5 * width) - _ramp(x - 0.5 * width)) / width


@compiled
def _checker(solids: np.ndarray, p: int, local: Vector, normal: Vector, footprint: float) -> float:
    """Weight of the second colour, 0..1: tiles of edge CHECK in the solid's own frame."""
    edge, kind = solids[p, CHECK], solids[p, KIND]
    if edge == 0.0:
        return 0.0
    width = max(footprint / edge, 1e-4)
    sign = 1.0
    for k in range(3):
        # Across a flat face the third coordinate is constant and must not decide between tiles.
        flat = k == 2 if kind >= PLANE else abs(normal[k]) > 0.999 and kind == BOX
        if not flat:
            sign *= _square_wave(local[k] / edge, width)
    return 0.5 - 0.5 * sign


@compiled
def normal_and_albedo(
    solids: np.ndarray, heights: np.ndarray, p: int, point: Vector, d: Vector, footprint: float
) -> tuple[Vector, Vector]:
    """World normal and linear colour at a point of solid p; `footprint` [scene units] is the width of the ray
    there, seen head on."""
    local = rotate_back(solids, p, ROTATION, from_centre(solids, p, point))
    flat = _local_normal(solids, heights, p, local)
    normal = rotate(solids, p, ROTATION, flat)
    facing = -dot(normal, d)
    # Only planes have two sides. Near its outline the smoothed normal of a height field may face away; it is kept.
    if facing < 0.0 and solids[p, KIND] == PLANE:
        normal = (-normal[0], -normal[1], -normal[2])
    w = _checker(solids, p, local, flat, footprint / max(abs(facing), 0.1))
    red = solids[p, COLOR] + w * (solids[p, SECOND] - solids[p, COLOR])
    green = solids[p, COLOR + 1] + w * (solids[p, SECOND + 1] - solids[p, COLOR + 1])
    return normal, (red, green, solids[p, COLOR + 2] + w * (solids[p, SECOND + 2] - solids[p, COLOR + 2]))
