"""The layout of the arrays that the ray caster's kernels read: columns of tables, and the light.

P solids are one table `[P, WIDTH]`, filled by `foreseen.simulate.packing`: passing a tuple of arrays from function to
function would cost more than the arithmetic.
"""

from __future__ import annotations

from typing import NamedTuple

SPHERE, BOX, CAPSULE, PLANE, FIELD = range(5)

# Columns of the table. SIZE holds (radius), (half x, y, z), (radius, half length), nothing, or (half x, half
# y, base, top), by kind. BOUND is the radius about POSITION that holds the solid. OFFSET, NX, NY say where
# a field lies in `heights`. Rotations are rows of a 3x3 matrix from the solid to the world; AFTER is the pose at the
# next frame.
KIND, INSTANCE, CASTS, BOUND, CHECK, OFFSET, NX, NY = range(8)
SIZE, COLOR, SECOND, POSITION, ROTATION, POSITION_AFTER, ROTATION_AFTER, WIDTH = 8, 12, 15, 18, 21, 30, 33, 42

# Columns of `rays`: distance along the ray (`MISS`: nothing is hit), point, normal, linear colour, sRGB without the
# moving bodies, direct light before shadows, ambient light, share of the direct light that static solids cover.
DISTANCE, POINT, NORMAL, ALBEDO, SHOWN, SUN, GLOW, COVERED, DEPTHS = 0, 1, 4, 7, 10, 13, 14, 15, 16

# Columns of `static_pixels`: colour and the share of rays that hit, then a ball around the points that they hit (radius
# -1: none).
CENTRE, REACH, CALM = 4, 7, 8

# A camera is 16 numbers: camera to world `[3, 4]` row by row (OpenCV axes), then fx, fy, cx, cy in pixels.
FX, FY, CX, CY = 12, 13, 14, 15


class LightParameters(NamedTuple):
    """One distant light: unit direction to it, its strength, its angular radius [rad], and ambient light from sky and
    ground."""

    x: float
    y: float
    z: float
    sun: float
    radius: float
    sky: float
    ground: float
