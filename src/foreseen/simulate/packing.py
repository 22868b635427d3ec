"""A stage at one time as the table that the ray caster's kernels read."""

from __future__ import annotations

import numpy as np

from foreseen.simulate import kernel_tables as k
from foreseen.simulate.scene import Box, Capsule, HeightField, Poses, Solid, Sphere, Stage


def pack(stage: Stage, now: Poses | None, after: Poses | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The table `[P, WIDTH]` of `foreseen.simulate.kernel_tables`, static solids first, and the heights of all fields
    one after another.

    Args:
        now: poses of the moving bodies; None leaves them out.
        after: their poses at the next frame, for the flow; None: the flow is 0.
    """
    origin = (np.eye(3), np.zeros(3))
    rows = [_row(solid, 0, origin, origin) for solid in stage.static]
    fields = [solid for solid in stage.static if isinstance(solid, HeightField)]
    if now is not None:
        then = after or now
        for b, body in enumerate(stage.bodies):
            poses = (now.rotations[b], now.positions[b]), (then.rotations[b], then.positions[b])
            rows += [_row(solid, b + 1, *poses) for solid in body.solids]
            fields += [solid for solid in body.solids if isinstance(solid, HeightField)]
    table = np.array(rows, np.float64).reshape(-1, k.WIDTH)
    _place_fields(table, fields)
    heights = [np.zeros(0), *(f.heights.astype(np.float64).ravel() for f in fields)]
    return table, np.concatenate(heights)


def _row(
    solid: Solid, instance: int, now: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    row = np.zeros(k.WIDTH)
    kind, size, bound = _shape(solid)
    row[k.KIND], row[k.INSTANCE], row[k.CASTS], row[k.BOUND] = kind, instance, solid.casts_shadow, bound
    row[k.SIZE : k.SIZE + len(size)] = size
    material = solid.material
    row[k.CHECK] = material.tile_size if material.second else 0.0
    row[k.COLOR : k.COLOR + 3], row[k.SECOND : k.SECOND + 3] = material.color, material.second or material.color
    for pose, position, rotation in (
        (now, k.POSITION, k.ROTATION),
        (after, k.POSITION_AFTER, k.ROTATION_AFTER),
    ):
        row[position : position + 3] = pose[0] @ np.array(solid.position, np.float64) + pose[1]
        row[rotation : rotation + 9] = (pose[0] @ solid.rotation).ravel()
    return row


def _shape(solid: Solid) -> tuple[int, tuple[float, ...], float]:
    """Kind, sizes and bounding radius."""
    if isinstance(solid, Sphere):
        return k.SPHERE, (solid.radius,), solid.radius
    if isinstance(solid, Box):
        return k.BOX, solid.half_extents, float(np.linalg.norm(solid.half_extents))
    if isinstance(solid, Capsule):
        return k.CAPSULE, (solid.radius, solid.half_length), solid.radius + solid.half_length
    if isinstance(solid, HeightField):
        # A little headroom: a flat top must not coincide with the bounding box's face.
        top = float(solid.heights.max()) + 1e-3
        bound = float(np.linalg.norm([*solid.half_extents, max(abs(solid.base), abs(top))]))
        return k.FIELD, (*solid.half_extents, solid.base, top), bound
    return k.PLANE, (), float("inf")


def _place_fields(table: np.ndarray, fields: list[HeightField]) -> None:
    """Where each field's heights begin, and its grid."""
    offset = 0
    for row, solid in zip(np.flatnonzero(table[:, k.KIND] == k.FIELD), fields):
        table[row, [k.OFFSET, k.NX, k.NY]] = offset, *solid.heights.shape
        offset += solid.heights.size
