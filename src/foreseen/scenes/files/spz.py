"""3D Gaussians in SPZ files: quantised to 20 bytes each and harmonics, and compressed.

Reads versions 2 and 3 (one gzip stream) and 4 (a zstd stream for each attribute); writes version 4. Source: description
and reference of the format in https://github.com/nianticlabs/spz (MIT).
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zstandard

from foreseen.errors import UserError
from foreseen.scenes.files.values import (
    BLACK,
    NO_DEGREE_4,
    Array,
    GaussianArrays,
    SplatFile,
    read_scales,
    require_some,
    to_bytes,
    to_columns,
    to_gaussians,
)
from foreseen.scenes.gaussians import DEGREES, Gaussians

SUFFIX = ".spz"
MAGIC = b"NGSP"
GZIP = b"\x1f\x8b"
HEADER = struct.Struct("<4sIIBBBB")
"""Magic, version, Gaussians, degree, fractional bits, flags; a reserved byte, in version 4 the number of streams."""

TABLE_AT = struct.Struct("<I12x")
"""Version 4 goes on with where the table of streams begins."""

START = HEADER.size + TABLE_AT.size
STREAM = struct.Struct("<QQ")
"""Compressed and full length of a stream."""

ANTIALIASED, EXTENDED = 1, 2
"""Flags."""

COORDINATES = 0xADBE0003
"""The extension that says which way the stored axes point."""

RATIO, SMALL_FILE_BYTES = 1024, 1 << 26
"""No real file is compressed further, save small ones; a header that promises more is refused."""

BLOCK = 1 << 20
"""Bytes that are decompressed at once: memory is taken for what comes out, not for what a header promises."""

MAX_INTEGER = 2**23 - 1
MAX_BITS = 20
"""Positions are whole numbers of 24 bits with the sign, of which at most so many are behind the point."""

COLOR = 0.15
"""Colours are stored as 0.5 + 0.15 f, f the constant harmonic, which holds colours a little outside 0..1."""

HARMONICS_STEP = (8, 16)
"""Of degree 1 and above: harmonics are rounded to so many 128ths, as the reference does, so that they compress."""


@dataclass(frozen=True)
class SpzHeader:
    """What a file says of itself, and the streams' lengths that follow from it."""

    version: int
    count: int
    degree: int
    bits: int
    flags: int
    streams: int

    @property
    def lengths(self) -> tuple[int, ...]:
        """Bytes of positions, opacities, colours, scales, rotations and harmonics."""
        rotation = 4 if self.version >= 3 else 3
        harmonics = 3 * ((self.degree + 1) ** 2 - 1)
        return tuple(size * self.count for size in (9, 1, 3, 3, rotation, harmonics))


def read(path: Path) -> SplatFile:
    """Reads a file.

    Raises:
        UserError: no SPZ file, another version, or one that is truncated or damaged.
    """
    content = path.read_bytes()
    if content.startswith(GZIP):
        header, streams, extensions = _read_gzip(path, content)
    elif content.startswith(MAGIC):
        header, streams, extensions = _read_zstd(path, content)
    else:
        raise UserError(f"{path} is no SPZ file (it begins neither as gzip nor with 'NGSP'): give it its own ending.")
    notes: list[str] = []
    signs = _signs(path, extensions if header.flags & EXTENDED else b"")
    columns = _unpack(path, header, streams, signs, notes)
    gaussians = to_gaussians(columns, BLACK, bool(header.flags & ANTIALIASED))
    return SplatFile(path, f"SPZ, version {header.version}", gaussians, tuple(notes))


def encode(gaussians: Gaussians) -> bytes:
    """The content of a file of version 4. Positions get as many of their 24 bits behind the point as fit.

    Raises:
        UserError: Gaussians that cannot be written, or further from the origin than the format reaches.
    """
    columns = to_columns(gaussians)
    reach = float(np.abs(columns.means).max())
    if reach > MAX_INTEGER:
        raise UserError(f"SPZ holds positions up to {MAX_INTEGER} scene units, not {reach:g}: scale the scene down.")
    bits = min(MAX_BITS, math.floor(math.log2(MAX_INTEGER / max(reach, 1.0))))
    degree = math.isqrt(columns.harmonics.shape[1]) - 1
    streams = [stream for stream in _pack(columns, bits) if stream]
    packer = zstandard.ZstdCompressor(level=12, write_checksum=True)
    packed = [packer.compress(stream) for stream in streams]
    flags = ANTIALIASED if gaussians.antialiased else 0
    header = HEADER.pack(MAGIC, 4, columns.count, degree, bits, flags, len(streams)) + TABLE_AT.pack(START)
    table = b"".join(STREAM.pack(len(short), len(full)) for short, full in zip(packed, streams))
    return b"".join([header, table, *packed])


