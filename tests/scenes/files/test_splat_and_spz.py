"""Quantised files: .splat and SPZ, against what their descriptions say, and within their steps."""

import gzip
import math
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from foreseen.errors import UserError
from foreseen.scenes.files import read_splats, splat, spz
from foreseen.scenes.files.values import SH_0
from foreseen.scenes.gaussians import Gaussians
from random_gaussians import angle, random_gaussians


def load(path: Path) -> Gaussians:
    scene = read_splats(path).scene
    assert isinstance(scene, Gaussians)
    return scene


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# .splat: 32 bytes each


def test_splat_reads_what_the_format_says(tmp_path: Path) -> None:
    row = struct.pack("<6f8B", 1, 2, 3, 0.1, 0.2, 0.3, 255, 0, 51, 204, 128, 0, 128, 128)
    found = load(write(tmp_path / "a.splat", row))
    assert found.means.tolist() == [[1, 2, 3]] and found.scales.tolist() == [pytest.approx([0.1, 0.2, 0.3])]
    assert float(found.opacities) == pytest.approx(0.8) and found.quaternions.tolist() == [[0, -1, 0, 0]]
    torch.testing.assert_close(0.5 + SH_0 * found.harmonics[0, 0], torch.tensor([1.0, 0.0, 0.2]))


@given(seed=st.integers(0, 10_000), count=st.integers(1, 40))
def test_splat_round_trip(tmp_path_factory: pytest.TempPathFactory, seed: int, count: int) -> None:
    given = random_gaussians(count, 1, seed)
    path = write(tmp_path_factory.mktemp("splat") / "a.splat", splat.encode(given))
    assert path.stat().st_size == 32 * count
    found = load(path)
    assert torch.equal(found.means, given.means) and torch.equal(found.scales, given.scales)
    assert float((found.opacities - given.opacities).abs().max()) <= 0.5 / 255 + 1e-6
    color = (0.5 + SH_0 * given.harmonics[:, 0]).clamp(0, 1)
    assert float((0.5 + SH_0 * found.harmonics[:, 0] - color).abs().max()) <= 0.5 / 255 + 1e-6
    assert angle(found.quaternions, given.quaternions) < 2 * 2.5 / 128  # four parts, half a step each, one cut at 127
    again = load(write(path, splat.encode(found)))
    for name in ("means", "scales", "opacities", "harmonics"):
        assert torch.equal(getattr(again, name), getattr(found, name)), name


GOOD_ROW = struct.pack("<6f8B", 0, 0, 0, 1, 1, 1, 9, 9, 9, 9, 255, 128, 128, 128)


@pytest.mark.parametrize(("content", "line"), [
    (GOOD_ROW[:-1], "has 31 bytes, no multiple of 32"),
    (b"", "holds no Gaussians"),
    (GOOD_ROW + struct.pack("<f", math.nan) + GOOD_ROW[4:], "position of Gaussian 1 is nan"),
    (GOOD_ROW[:12] + struct.pack("<f", math.inf) + GOOD_ROW[16:], "scale of Gaussian 0 is inf"),
    (GOOD_ROW[:12] + struct.pack("<f", -1) + GOOD_ROW[16:], "a scale of Gaussian 0 is -1, below 0"),
])  # fmt: skip
def test_splat_that_cannot_be(tmp_path: Path, content: bytes, line: str) -> None:
    with pytest.raises(UserError, match=line):
        read_splats(write(tmp_path / "bad.splat", content))


def test_a_splat_of_others(shared_data: Path) -> None:
    found = load(shared_data / "splats" / "model.splat")
    assert len(found.means) == 22764
    lengths = found.quaternions.norm(dim=-1)
    assert float(lengths.min()) > 0.98 and float(lengths.max()) < 1.02  # 128 q + 128, rounded: not 255 steps


# SPZ


def streams(content: bytes) -> list[bytes]:
    """Those of a file of version 4, found by its description."""
    (table,) = struct.unpack_from("<I", content, 16)
    start, found = table + 16 * content[15], []
    for i in range(content[15]):
        packed, full = struct.unpack_from("<QQ", content, table + 16 * i)
        found.append(zstandard.ZstdDecompressor().decompress(content[start : start + packed], full))
        start += packed
    assert start == len(content)
    return found


