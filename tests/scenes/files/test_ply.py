"""PLY files: what the format promises, exact round trips, and one clear line for what is wrong."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foreseen.errors import UserError
from foreseen.scenes.files import ply, read_splats
from foreseen.scenes.gaussians import Gaussians
from random_gaussians import random_gaussians

TENSORS = ("means", "quaternions", "scales", "opacities", "harmonics")
NAMES = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2", *ply.QUATERNION]
ROW = dict(zip(NAMES, [1, 2, 3, 0.1, 0.2, 0.3, 0, -1, -2, -3, 1, 0, 0, 0], strict=True))


def plain(
    path: Path, rows: list[dict[str, float]], *, kind: str = "binary_little_endian", count: int | None = None
) -> Path:
    """A file without the project's writer."""
    header = ["ply", f"format {kind} 1.0", f"element vertex {len(rows) if count is None else count}"]
    header += [*(f"property float {name}" for name in rows[0]), "end_header", ""]
    if kind == "ascii":
        body = "\n".join(" ".join(repr(float(v)) for v in row.values()) for row in rows).encode()
    else:
        order = "<" if "little" in kind else ">"
        body = b"".join(struct.pack(f"{order}{len(row)}f", *row.values()) for row in rows)
    path.write_bytes("\n".join(header).encode() + body)
    return path


def load(path: Path) -> Gaussians:
    scene = read_splats(path).scene
    assert isinstance(scene, Gaussians)
    return scene


def save(path: Path, gaussians: Gaussians) -> Gaussians:
    path.write_bytes(ply.encode(gaussians))
    return load(path)


@pytest.mark.parametrize("kind", ["binary_little_endian", "binary_big_endian", "ascii"])
def test_reads_what_the_format_says(tmp_path: Path, kind: str) -> None:
    rest = {f"f_rest_{i}": i / 100 for i in range(9)}
    found = load(plain(tmp_path / "a.ply", [ROW | rest, ROW | rest | {"x": -4}], kind=kind))
    torch.testing.assert_close(found.means, torch.tensor([[1.0, 2, 3], [-4, 2, 3]]))
    torch.testing.assert_close(found.scales[0], torch.tensor([-1.0, -2, -3]).exp())
    torch.testing.assert_close(found.opacities, torch.tensor([0.5, 0.5]))
    assert found.quaternions[0].tolist() == [1, 0, 0, 0]
    red = found.harmonics[0, :, 0]
    torch.testing.assert_close(red, torch.tensor([0.1, 0.0, 0.01, 0.02]))  # all of red, then green, then blue
    torch.testing.assert_close(found.harmonics[0, :, 2], torch.tensor([0.3, 0.06, 0.07, 0.08]))
    assert found.background == (0, 0, 0) and found.extras is None and not found.antialiased


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_what_is_written_is_read_back(tmp_path: Path, degree: int) -> None:
    given = random_gaussians(300, degree, extras=2, antialiased=True)
    found = save(tmp_path / "a.ply", given)
    for name in ("means", "quaternions", "harmonics", "extras"):
        assert torch.equal(getattr(found, name), getattr(given, name)), name
    torch.testing.assert_close(found.scales, given.scales, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.opacities, given.opacities, rtol=1e-6, atol=0)
    assert found.background == given.background and found.antialiased


floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(
    scale=st.floats(-80, 80, width=32), logit=st.floats(-100, 40, width=32), mean=floats,
    quaternion=st.floats(0.0009765625, 1e6, width=32), color=floats,
)  # fmt: skip
def test_what_was_read_is_written_and_read_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, scale: float, logit: float, mean: float, quaternion: float, color: float
) -> None:
    """Of scales and opacities a file holds logarithm and logit: they are exact once they come from a file."""
    folder = tmp_path_factory.mktemp("ply")
    row = ROW | {"scale_1": scale, "opacity": logit, "y": mean, "rot_3": quaternion, "f_dc_1": color}
    first = load(plain(folder / "a.ply", [row]))
    second = save(folder / "b.ply", first)
    for name in TENSORS:
        assert torch.equal(getattr(first, name), getattr(second, name)), name


