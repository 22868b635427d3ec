"""What lies in a run's folder, read as something that a stranger may have written.

Nothing outside of the folder is opened, JSON is taken apart by what is expected of it, and pictures are decoded and
written anew, so that pixels alone come through.
"""

from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path
from typing import Any

from foreseen.errors import UserError

MAX_FILE_BYTES = 64 * 2**20
"""Bytes that are read of a file; metrics of a thousand times have a hundredth of it."""
MAX_PICTURE_PIXELS = 24_000_000
"""Pixels."""
MAX_PICTURE_WIDTH = 1800
"""Pixels across that a picture has in the page."""
MAX_TEXT_LENGTH = 300


def inside(folder: Path, name: str) -> Path | None:
    """The file of that name in `folder`, None where it is absent.

    Raises:
        UserError: it is a link that leads out of the folder (the page would carry what it leads to), or too large.
    """
    path = folder / name
    if not path.is_file():
        return None
    check_stays_inside(folder, path)
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UserError(f"{path} has more than {MAX_FILE_BYTES // 2**20} MB: remove it, and make it anew.")
    return path


def check_stays_inside(folder: Path, path: Path, whose: str = "run") -> None:
    """Raises `UserError` where a path in `folder`, of a `whose`, leads out of it by a link."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{path} leads out of the {whose}'s folder by a link: put the file itself there, or remove it.")


def read_object(path: Path, fix: str) -> dict[str, Any]:
    """The JSON object in a file; `fix` says how to get a good one. Raises `UserError` for anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not valid JSON: {fix}.") from None
    return mapping(found, str(path), fix)


def mapping(value: Any, where: str, fix: str) -> dict[str, Any]:
    """`value` as a JSON object. Raises `UserError` for anything else."""
    if not isinstance(value, dict):
        raise UserError(f"{where} is no JSON object: {fix}.")
    return value


def number(value: Any, where: str, fix: str) -> float:
    """`value` as a finite number. Raises `UserError` for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
        if math.isfinite(found):
            return found
    raise UserError(f"{where} is no finite number: {fix}.")


def text(value: Any) -> str:
    """What can be printed of `value`: one line, not too long, without characters that steer a terminal or turn the
    direction of writing. None is empty."""
    if value is None:
        return ""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    return line if len(line) <= MAX_TEXT_LENGTH else line[: MAX_TEXT_LENGTH - 1] + "…"


def picture_uri(path: Path) -> str:
    """A picture as a data URI: decoded and written anew as PNG, at most `MAX_PICTURE_WIDTH` across.

    Raises:
        UserError: no picture, or a huge one.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as found:
            if found.width * found.height > MAX_PICTURE_PIXELS:
                raise UserError(f"{path} has {found.width} x {found.height} pixels: remove it, and make it anew.")
            picture = found.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise UserError(f"{path} is no PNG picture: remove it, and make it anew.") from None
    if picture.width > MAX_PICTURE_WIDTH:
        picture = picture.resize(
            (MAX_PICTURE_WIDTH, max(round(picture.height * MAX_PICTURE_WIDTH / picture.width), 1)),
            Image.Resampling.LANCZOS,
        )
    # Plots have few colours: a palette is a third as large, and nobody sees it.
    buffer = io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    return data_uri("image/png", buffer.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """`content` of a MIME type as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
