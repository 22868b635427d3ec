"""Gaussians from and to files: one module a format, each with `read` and (save the compressed PLY) `encode`.

file = read_splats(Path("scene.ply"))
content = foreseen.scenes.files.spz.encode(file.scene)

Files keep the axes of PLY files, which are the scene's; a reader converts where its format has others.
"""

from __future__ import annotations

from pathlib import Path

from foreseen.errors import UserError
from foreseen.scenes.files import moving, ply, splat, spz
from foreseen.scenes.files.values import SplatFile

READERS = {module.SUFFIX: module.read for module in (ply, splat, spz, moving)}
"""By the file's ending."""

__all__ = ["READERS", "SplatFile", "read_splats"]


def read_splats(path: Path) -> SplatFile:
    """Reads a file of Gaussians, in the format that its ending names.

    Raises:
        UserError: no file, an unknown ending, or something wrong in it; the message names file, field and mend.
    """
    if not path.is_file():
        raise UserError(f"{path} is no file: give a file of Gaussians ({', '.join(READERS)}).")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path} does not end as a file of Gaussians does: known are {', '.join(READERS)}.")
    return reader(path)