def older(content: bytes, version: int, body: list[bytes] | None = None, tail: bytes = b"", flags: int = 0) -> bytes:
    """A file of version 2 or 3 with the numbers of one of version 4."""
    header = content[:4] + struct.pack("<I", version) + content[8:14] + bytes([content[14] | flags, 0])
    return gzip.compress(header + b"".join(body or streams(content)) + tail)


def one(degree: int = 1, **changed: list[int]) -> list[bytes]:
    """The streams of one Gaussian."""
    parts = {
        "position": [0, 16, 0, 0, 240, 255, 1, 0, 0],  # with 12 bits: 1, -1 and 1/4096
        "opacity": [51],
        "color": [255, 0, 128],
        "scale": [160, 144, 96],  # logarithms 0, -1, -4
        "rotation": [0, 0, 0, 0xC0],  # the real part is the largest; the others are 0
        "harmonics": list(range(100, 100 + 3 * ((degree + 1) ** 2 - 1))),
    }
    return [bytes(part) for part in (parts | changed).values() if part]


def file4(body: list[bytes], degree: int = 1, extension: bytes = b"", flags: int = 0, count: int = 1) -> bytes:
    packed = [zstandard.ZstdCompressor().compress(part) for part in body]
    head = struct.pack("<4sIIBBBBI12x", b"NGSP", 4, count, degree, 12, flags, len(body), 32 + len(extension))
    table = b"".join(struct.pack("<QQ", len(p), len(b)) for p, b in zip(packed, body))
    return head + extension + table + b"".join(packed)


def test_spz_reads_what_the_format_says(tmp_path: Path) -> None:
    """Right, up, back as stored; right, down, front as read: y and z change signs."""
    for content in (file4(one()), older(file4(one()), 3)):
        found = load(write(tmp_path / "a.spz", content))
        assert found.means.tolist() == [[1, 1, -1 / 4096]]
        torch.testing.assert_close(found.scales, torch.tensor([[0.0, -1, -4]]).exp())
        assert float(found.opacities) == pytest.approx(0.2) and found.quaternions.tolist() == [[1, 0, 0, 0]]
        torch.testing.assert_close(found.harmonics[0, 0], (torch.tensor([255.0, 0, 128]) / 255 - 0.5) / 0.15)
        stored = (torch.arange(100.0, 109).view(3, 3) - 128) / 128  # for each of y, z, x: red, green, blue
        torch.testing.assert_close(found.harmonics[0, 1:], stored * torch.tensor([[-1.0], [-1], [1]]))
    body = one(rotation=[0, 255, 128])  # version 2: x, y, z of a unit quaternion in bytes
    found = load(write(tmp_path / "a.spz", older(file4(one()), 2, body)))
    assert found.quaternions[0].tolist() == pytest.approx([0, -1, -1, -0.0039], abs=1e-3)


def test_the_smallest_three(tmp_path: Path) -> None:
    """x is the largest; y = 511/511 of its half, z negative, w small: in that order, the last one lowest."""
    word = (0 << 30) | (300 << 20) | ((512 | 100) << 10) | 7
    found = load(write(tmp_path / "a.spz", file4(one(rotation=list(struct.pack("<I", word))))))
    y, z, w = (math.sqrt(0.5) * part / 511 for part in (300, -100, 7))
    x = math.sqrt(1 - y * y - z * z - w * w)
    assert found.quaternions[0].tolist() == pytest.approx([w, x, -y, -z])


def test_axes_turn_round_with_the_look(tmp_path: Path) -> None:
    """A reader that flips axes sees the same colours from the same places: odd and even harmonics."""
    directions = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    x, y, z = directions.unbind(-1)
    odd = [y, z, x, x * y, y * z, z * z, x * z, x * x - y * y, y**3, x * y * z, y * z * z, z**3, x * z * z,
           z * (x * x - y * y), x**3]  # fmt: skip
    for signs in ((1, -1, -1), (-1, 1, 1), (-1, -1, 1)):
        fx, fy, fz = (s * d for s, d in zip(signs, (x, y, z)))
        flipped = [fy, fz, fx, fx * fy, fy * fz, fz * fz, fx * fz, fx * fx - fy * fy, fy**3, fx * fy * fz, fy * fz * fz,
                   fz**3, fx * fz * fz, fz * (fx * fx - fy * fy), fx**3]  # fmt: skip
        for a, b, parity in zip(odd, flipped, spz._parities(signs, 15)):
            torch.testing.assert_close(b, float(parity) * a)


