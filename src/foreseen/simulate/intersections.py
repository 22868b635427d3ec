"""Where a ray meets a solid, in the solid's own frame; compiled by Numba.

Vectors are tuples of three floats. A direction need not have unit length: a distance t stands for `origin + t
* direction`. Every function returns the smallest t >= `EPSILON`, or `MISS`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

Vector = tuple[float, float, float]

MISS = np.inf
EPSILON = 1e-6

# Numba keys its cache by a function's own file: after an edit, touch the files that call into it.
compiled = njit(cache=True, nogil=True, error_model="numpy")


@compiled
def dot(a: Vector, b: Vector) -> float:
    """Scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled
def along(o: Vector, d: Vector, t: float) -> Vector:
    """The point `o + t d`."""
    return (o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2])


@compiled
def unit(a: Vector) -> Vector:
    """The vector at length 1."""
    s = 1.0 / math.sqrt(dot(a, a))
    return (a[0] * s, a[1] * s, a[2] * s)


@compiled
def sphere(o: Vector, d: Vector, radius: float) -> float:
    """A sphere about the origin, seen from outside or inside."""
    a, b, c = dot(d, d), dot(o, d), dot(o, o) - radius * radius
    root = b * b - a * c
    if root < 0.0:
        return MISS
    root = math.sqrt(root)
    near = (-b - root) / a
    if near >= EPSILON:
        return near
    far = (-b + root) / a
    return far if far >= EPSILON else MISS


@compiled
def plane(o: Vector, d: Vector) -> float:
    """The plane z = 0, from either side."""
    if d[2] == 0.0:
        return MISS
    t = -o[2] / d[2]
    return t if t >= EPSILON else MISS


@compiled
def slab(o: Vector, d: Vector, low: Vector, high: Vector) -> tuple[float, float, int]:
    """Entry into and exit from an axis-aligned box, and the axis of the face of entry; entry > exit is a
    miss."""
    enter, leave, axis = -np.inf, np.inf, 0
    for k in range(3):
        if d[k] == 0.0:
            if o[k] < low[k] or o[k] > high[k]:
                return np.inf, -np.inf, 0
            continue
        t0, t1 = (low[k] - o[k]) / d[k], (high[k] - o[k]) / d[k]
        if t0 > t1:
            t0, t1 = t1, t0
        if t0 > enter:
            enter, axis = t0, k
        leave = min(leave, t1)
    return enter, leave, axis


@compiled
def box(o: Vector, d: Vector, half: Vector) -> float:
    """A box of half extents `half` about the origin."""
    enter, leave, _ = slab(o, d, (-half[0], -half[1], -half[2]), half)
    if enter > leave:
        return MISS
    if enter >= EPSILON:
        return enter
    return leave if leave >= EPSILON else MISS


@compiled
def box_normal(p: Vector, half: Vector) -> Vector:
    """Outward normal of the face on which `p` lies."""
    x, y, z = abs(p[0]) - half[0], abs(p[1]) - half[1], abs(p[2]) - half[2]
    if x >= y and x >= z:
        return (math.copysign(1.0, p[0]), 0.0, 0.0)
    if y >= z:
        return (0.0, math.copysign(1.0, p[1]), 0.0)
    return (0.0, 0.0, math.copysign(1.0, p[2]))


@compiled
def capsule(o: Vector, d: Vector, radius: float, half: float) -> float:
    """A capsule: all points within `radius` of the segment from (0, 0, -half) to (0, 0, half). Seen from
    outside."""
    nearest = min(sphere((o[0], o[1], o[2] - half), d, radius), sphere((o[0], o[1], o[2] + half), d, radius))
    a = d[0] * d[0] + d[1] * d[1]
    b = o[0] * d[0] + o[1] * d[1]
    root = b * b - a * (o[0] * o[0] + o[1] * o[1] - radius * radius)
    if a > 0.0 and root >= 0.0:
        t = (-b - math.sqrt(root)) / a
        if EPSILON <= t < nearest and abs(o[2] + t * d[2]) <= half:
            return t
    return nearest


@compiled
def capsule_normal(p: Vector, half: float) -> Vector:
    """Outward normal at a point of the capsule's surface."""
    return unit((p[0], p[1], p[2] - min(max(p[2], -half), half)))


@compiled
def field_cell(x: float, y: float, half: Vector, nx: int, ny: int) -> tuple[int, int, float, float]:
    """The grid cell that (x, y) lies in, and the position inside it (0..1 each)."""
    u = (x + half[0]) / (2 * half[0]) * (nx - 1)
    v = (y + half[1]) / (2 * half[1]) * (ny - 1)
    i = min(max(math.floor(u), 0), nx - 2)
    j = min(max(math.floor(v), 0), ny - 2)
    return i, j, u - i, v - j


@compiled
def field_height(x: float, y: float, grid: np.ndarray, half: Vector) -> float:
    """Bilinear height of the grid `[nx, ny]` that spans x in [-half[0], half[0]] and y in [-half[1],
    half[1]]."""
    i, j, u, v = field_cell(x, y, half, grid.shape[0], grid.shape[1])
    low = grid[i, j] + v * (grid[i, j + 1] - grid[i, j])
    high = grid[i + 1, j] + v * (grid[i + 1, j + 1] - grid[i + 1, j])
    return low + u * (high - low)