def _header(path: Path, content: bytes, versions: tuple[int, ...], packed: int) -> SpzHeader:
    """`content` is the file's beginning, of which `packed` bytes are compressed."""
    if len(content) < HEADER.size:
        raise _damaged(path, "its header is cut off")
    magic, version, count, degree, bits, flags, streams = HEADER.unpack_from(content)
    if magic != MAGIC:
        raise UserError(f"{path} is no SPZ file (no 'NGSP' in its header): give it its own ending.")
    if version not in versions:
        raise UserError(f"{path} is SPZ version {version}; 2, 3 and 4 are read: convert it with a newer program.")
    header = SpzHeader(version, count, degree, bits, flags, streams)
    require_some(path, count)
    if degree > 4 or bits > 24:
        raise _damaged(path, f"its header names harmonics of degree {degree} and {bits} fractional bits")
    if sum(header.lengths) > max(packed * RATIO, SMALL_FILE_BYTES):
        raise _damaged(path, f"its header promises {count} Gaussians, too many for {packed} bytes")
    return header


def _read_gzip(path: Path, content: bytes) -> tuple[SpzHeader, list[bytes], bytes]:
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        start = unpacker.decompress(content, HEADER.size)
        header = _header(path, start, (2, 3), len(content))
        body = unpacker.decompress(unpacker.unconsumed_tail, sum(header.lengths))
        rest = unpacker.decompress(unpacker.unconsumed_tail, BLOCK)
    except zlib.error as error:
        raise _damaged(path, str(error)) from None
    if len(body) < sum(header.lengths) or not unpacker.eof:  # the checksum stands at the end
        raise _damaged(path, f"its header promises {header.count} Gaussians, but it does not end with them")
    ends = np.cumsum(header.lengths)
    return header, [body[end - length : end] for end, length in zip(ends, header.lengths)], rest


def _read_zstd(path: Path, content: bytes) -> tuple[SpzHeader, list[bytes], bytes]:
    header = _header(path, content, (4,), len(content))
    if len(content) < START:
        raise _damaged(path, "its header is cut off")
    (table,) = TABLE_AT.unpack_from(content, HEADER.size)
    present = [length for length in header.lengths if length]
    start = table + len(present) * STREAM.size
    if header.streams != len(present) or not table >= START or start > len(content):
        raise _damaged(path, "its table of streams does not fit its header")
    streams = []
    for i, length in enumerate(present):
        packed, full = STREAM.unpack_from(content, table + i * STREAM.size)
        if full != length or packed > len(content) - start:
            raise _damaged(path, f"stream {i} is cut off, or has another length than {length} bytes")
        streams.append(_decompress(path, i, content[start : start + packed], length))
        start += packed
    return header, streams + [b""] * (len(header.lengths) - len(present)), content[START:table]


def _decompress(path: Path, stream: int, packed: bytes, length: int) -> bytes:
    """`length` bytes, and no more memory than that whatever the stream's own header says."""
    unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    found = bytearray()
    try:
        with unpacker.stream_reader(packed) as reader:
            while len(found) <= length and (block := reader.read(min(BLOCK, length + 1 - len(found)))):
                found += block
    except zstandard.ZstdError as error:
        raise _damaged(path, f"stream {stream}: {error}") from None
    if len(found) != length:
        raise _damaged(path, f"stream {stream} has {'more' if len(found) > length else 'fewer'} than {length} bytes")
    return bytes(found)


def _damaged(path: Path, what: str) -> UserError:
    return UserError(f"{path} is a truncated or damaged SPZ file: {what}; copy or export it again.")


def _signs(path: Path, extensions: bytes) -> tuple[int, int, int]:
    """Which stored axes are turned round: stored are right, up, back unless an extension says otherwise, and PLY
    files, like scenes here, go right, down, front."""
    system = 4
    while len(extensions) >= 8:
        kind, length = struct.unpack_from("<II", extensions)
        if kind == COORDINATES and length == 4 and len(extensions) >= 12:
            (system,) = struct.unpack_from("<I", extensions, 8)
        extensions = extensions[8 + length :]
    if not 1 <= system <= 8:
        raise UserError(f"{path} stores its axes in the order number {system}; store it as right, up, back (RUB).")
    rotated = (system - 1) ^ 5  # bits of x, y, z: left or right, down or up, back or front; 5 is right, down, front
    return tuple(-1 if rotated >> axis & 1 else 1 for axis in range(3))  # type: ignore[return-value]


