"""PlayCanvas' compressed PLY files: what the packed numbers mean, and files of others."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from foreseen.errors import UserError
from foreseen.scenes.files import read_splats
from foreseen.scenes.files.values import SH_0
from foreseen.scenes.gaussians import Gaussians

BOUNDS = ("x", "y", "z", "scale_x", "scale_y", "scale_z", "r", "g", "b")
LOW = (-1, -2, -3, -6, -5, -4, 0.0, 0.1, 0.2)
HIGH = (1, 2, 5, 0, -1, -2, 1.0, 0.9, 0.8)
ENDS = (2047 << 21) | (0 << 11) | 2047
"""x and z at the high end, y at the low one."""


def packed(path: Path, vertices: list[tuple[int, int, int, int]], chunks: int = 1, harmonics: int = 0) -> Path:
    """A file with the same bounds for each chunk."""
    header = ["ply", "format binary_little_endian 1.0", f"element chunk {chunks}"]
    for part in (BOUNDS[:3], BOUNDS[3:6], BOUNDS[6:]):
        header += [f"property float {end}_{name}" for end in ("min", "max") for name in part]
    header.append(f"element vertex {len(vertices)}")
    header += [f"property uint packed_{name}" for name in ("position", "rotation", "scale", "color")]
    if harmonics:
        header += [f"element sh {len(vertices)}", *(f"property uchar f_rest_{i}" for i in range(harmonics))]
    bounds = [*LOW[:3], *HIGH[:3], *LOW[3:6], *HIGH[3:6], *LOW[6:], *HIGH[6:]]
    body = struct.pack("<18f", *bounds) * chunks + b"".join(struct.pack("<4I", *row) for row in vertices)
    body += bytes(range(harmonics)) * len(vertices)
    path.write_bytes("\n".join([*header, "end_header", ""]).encode() + body)
    return path


def load(path: Path) -> Gaussians:
    scene = read_splats(path).scene
    assert isinstance(scene, Gaussians)
    return scene


def test_reads_what_the_packed_numbers_mean(tmp_path: Path) -> None:
    rotation = (2 << 30) | (1023 << 20) | (512 << 10) | 0  # the third part is the largest of (real, x, y, z)
    color = (255 << 24) | (0 << 16) | (51 << 8) | 102
    found = load(packed(tmp_path / "a.ply", [(ENDS, rotation, ENDS, color)]))
    assert found.means.tolist() == [[1, -2, 5]]
    torch.testing.assert_close(found.scales, torch.tensor([[0.0, -5, -2]]).exp())
    torch.testing.assert_close(0.5 + SH_0 * found.harmonics[0, 0], torch.tensor([1.0, 0.1, 0.2 + 0.2 * 0.6]))
    assert float(found.opacities) == pytest.approx(0.4)
    half = 2**0.5
    expected = [0.5 * half, (512 / 1023 - 0.5) * half, 0.0, -0.5 * half]
    assert found.quaternions[0].tolist() == pytest.approx(expected, abs=1e-3)


def test_bounds_go_with_256_gaussians_each(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.ply", [(ENDS, 0, 0, 0)] * 257, chunks=2)
    content = bytearray(path.read_bytes())
    at = content.index(b"end_header\n") + 11 + 72 + 12
    struct.pack_into("<3f", content, at, 100, 200, 300)  # the second chunk's high end
    path.write_bytes(content)
    means = load(path).means
    assert means[255].tolist() == [1, -2, 5] and means[256].tolist() == [100, -2, 300]


def test_harmonics_are_bytes_with_their_ends_kept(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.ply", [(0, 0, 0, 0)], harmonics=24)
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    found = load(path).harmonics[0]
    assert found.shape == (9, 3)
    assert found[1].tolist() == [-4, (8.5 / 256 - 0.5) * 8, (16.5 / 256 - 0.5) * 8]
    assert float(found[8, 2]) == 4


@pytest.mark.parametrize(("change", "line"), [
    (lambda b: b[:-1], "promises 300 rows of element 'vertex'"),
    (lambda b: b.replace(b"vertex 300", b"vertex 999999999"), "promises 999999999 rows"),
    (lambda b: b.replace(b"chunk 2", b"chunk 1"), "has bounds for 256 of its 300 Gaussians"),
    (lambda b: b.replace(b"uint packed_scale", b"uint packed_scabe"), "has no property 'uint packed_scale'"),
    (lambda b: b.replace(b"uint packed_color", b"float packed_color"), "has no property 'uint packed_color'"),
    (lambda b: b.replace(b"float max_z", b"float max_q"), "has no property 'max_z'"),
    (lambda b: b.replace(struct.pack("<f", -6), struct.pack("<f", float("nan"))), "'min_scale_x' of Gaussian 0 is nan"),
])  # fmt: skip
def test_damaged_files(tmp_path: Path, change: Callable[[bytes], bytes], line: str) -> None:
    path = packed(tmp_path / "bad.ply", [(ENDS, 0, 0, 0)] * 300, chunks=2)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=line) as caught:
        read_splats(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("name", "count", "coefficients"), [
    ("biker.compressed.ply", 152746, 1), ("guitar.compressed.ply", 90854, 1), ("test.ply", 64, 16),
])  # fmt: skip
def test_files_of_others(shared_data: Path, name: str, count: int, coefficients: int) -> None:
    found = load(shared_data / "splats" / name)
    assert found.means.shape == (count, 3) and found.harmonics.shape == (count, coefficients, 3)
    torch.testing.assert_close(found.quaternions.norm(dim=-1), torch.ones(count))
