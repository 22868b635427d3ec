"""Files of a run's folder, read as untrusted input.

Nothing outside the folder is opened, JSON is checked field by field, and images are decoded and encoded again, so that
only pixels reach the page.
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
"""Upper bound of the size of a file that is read [bytes]; metrics of a thousand times have a hundredth of it."""
MAX_PICTURE_PIXELS = 24_000_000
"""Upper bound of the pixels of an image that is decoded."""
MAX_PICTURE_WIDTH = 1800
"""Upper bound of an image's width in the page [pixels]."""
MAX_TEXT_LENGTH = 300
"""Upper bound of a text that comes from a file [characters]."""


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
        raise UserError(f"{path} has more than {MAX_FILE_BYTES // 2**20} MB: remove it, and write it again.")
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
    """`value` as one printable line of limited length, without control characters (terminals, direction of writing).
    None is empty."""
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
                raise UserError(f"{path} has {found.width} x {found.height} pixels: remove it, and write it again.")
            picture = found.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise UserError(f"{path} is no PNG image: remove it, and write it again.") from None
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
