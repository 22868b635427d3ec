"""PLY files as tables: the header, each element's rows, and columns of them. Binary of either byte order, and text.

Source: Turk, The PLY Polygon File Format (1994).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from foreseen.errors import UserError
from foreseen.scenes.files.values import COEFFICIENTS, NO_DEGREE_4, Array, require_finite

HEADER_BYTES = 1 << 16
"""A header is looked for in so many first bytes."""

TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float": "f4", "double": "f8", "float32": "f4", "float64": "f8",
}  # fmt: skip
ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}

ABOVE = 24
"""Harmonics of one colour that files of degree 4 have besides the constant one."""


@dataclass
class PlyElement:
    """One table's description: `types` are NumPy's, by property; "" stands for a list."""

    name: str
    count: int
    types: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PlyFile:
    """A file's tables.

    Attributes:
        encoding: "binary_little_endian", "binary_big_endian" or "ascii".
        comments: the header's, without the word.
        tables: structured array by the element's name; elements from the first with a list on are left out.
    """

    path: Path
    encoding: str
    comments: tuple[str, ...]
    tables: dict[str, Array]


def read_ply(path: Path) -> PlyFile:
    """Reads a file.

    Raises:
        UserError: no PLY file, a header that cannot be understood, or fewer rows than the header promises.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    if not head.startswith((b"ply\n", b"ply\r")):
        raise UserError(f"{path} is no PLY file (it does not begin with 'ply'): give the file in its own format.")
    end = re.search(rb"\nend_header[ \t]*\r?\n", head)
    if end is None:
        raise UserError(f"{path} has no 'end_header' in its first {len(head)} bytes: it is truncated or no PLY file.")
    lines = head[: end.start()].decode("ascii", "replace").splitlines()[1:]
    encoding, comments, elements = _parse(path, lines)
    known: list[PlyElement] = []
    for element in elements:
        if "" in element.types.values():
            break  # rows of no fixed length: what follows cannot be found
        known.append(element)
    if encoding == "ascii":
        tables = _read_text(path, end.end(), size, known)
    else:
        tables = _read_binary(path, end.end(), size, known, ORDERS[encoding])
    return PlyFile(path, encoding, tuple(comments), tables)


def _parse(path: Path, lines: list[str]) -> tuple[str, list[str], list[PlyElement]]:
    encoding, comments, elements = "", [], list[PlyElement]()
    for line in lines:
        words = line.split()
        match words:
            case ["comment" | "obj_info", *_]:
                comments.append(line.split(maxsplit=1)[1].strip() if len(words) > 1 else "")
            case ["format", kind, "1.0"] if kind in ORDERS:
                encoding = kind
            case ["element", name, count] if re.fullmatch(r"\d{1,18}", count, re.ASCII):
                elements.append(PlyElement(name, int(count)))
            case ["property", "list", _, _, name] if elements:
                elements[-1].types[name] = ""
            case ["property", kind, name] if elements and kind in TYPES and name not in elements[-1].types:
                elements[-1].types[name] = TYPES[kind]
            case []:
                pass
            case _:
                raise UserError(f"{path}: line '{line[:80]}' of the PLY header is not understood: export it again.")
    if not encoding:
        raise UserError(f"{path}: the PLY header names no format ({', '.join(ORDERS)}): export it again.")
    if len({element.name for element in elements}) < len(elements):
        raise UserError(f"{path}: the PLY header names an element twice: export it again.")
    return encoding, comments, elements


def _read_binary(path: Path, start: int, size: int, elements: list[PlyElement], order: str) -> dict[str, Array]:
    tables = {}
    for element in elements:
        dtype = np.dtype([(name, order + kind) for name, kind in element.types.items()])
        room = (size - start) // dtype.itemsize if dtype.itemsize else element.count
        if element.count > room:
            raise _truncated(path, element, room)
        if dtype.itemsize:
            tables[element.name] = np.fromfile(path, dtype, element.count, offset=start)
        start += element.count * dtype.itemsize
    return tables


def _read_text(path: Path, start: int, size: int, elements: list[PlyElement]) -> dict[str, Array]:
    tables = {}
    with path.open("rb") as file:
        file.seek(start)
        lines = (line.decode("ascii", "replace") for line in file if line.strip())
        for element in elements:
            if not element.types:
                continue
            room = (size - start + 1) // (2 * len(element.types))  # a number and what parts it take two bytes
            if element.count > room:
                raise _truncated(path, element, room, "at most ")
            dtype = np.dtype(list(element.types.items()))
            try:
                with warnings.catch_warnings(action="ignore"):  # that there are no rows is said below
                    table = np.loadtxt(lines, dtype, comments=None, max_rows=element.count, ndmin=1)
            except (ValueError, OverflowError) as error:
                raise UserError(f"{path}: rows of element '{element.name}' are not understood ({error}).") from None
            if len(table) < element.count:
                raise _truncated(path, element, len(table))
            tables[element.name] = table
    return tables


def _truncated(path: Path, element: PlyElement, found: int, about: str = "") -> UserError:
    return UserError(
        f"{path}: the header promises {element.count} rows of element '{element.name}', but there are {about}{found}: "
        "the file is truncated; copy or export it again."
    )


def column(path: Path, table: Array, name: str, *, allow_infinite: bool = False) -> Array:
    """One property `[N]` as float32. Infinite logarithms (of 0) and logits (of 0 and 1) have a meaning.

    Raises:
        UserError: no such property, or a number that is not finite.
    """
    if name not in (table.dtype.names or ()):
        raise UserError(f"{path} has no property '{name}': export it as a standard 3D Gaussian splatting PLY.")
    with np.errstate(over="ignore"):
        values = table[name].astype(np.float32)
    require_finite(path, f"'{name}'", np.where(np.isinf(values), 0, values) if allow_infinite else values)
    return values


def matrix(path: Path, table: Array, names: Sequence[str], *, allow_infinite: bool = False) -> Array:
    """Properties side by side, `[N, P]`."""
    return np.stack([column(path, table, name, allow_infinite=allow_infinite) for name in names], axis=1)


def count_numbered(table: Array, stem: str) -> int:
    """How many properties are called by the stem and a number."""
    return sum(bool(re.fullmatch(rf"{stem}\d+", name)) for name in table.dtype.names or ())


def rest_of_harmonics(path: Path, table: Array, notes: list[str]) -> Array:
    """`[N, K - 1, 3]` as f_rest_0.. hold them: all of red, then green, then blue; what is above degree 3 is left out.

    Raises:
        UserError: a number of properties that belongs to no degree, or one that is not finite.
    """
    count = count_numbered(table, "f_rest_")
    each = count // 3
    if count % 3 or (each + 1 not in COEFFICIENTS and each != ABOVE):
        raise UserError(
            f"{path} has {count} properties f_rest_..; spherical harmonics of degree 0 to 3 have 0, 9, 24 or 45: "
            "export it with all of them."
        )
    kept = min(each, max(COEFFICIENTS) - 1)
    if kept < each:
        notes.append(NO_DEGREE_4)
    if not kept:
        return np.zeros((len(table), 0, 3), np.float32)
    names = [f"f_rest_{color * each + k}" for k in range(kept) for color in range(3)]
    return matrix(path, table, names).reshape(len(table), kept, 3)