def test_the_ends_of_opacity_and_flat_gaussians(tmp_path: Path) -> None:
    inf = float("inf")
    rows = [ROW | {"opacity": inf}, ROW | {"opacity": -inf, "scale_2": -inf}, ROW | {"rot_0": 0}]
    file = read_splats(plain(tmp_path / "a.ply", rows))
    found = file.scene
    assert isinstance(found, Gaussians)
    assert found.opacities.tolist()[:2] == [1, 0] and float(found.scales.min()) > 0
    assert found.quaternions[2].tolist() == [1, 0, 0, 0]
    assert [note.split(" (")[0] for note in file.notes] == [
        "1 Gaussians have a quaternion of length 0, read as no rotation",
        "1 Gaussians are flat",
    ]
    again = save(tmp_path / "b.ply", found)
    assert all(torch.equal(getattr(found, name), getattr(again, name)) for name in TENSORS)
    assert all(np.isfinite(column).all() for column in _table(tmp_path / "b.ply").tolist())  # others may not take inf


def test_degree_4_is_cut(tmp_path: Path) -> None:
    file = read_splats(plain(tmp_path / "a.ply", [ROW | {f"f_rest_{i}": i for i in range(72)}]))
    assert isinstance(file.scene, Gaussians) and file.scene.harmonics.shape == (1, 16, 3)
    assert file.scene.harmonics[0, 1].tolist() == [0, 24, 48] and "degree 4" in file.notes[0]


def without(*names: str) -> dict[str, float]:
    return {name: value for name, value in ROW.items() if name not in names}


@pytest.mark.parametrize(("row", "line"), [
    (ROW | {"z": float("nan")}, r"'z' of Gaussian 0 is nan \(1 such numbers\)"),
    (ROW | {"opacity": float("nan")}, "'opacity' of Gaussian 0 is nan"),
    (ROW | {"f_dc_2": float("inf")}, "'f_dc_2' of Gaussian 0 is inf"),
    (ROW | {"scale_0": 99}, "scale_0..2 of Gaussian 0 is 99, the logarithm of a scale that is too large"),
    (ROW | {"rot_1": 1e30}, "length of rot_0..3 of Gaussian 0 is inf"),
    (ROW | {"f_rest_0": 1}, "has 1 properties f_rest_.."),
    (ROW | {f"f_rest_{i}": 0 for i in range(1, 10)}, "has no property 'f_rest_0'"),
    (without("scale_2") | {"scale_3": 0}, "has no property 'scale_2', .* did you mean 'scale_3'"),
    (without(*NAMES[3:]) | {"nx": 0}, r"holds points or a mesh, not Gaussians \(no property 'f_dc_0'\)"),
])  # fmt: skip
def test_numbers_and_names_that_cannot_be(tmp_path: Path, row: dict[str, float], line: str) -> None:
    path = plain(tmp_path / "bad.ply", [row])
    with pytest.raises(UserError, match=line) as caught:
        read_splats(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("change", "line"), [
    (lambda b: b[:-1], "promises 2 rows of element 'vertex', but there are 1"),
    (lambda b: b[: b.index(b"end_header")], "has no 'end_header'"),
    (lambda b: b"PK" + b, "does not begin with 'ply'"),
    (lambda b: b"", "does not begin with 'ply'"),
    (lambda b: b.replace(b"vertex 2", b"vertex 999999999999"), "promises 999999999999 rows"),
    (lambda b: b.replace(b"vertex 2", b"vertex 99999999999999999999999"), "line 'element vertex 9999.* not understood"),
    (lambda b: b.replace(b"vertex 2", b"vertex -2"), "line 'element vertex -2' .* is not understood"),
    (lambda b: b.replace(b"vertex 2", b"vertex 0"), "holds no Gaussians"),
    (lambda b: b.replace(b"float z", b"float y"), "line 'property float y' .* is not understood"),
    (lambda b: b.replace(b"float z", b"quad z"), "line 'property quad z' .* is not understood"),
    (lambda b: b.replace(b"float z", b"list uchar int z"), "has no element 'vertex'"),
    (lambda b: b.replace(b"binary_little_endian", b"binary_middle"), "line 'format binary_middle 1.0'"),
    (lambda b: b.replace(b"element vertex", b"element points"), "has no element 'vertex'"),
])  # fmt: skip
def test_damaged_files(tmp_path: Path, change: Callable[[bytes], bytes], line: str) -> None:
    path = plain(tmp_path / "bad.ply", [ROW, ROW])
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=line) as caught:
        read_splats(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("change", "line"), [
    (lambda b: b.replace(b"vertex 2", b"vertex 3"), "promises 3 rows of element 'vertex', but there are 2"),
    (lambda b: b.replace(b"vertex 2", b"vertex 0"), "holds no Gaussians"),
    (lambda b: b.replace(b"vertex 2", b"vertex 99999999999"), "promises 99999999999 rows .* at most"),
    (lambda b: b.replace(b"0.1", b"one"), "rows of element 'vertex' are not understood"),
    (lambda b: b.replace(b" 0.1", b""), "rows of element 'vertex' are not understood"),
])  # fmt: skip
def test_damaged_text(tmp_path: Path, change: Callable[[bytes], bytes], line: str) -> None:
    path = plain(tmp_path / "bad.ply", [ROW, ROW], kind="ascii")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=line):
        read_splats(path)