def test_axes_of_an_extension(tmp_path: Path) -> None:
    """The same, said to be right, down, front (6), is read as it stands; other records are passed over."""
    other = struct.pack("<II3s", 0xADBE0002, 3, b"abc")
    as_stored = other + struct.pack("<III", 0xADBE0003, 4, 6)
    for content in (file4(one(), extension=as_stored, flags=2), older(file4(one()), 3, tail=as_stored, flags=2)):
        assert load(write(tmp_path / "a.spz", content)).means.tolist() == [[1, -1, 1 / 4096]]
    rotated = struct.pack("<III", 0xADBE0003, 4, 12)
    with pytest.raises(UserError, match="axes in the order number 12; store it as right, up, back"):
        read_splats(write(tmp_path / "a.spz", file4(one(), extension=rotated, flags=2)))


@given(
    seed=st.integers(0, 10_000), count=st.integers(1, 40), degree=st.sampled_from([0, 1, 2, 3]),
    reach=st.sampled_from([0.01, 3.0, 5000.0]), antialiased=st.booleans(),
)  # fmt: skip
def test_spz_round_trip(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, degree: int, reach: float, antialiased: bool
) -> None:
    given = random_gaussians(count, degree, seed, antialiased=antialiased, reach=reach)
    path = write(tmp_path_factory.mktemp("spz") / "a.spz", spz.encode(given))
    found = load(path)
    maximum = max(float(given.means.abs().max()), 1.0)
    assert float((found.means - given.means).abs().max()) <= max(maximum * 2**-22, 2**-21)  # half a step of 24 bits
    assert float((found.scales / given.scales).log().abs().max()) <= 1 / 32 + 1e-5
    assert float((found.opacities - given.opacities).abs().max()) <= 0.5 / 255 + 1e-6
    assert angle(found.quaternions, given.quaternions) < 0.005
    constant = given.harmonics[:, 0].clamp(-0.5 / 0.15, 0.5 / 0.15)
    assert float((found.harmonics[:, 0] - constant).abs().max()) <= 0.5 / 255 / 0.15 + 1e-5
    if degree:
        ends = given.harmonics.clamp(-1, 127 / 128)
        assert float((found.harmonics[:, 1:4] - ends[:, 1:4]).abs().max()) <= 4.5 / 128 + 1e-6
        assert float((found.harmonics - ends)[:, 4:].abs().amax() if degree > 1 else 0) <= 8.5 / 128 + 1e-6
    assert found.antialiased == antialiased
    again = load(write(path, spz.encode(found)))
    for name in ("opacities", "harmonics", "scales"):
        torch.testing.assert_close(getattr(again, name), getattr(found, name), rtol=1e-6, atol=1e-6)


def test_degree_4_is_cut(tmp_path: Path) -> None:
    file = read_splats(write(tmp_path / "a.spz", file4(one(4), degree=4)))
    assert (
        isinstance(file.scene, Gaussians) and file.scene.harmonics.shape == (1, 16, 3) and "degree 4" in file.notes[0]
    )


def test_the_same_gaussian_a_hundred_thousand_times(tmp_path: Path) -> None:
    """Compressed so well that a limit on the ratio alone would take it for a lie."""
    single = random_gaussians(1, 3)
    many = Gaussians(
        *(getattr(single, n).repeat(100_000, *[1] * (getattr(single, n).ndim - 1)) for n in (
            "means", "quaternions", "scales", "opacities", "harmonics")), background=(0, 0, 0)
    )  # fmt: skip
    content = spz.encode(many)
    assert len(content) < 6_500_000 / 1024
    assert len(load(write(tmp_path / "a.spz", content)).means) == 100_000


def test_too_far_for_spz() -> None:
    gaussians = random_gaussians(2)
    gaussians.means[1, 2] = -1e7
    with pytest.raises(UserError, match=r"SPZ holds positions up to 8388607 scene units, not 1e\+07"):
        spz.encode(gaussians)