@compiled
def _patch(
    o: Vector,
    d: Vector,
    corner: Vector,
    step: Vector,
    corners: tuple[float, float, float, float],
    enter: float,
    leave: float,
) -> float:
    """First hit of one bilinear patch between `enter` and `leave`: the smaller root of a quadratic."""
    h00, h10, h01, h11 = corners
    u0, v0 = (o[0] - corner[0]) / step[0], (o[1] - corner[1]) / step[1]
    du, dv = d[0] / step[0], d[1] / step[1]
    p, q, k = h10 - h00, h01 - h00, h11 - h10 - h01 + h00
    a = k * du * dv
    b = k * (u0 * dv + v0 * du) + p * du + q * dv - d[2]
    c = k * u0 * v0 + p * u0 + q * v0 + h00 - o[2]
    slack = 1e-9 * (1.0 + abs(leave))
    if abs(a) < 1e-14:
        t = -c / b if b != 0.0 else MISS
        return t if enter - slack <= t <= leave + slack else MISS
    root = b * b - 4 * a * c
    if root < 0.0:
        return MISS
    # The stable pair of roots: no difference of nearly equal numbers.
    s = -0.5 * (b + math.copysign(math.sqrt(root), b))
    t0, t1 = s / a, (c / s if s != 0.0 else MISS)
    if t0 > t1:
        t0, t1 = t1, t0
    if enter - slack <= t0 <= leave + slack:
        return t0
    return t1 if enter - slack <= t1 <= leave + slack else MISS


@compiled
def field(o: Vector, d: Vector, grid: np.ndarray, half: Vector, base: float, top: float) -> float:
    """A solid block from z = `base` up to a height field (`field_height`), walking from cell to cell.

    The flanks count: a ray that enters the block's bounding box below the surface meets a flank there.
    """
    nx, ny = grid.shape
    enter, leave, _ = slab(o, d, (-half[0], -half[1], base), (half[0], half[1], top))
    if enter > leave or leave < EPSILON:
        return MISS
    if enter >= EPSILON:
        p = along(o, d, enter)
        if p[2] < field_height(p[0], p[1], grid, half) - 1e-9:
            return enter
    t = max(enter, EPSILON)
    p = along(o, d, t)
    i, j, _, _ = field_cell(p[0], p[1], half, nx, ny)
    step = (2 * half[0] / (nx - 1), 2 * half[1] / (ny - 1), 0.0)
    while 0 <= i < nx - 1 and 0 <= j < ny - 1 and t <= leave:
        corner = (-half[0] + i * step[0], -half[1] + j * step[1], 0.0)
        next_x = (corner[0] + (step[0] if d[0] > 0 else 0.0) - o[0]) / d[0] if d[0] != 0.0 else np.inf
        next_y = (corner[1] + (step[1] if d[1] > 0 else 0.0) - o[1]) / d[1] if d[1] != 0.0 else np.inf
        end = min(next_x, next_y, leave)
        heights = (grid[i, j], grid[i + 1, j], grid[i, j + 1], grid[i + 1, j + 1])
        hit = _patch(o, d, corner, step, heights, t, end)
        if hit >= EPSILON and hit < MISS:
            return hit
        if end >= leave:
            return MISS
        if next_x <= next_y:
            i += 1 if d[0] > 0 else -1
        else:
            j += 1 if d[1] > 0 else -1
        t = end
    return MISS


@compiled
def _slope(grid: np.ndarray, i: int, j: int, step_x: float, step_y: float) -> tuple[float, float]:
    """Central differences at a grid point, one-sided at the border."""
    nx, ny = grid.shape
    a, b, c, e = max(i - 1, 0), min(i + 1, nx - 1), max(j - 1, 0), min(j + 1, ny - 1)
    return (grid[b, j] - grid[a, j]) / ((b - a) * step_x), (grid[i, e] - grid[i, c]) / ((e - c) * step_y)


@compiled
def field_normal(p: Vector, grid: np.ndarray, half: Vector, base: float) -> Vector:
    """Outward normal at a point of the block: of a flank, or of the surface, smooth from cell to cell."""
    nx, ny = grid.shape
    if field_height(p[0], p[1], grid, half) - p[2] > 1e-7:
        middle, tall = 0.5 * (base + p[2]), 0.5 * (p[2] - base)
        if p[2] - base < 1e-7:
            return (0.0, 0.0, -1.0)
        return box_normal((p[0], p[1], p[2] - middle), (half[0], half[1], 10 * tall + 1.0))
    i, j, u, v = field_cell(p[0], p[1], half, nx, ny)
    step_x, step_y = 2 * half[0] / (nx - 1), 2 * half[1] / (ny - 1)
    sx, sy = 0.0, 0.0
    for di in range(2):
        for dj in range(2):
            weight = (u if di else 1 - u) * (v if dj else 1 - v)
            gx, gy = _slope(grid, i + di, j + dj, step_x, step_y)
            sx, sy = sx + weight * gx, sy + weight * gy
    return unit((-sx, -sy, 1.0))