@given(data=st.binary(max_size=400), cut=st.integers(0, 2000))
def test_no_rubbish_is_more_than_a_user_error(tmp_path_factory: pytest.TempPathFactory, data: bytes, cut: int) -> None:
    folder = tmp_path_factory.mktemp("rubbish")
    good = ply.encode(random_gaussians(3, 1))
    for content in (b"ply\n" + data, good[:cut] + data + good[cut + len(data) :]):
        path = folder / "a.ply"
        path.write_bytes(content)
        try:
            load(path)
        except UserError as error:
            assert str(path) in str(error)


def test_a_remark_stays_a_remark(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(ply.encode(random_gaussians(2, 0), ["time 1 \u00b5s\nelement vertex 9"]))
    assert len(load(path).means) == 2 and b"\ncomment time 1 ?s element vertex 9\n" in path.read_bytes()


@pytest.mark.parametrize(("name", "value", "line"), [
    ("means", float("nan"), r"the means of Gaussians are to be finite, but at \[1, 0\] is nan \(1 such\)"),
    ("scales", 0.0, "the scales of Gaussians are to be above 0"),
    ("opacities", 1.5, "the opacities of Gaussians are to be from 0 to 1"),
])  # fmt: skip
def test_bad_gaussians_are_not_written(name: str, value: float, line: str) -> None:
    gaussians = random_gaussians(3)
    getattr(gaussians, name)[1 if name == "opacities" else (1, 0)] = value
    with pytest.raises(UserError, match=line):
        ply.encode(gaussians)
    with pytest.raises(UserError, match="no Gaussians to write"):
        ply.encode(random_gaussians(0))


def test_a_trained_file(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "splats" / "small_sh3.ply"
    found = load(path)
    assert found.means.shape == (9080, 3) and found.harmonics.shape == (9080, 16, 3)
    again = save(tmp_path / "a.ply", found)
    assert all(torch.equal(getattr(found, name), getattr(again, name)) for name in TENSORS)
    before, after = (_table(p) for p in (path, tmp_path / "a.ply"))
    exact = [name for name in before.dtype.names or () if not name.startswith(("scale", "opacity"))]
    assert len(exact) == 58 and all(before[name].tobytes() == after[name].tobytes() for name in exact)


def _table(path: Path) -> np.ndarray:
    from foreseen.scenes.files.ply_tables import read_ply

    return read_ply(path).tables["vertex"]