def lie(content: bytes, count: int) -> bytes:
    return content[:8] + struct.pack("<I", count) + content[12:]


@pytest.mark.parametrize(("change", "line"), [
    (lambda b: b[:20], "header is cut off"),
    (lambda b: b[:40], "table of streams does not fit"),
    (lambda b: b[:-1], "stream 5 is cut off"),
    (lambda b: b"PK" + b, "begins neither as gzip nor with 'NGSP'"),
    (lambda b: b[:4] + b"\x09" + b[5:], "is SPZ version 9; 2, 3 and 4 are read"),
    (lambda b: lie(b, 0), "holds no Gaussians"),
    (lambda b: lie(b, 4_000_000_000), "promises 4000000000 Gaussians, too many for"),
    (lambda b: lie(b, 60), "stream 0 is cut off, or has another length"),
    (lambda b: b[:12] + b"\x05" + b[13:], "harmonics of degree 5"),
    (lambda b: b[:12] + b"\x00" + b[13:], "table of streams does not fit"),
    (lambda b: b[:13] + b"\x30" + b[14:], "48 fractional bits"),
    (lambda b: b[:16] + b"\xff\xff\xff\x7f" + b[20:], "table of streams does not fit"),
    (lambda b: b[:-6] + b"abcdef", "stream 5"),
    (lambda b: older(b, 3)[:-9], "does not end with them"),
    (lambda b: older(b, 3)[:30], "promises|invalid|cut off"),
    (lambda b: older(lie(b, 60), 3, streams(b)), "promises 60 Gaussians, but it does not end with them"),
    (lambda b: older(lie(b, 4_000_000_000), 3, streams(b)), "promises 4000000000 Gaussians, too many"),
    (lambda b: older(b, 3)[:-6] + b"abcdef", "incorrect data check"),
    (lambda b: older(b, 1, streams(b)), "is SPZ version 1"),
    (lambda b: gzip.compress(b"hello, this is no splat"), "no 'NGSP' in its header"),
])  # fmt: skip
def test_damaged_spz(tmp_path: Path, change: Callable[[bytes], bytes], line: str) -> None:
    path = write(tmp_path / "bad.spz", change(spz.encode(random_gaussians(50, 2))))
    with pytest.raises(UserError, match=line) as caught:
        read_splats(path)
    assert str(path) in str(caught.value)


def test_a_stream_that_goes_on_is_not_followed(tmp_path: Path) -> None:
    """A gigabyte of zeros in a few bytes: no more is taken than the header's Gaussians need."""
    packer = zstandard.ZstdCompressor(level=3).compressobj()
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    body = one()
    content = bytearray(file4(body))
    at = 32 + 16 * len(body)
    first = struct.unpack_from("<Q", content, 32)[0]
    content[at : at + first] = bomb
    struct.pack_into("<Q", content, 32, len(bomb))
    with pytest.raises(UserError, match="stream 0 has more than 9 bytes"):
        read_splats(write(tmp_path / "bomb.spz", bytes(content)))


@given(at=st.integers(0, 900), data=st.binary(min_size=1, max_size=8))
def test_no_rubbish_is_more_than_a_user_error(tmp_path_factory: pytest.TempPathFactory, at: int, data: bytes) -> None:
    content = spz.encode(random_gaussians(20, 1))
    path = tmp_path_factory.mktemp("rubbish") / "a.spz"
    for good in (content, older(content, 3)):
        path.write_bytes(good[:at] + data + good[at + len(data) :])
        try:
            load(path)
        except UserError as error:
            assert str(path) in str(error)


def test_an_spz_of_others(shared_data: Path) -> None:
    found = load(shared_data / "splats" / "biker.spz")
    assert found.means.shape == (152746, 3) and found.harmonics.shape == (152746, 1, 3)
    compressed = load(shared_data / "splats" / "biker.compressed.ply")  # the same scene, in the same order or not
    torch.testing.assert_close(found.means.mean(0), compressed.means.mean(0), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.means.amin(0), compressed.means.amin(0), atol=1e-2, rtol=0)
