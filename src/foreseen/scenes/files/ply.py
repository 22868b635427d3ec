"""3D Gaussians in PLY files, as the authors of Gaussian splatting store them.

Of each Gaussian: x y z, nx ny nz (0), f_dc_0..2, f_rest_0.. (all of red, then green, then blue), opacity as a logit,
scale_0..2 as natural logarithms, rot_0..3 as a quaternion, real part first. Source: Kerbl et al. 2023 and the files of
its code. Further channels stand in extra_0.., which other programs pass over. "SplatRenderMode: mip" in a comment is
Brush's way to say that Gaussians are antialiased.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foreseen.errors import UserError, suggest
from foreseen.scenes.files.compressed_ply import is_compressed, unpack
from foreseen.scenes.files.ply_tables import PlyFile, column, count_numbered, matrix, read_ply, rest_of_harmonics
from foreseen.scenes.files.values import (
    BLACK,
    Array,
    GaussianArrays,
    SplatFile,
    logit,
    read_quaternions,
    read_scales,
    require_some,
    sigmoid,
    to_columns,
    to_gaussians,
)
from foreseen.scenes.gaussians import Gaussians

SUFFIX = ".ply"
MEANS = ("x", "y", "z")
NORMALS = ("nx", "ny", "nz")
COLORS = ("f_dc_0", "f_dc_1", "f_dc_2")
SCALES = ("scale_0", "scale_1", "scale_2")
QUATERNION = ("rot_0", "rot_1", "rot_2", "rot_3")
ANTIALIASED = "SplatRenderMode: mip"
BACKGROUND = "background"


def read(path: Path) -> SplatFile:
    """Reads a standard or a compressed file.

    Raises:
        UserError: no such PLY file, or numbers in it that cannot be; the message names file, field and mend.
    """
    ply = read_ply(path)
    notes: list[str] = []
    if is_compressed(ply):
        columns, words = unpack(ply, notes), "compressed PLY"
    else:
        columns, words = _columns(ply, notes), f"PLY, {ply.encoding}"
    gaussians = to_gaussians(columns, _background(ply), ANTIALIASED in ply.comments)
    return SplatFile(path, words, gaussians, tuple(notes))


def encode(gaussians: Gaussians, comments: Sequence[str] = ()) -> bytes:
    """The content of a binary little-endian file. Raises `UserError` for Gaussians that cannot be written."""
    columns = to_columns(gaussians)
    names, values = _fields(columns)
    remarks = [*comments, f"{BACKGROUND} " + " ".join(f"{c:.9g}" for c in gaussians.background)]
    if gaussians.antialiased:
        remarks.append(ANTIALIASED)
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {' '.join(remark.split())}" for remark in remarks),
        f"element vertex {columns.count}",
        *(f"property float {name}" for name in names),
        "end_header",
    ]
    return ("\n".join(header) + "\n").encode("ascii", "replace") + values.astype("<f4").tobytes()


def _fields(columns: GaussianArrays) -> tuple[list[str], Array]:
    """Names of the properties, and rows `[N, P]` of them."""
    rest = columns.harmonics[:, 1:].transpose(0, 2, 1).reshape(columns.count, -1)
    extras = np.zeros((columns.count, 0), np.float32) if columns.extras is None else columns.extras
    parts = [
        (MEANS, columns.means),
        (NORMALS, np.zeros((columns.count, 3), np.float32)),
        (COLORS, columns.harmonics[:, 0]),
        (_numbered("f_rest_", rest.shape[1]), rest),
        (("opacity",), logit(columns.opacities)[:, None]),
        (SCALES, np.log(columns.scales.astype(np.float64)).astype(np.float32)),
        (QUATERNION, columns.quaternions),
        (_numbered("extra_", extras.shape[1]), extras),
    ]
    return [name for names, _ in parts for name in names], np.concatenate([values for _, values in parts], axis=1)


def _numbered(stem: str, count: int) -> tuple[str, ...]:
    return tuple(f"{stem}{i}" for i in range(count))


def _columns(ply: PlyFile, notes: list[str]) -> GaussianArrays:
    vertex = ply.tables.get("vertex")
    if vertex is None:
        raise UserError(f"{ply.path} has no element 'vertex' with Gaussians: give a PLY file of Gaussian splats.")
    names = vertex.dtype.names or ()
    _require_names(ply.path, names)
    require_some(ply.path, len(vertex))
    path, count = ply.path, count_numbered(vertex, "extra_")
    constant = matrix(path, vertex, COLORS)[:, None]
    return GaussianArrays(
        means=matrix(path, vertex, MEANS),
        quaternions=read_quaternions(path, "rot_0..3", matrix(path, vertex, QUATERNION), notes),
        scales=read_scales(path, "scale_0..2", matrix(path, vertex, SCALES, allow_infinite=True), notes),
        opacities=sigmoid(column(path, vertex, "opacity", allow_infinite=True)),
        harmonics=np.concatenate([constant, rest_of_harmonics(path, vertex, notes)], axis=1),
        extras=matrix(path, vertex, _numbered("extra_", count)) if count else None,
    )


def _require_names(path: Path, names: Sequence[str]) -> None:
    missing = [name for name in (*MEANS, *COLORS, "opacity", *SCALES, *QUATERNION) if name not in names]
    if not missing:
        return
    if {"red", "green", "blue"} <= set(names) or len(missing) > 8:
        raise UserError(
            f"{path} holds points or a mesh, not Gaussians (no property '{missing[0]}'): "
            "give a PLY file of Gaussian splats."
        )
    others = [name for name in names if name not in (*MEANS, *COLORS, "opacity", *SCALES, *QUATERNION)]
    raise UserError(
        f"{path} has no property '{missing[0]}', which Gaussian splats have: {suggest(missing[0], others)} "
        "Export it as a standard 3D Gaussian splatting PLY."
    )


def _background(ply: PlyFile) -> tuple[float, float, float]:
    """What a comment of ours says; black where there is none."""
    for comment in ply.comments:
        words = comment.split()
        if len(words) == 4 and words[0] == BACKGROUND:
            try:
                red, green, blue = (float(word) for word in words[1:])
            except ValueError:
                continue
            if all(0 <= value <= 1 for value in (red, green, blue)):
                return red, green, blue
    return BLACK
