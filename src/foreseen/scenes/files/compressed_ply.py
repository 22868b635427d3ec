"""PLY files as PlayCanvas' SuperSplat compresses them: quantised within the bounds of 256 Gaussians each.

Source: https://developer.playcanvas.com/user-manual/gaussian-splatting/formats/ply/ and what `splat-transform` makes
of such files.
"""

from __future__ import annotations

import numpy as np

from foreseen.errors import UserError
from foreseen.scenes.files.ply_tables import PlyFile, matrix, rest_of_harmonics
from foreseen.scenes.files.values import Array, GaussianArrays, from_color, read_scales, require_some

PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
CHUNK = 256
"""Gaussians that share bounds."""

HARMONICS_RANGE = 8.0
"""Harmonics above degree 0 are stored from half of this below 0 to half of this above."""


def is_compressed(ply: PlyFile) -> bool:
    """Whether it is such a file."""
    vertex = ply.tables.get("vertex")
    return "chunk" in ply.tables and vertex is not None and PACKED[0] in (vertex.dtype.names or ())


def unpack(ply: PlyFile, notes: list[str]) -> GaussianArrays:
    """Its Gaussians. Raises `UserError` for tables that do not fit one another or miss a property."""
    path, vertex, chunks = ply.path, ply.tables["vertex"], ply.tables["chunk"]
    count = len(vertex)
    require_some(path, count)
    if len(chunks) * CHUNK < count:
        raise UserError(
            f"{path} has bounds for {len(chunks) * CHUNK} of its {count} Gaussians (element 'chunk'): "
            "it is damaged; export it again."
        )
    position, rotation, scale, color = (_packed(ply, name) for name in PACKED)
    chunk = np.arange(count) // CHUNK
    colors = np.stack([_share(color, shift, 8) for shift in (24, 16, 8)], axis=1)
    if "min_r" in (chunks.dtype.names or ()):
        colors = _within(ply, chunk, colors, "{}_r {}_g {}_b")
    logarithms = _within(ply, chunk, _thirds(scale), "{}_scale_x {}_scale_y {}_scale_z")
    return GaussianArrays(
        means=_within(ply, chunk, _thirds(position), "{}_x {}_y {}_z").astype(np.float32),
        quaternions=_quaternions(rotation),
        scales=read_scales(path, "packed_scale", logarithms.astype(np.float32), notes),
        opacities=_share(color, 0, 8).astype(np.float32),
        harmonics=np.concatenate([from_color(colors), _rest(ply, notes)], axis=1),
    )


def _packed(ply: PlyFile, name: str) -> Array:
    vertex = ply.tables["vertex"]
    if name not in (vertex.dtype.names or ()) or vertex.dtype[name].kind != "u" or vertex.dtype[name].itemsize != 4:
        raise UserError(f"{ply.path} has no property 'uint {name}', which compressed splats have: export it again.")
    return vertex[name].astype(np.uint32)


def _share(packed: Array, shift: int, bits: int) -> Array:
    """A field of the packed numbers, from 0 to 1."""
    maximum = (1 << bits) - 1
    return ((packed >> shift) & maximum) / maximum


def _thirds(packed: Array) -> Array:
    """Three numbers `[N, 3]` in 11, 10 and 11 bits, from 0 to 1."""
    return np.stack([_share(packed, 21, 11), _share(packed, 11, 10), _share(packed, 0, 11)], axis=1)


def _within(ply: PlyFile, chunk: Array, shares: Array, names: str) -> Array:
    """Shares `[N, 3]` of the way from the bounds' low to their high end."""
    low, high = (
        matrix(ply.path, ply.tables["chunk"], names.replace("{}", end).split()).astype(np.float64)[chunk]
        for end in ("min", "max")
    )
    return low * (1 - shares) + high * shares


def _quaternions(packed: Array) -> Array:
    """Unit quaternions of their three smaller parts: 2 bits for which is the largest, 10 for each of the others."""
    small = np.stack([_share(packed, shift, 10) for shift in (20, 10, 0)], axis=1)
    small = (small - 0.5) * np.sqrt(2)
    largest = np.sqrt(np.maximum(0, 1 - np.square(small).sum(-1)))
    which = (packed >> 30).astype(np.int64)
    rows, parts = np.arange(len(packed)), np.arange(3)
    quaternions = np.empty((len(packed), 4))
    quaternions[rows[:, None], parts + (parts >= which[:, None])] = small
    quaternions[rows, which] = largest
    return quaternions.astype(np.float32)


def _rest(ply: PlyFile, notes: list[str]) -> Array:
    """Harmonics above degree 0, `[N, K - 1, 3]`: bytes, of which the first and the last are the ends of the range."""
    count, table = len(ply.tables["vertex"]), ply.tables.get("sh")
    if table is None:
        return np.zeros((count, 0, 3), np.float32)
    if len(table) != count:
        raise UserError(f"{ply.path} has {len(table)} rows of element 'sh' for {count} Gaussians: export it again.")
    stored = rest_of_harmonics(ply.path, table, notes)
    shares = np.where(stored <= 0, 0, np.where(stored >= 255, 1, (stored + 0.5) / 256))
    return ((shares - 0.5) * HARMONICS_RANGE).astype(np.float32)
