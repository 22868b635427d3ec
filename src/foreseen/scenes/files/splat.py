"""3D Gaussians in .splat files: 32 bytes each, without view-dependent colours.

x y z and three scales as float32; red, green, blue and opacity as bytes; the unit quaternion, real part first, as bytes
of 128 q + 128. Source: https://github.com/antimatter15/splat (convert.py and the viewer, which agree on that).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from foreseen.errors import UserError
from foreseen.scenes.files.values import (
    BLACK,
    GaussianArrays,
    SplatFile,
    as_color,
    from_color,
    lift_scales,
    read_quaternions,
    require_finite,
    require_some,
    to_bytes,
    to_columns,
    to_gaussians,
)
from foreseen.scenes.gaussians import Gaussians

SUFFIX = ".splat"
ROW = np.dtype([("means", "<f4", 3), ("scales", "<f4", 3), ("color", "u1", 4), ("quaternion", "u1", 4)])


def read(path: Path) -> SplatFile:
    """Reads a file.

    Raises:
        UserError: a length that is no multiple of 32, or numbers in it that cannot be.
    """
    size = path.stat().st_size
    if size % ROW.itemsize:
        raise UserError(
            f"{path} has {size} bytes, no multiple of {ROW.itemsize}: it is truncated or no .splat file; "
            "copy or export it again."
        )
    rows = np.fromfile(path, ROW)
    require_some(path, len(rows))
    notes: list[str] = []
    scales = require_finite(path, "scale", rows["scales"])
    if (scales < 0).any():
        row = int((scales < 0).any(-1).argmax())
        raise UserError(f"{path}: a scale of Gaussian {row} is {scales[row].min():g}, below 0: it is no .splat file.")
    quaternions = (rows["quaternion"].astype(np.float32) - 128) / 128
    columns = GaussianArrays(
        means=require_finite(path, "position", rows["means"]),
        quaternions=read_quaternions(path, "rotation", quaternions, notes),
        scales=lift_scales(scales, notes),
        opacities=rows["color"][:, 3].astype(np.float32) / 255,
        harmonics=from_color(rows["color"][:, :3] / 255),
    )
    return SplatFile(path, ".splat", to_gaussians(columns, BLACK), tuple(notes))


def encode(gaussians: Gaussians) -> bytes:
    """The content of a file: colours as seen without the view's direction, cut to 0..1. Raises `UserError` for
    Gaussians that cannot be written."""
    columns = to_columns(gaussians)
    rows = np.zeros(columns.count, ROW)
    rows["means"], rows["scales"] = columns.means, columns.scales
    rows["color"][:, :3] = to_bytes(255 * as_color(columns.harmonics))
    rows["color"][:, 3] = to_bytes(255 * columns.opacities)
    lengths = np.linalg.norm(columns.quaternions.astype(np.float64), axis=-1, keepdims=True)
    rows["quaternion"] = to_bytes(128 * columns.quaternions / lengths + 128)
    return rows.tobytes()