def _parities(signs: tuple[int, int, int], count: int) -> Array:
    """`[count]` signs of the harmonics above degree 0 where axes turn round: each is odd or even in x, y and z."""
    x, y, z = signs
    parities = [y, z, x, x * y, y * z, 1, x * z, 1, y, x * y * z, y, z, x, z, x]
    return np.array(parities[:count], np.float32)


def _unpack(
    path: Path, header: SpzHeader, streams: list[bytes], signs: tuple[int, int, int], notes: list[str]
) -> GaussianArrays:
    positions, opacities, colors, scales, rotations, harmonics = (np.frombuffer(s, np.uint8) for s in streams)
    parts = np.zeros((header.count, 3, 4), np.uint8)
    parts[..., 1:] = positions.reshape(-1, 3, 3)  # the lowest byte stays 0, the highest carries the sign
    fixed = parts.view("<i4")[..., 0] >> 8
    constant = (colors.reshape(-1, 1, 3) / 255 - 0.5) / COLOR
    kept = (min(header.degree, max(DEGREES)) + 1) ** 2 - 1
    if header.degree > max(DEGREES):
        notes.append(NO_DEGREE_4)
    rest = (harmonics.reshape(header.count, -1, 3)[:, :kept].astype(np.float32) - 128) / 128
    rest *= _parities(signs, kept)[:, None]
    unpack = _smallest_three if header.version >= 3 else _first_three
    x, y, z = signs
    return GaussianArrays(
        means=(fixed / 2**header.bits * signs).astype(np.float32),
        quaternions=unpack(rotations) * np.array([1, y * z, x * z, x * y], np.float32),
        scales=read_scales(path, "scale", scales.reshape(-1, 3) / np.float32(16) - 10, notes),
        opacities=opacities.astype(np.float32) / 255,
        harmonics=np.concatenate([constant.astype(np.float32), rest], axis=1),
    )


def _smallest_three(packed: Array) -> Array:
    """Quaternions, real part first, of their three smaller parts (sign and 9 bits each) and which is the largest, all
    counted with the real part last."""
    words = packed.view("<u4")
    which = (words >> 30).astype(np.int64)
    quaternions = np.zeros((len(words), 4))
    left = words.copy()
    for i in (3, 2, 1, 0):
        stored = which != i
        part = (left & 511) / 511 * np.sqrt(0.5) * np.where(left & 512, -1, 1)
        quaternions[:, i] = np.where(stored, part, 0)
        left = np.where(stored, left >> 10, left)
    rest = 1 - np.square(quaternions).sum(-1)
    quaternions[np.arange(len(words)), which] = np.sqrt(np.maximum(rest, 0))
    return np.roll(quaternions, 1, axis=1).astype(np.float32)


def _first_three(packed: Array) -> Array:
    """Quaternions, real part first, of their other three parts."""
    parts = packed.reshape(-1, 3) / 127.5 - 1
    real = np.sqrt(np.maximum(0, 1 - np.square(parts).sum(-1, keepdims=True)))
    return np.concatenate([real, parts], axis=1).astype(np.float32)


def _pack(columns: GaussianArrays, bits: int) -> list[bytes]:
    """The streams, with axes right, up, back."""
    signs = (1, -1, -1)
    fixed = np.rint(columns.means.astype(np.float64) * signs * 2**bits).astype("<i4")
    harmonics = columns.harmonics[:, 1:] * _parities(signs, columns.harmonics.shape[1] - 1)[:, None]
    step = np.where(np.arange(harmonics.shape[1]) < 3, *HARMONICS_STEP)[:, None]
    whole = np.rint(harmonics * 128) + 128
    streams = [
        fixed[..., None].view(np.uint8)[..., :3],
        to_bytes(255 * columns.opacities),
        to_bytes(255 * (0.5 + COLOR * columns.harmonics[:, 0])),
        to_bytes(16 * (np.log(columns.scales.astype(np.float64)) + 10)),
        _pack_quaternions(columns.quaternions * np.array([1, 1, -1, -1], np.float32)),
        to_bytes((whole + step // 2) // step * step),
    ]
    return [stream.tobytes() for stream in streams]


def _pack_quaternions(quaternions: Array) -> Array:
    """`[N]` words of 4 bytes (see `_smallest_three`)."""
    q = np.roll(quaternions.astype(np.float64), -1, axis=1)
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    which = np.abs(q).argmax(1)
    q *= np.where(np.take_along_axis(q, which[:, None], 1) < 0, -1, 1)
    words = which.astype("<u4")
    for i in range(4):
        part = np.floor(511 * np.abs(q[:, i]) / np.sqrt(0.5) + 0.5).astype("<u4")
        word = (words << 10) | np.where(q[:, i] < 0, 512, 0).astype("<u4") | part
        words = np.where(which == i, words, word)
    return words
