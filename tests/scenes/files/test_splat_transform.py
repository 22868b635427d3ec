"""The same numbers as PlayCanvas' splat-transform, both ways. Where that is not installed these tests skip:
`npm install -g @playcanvas/splat-transform` puts it on the path."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from foreseen.scenes.files import ply, read_splats, splat, spz
from foreseen.scenes.gaussians import Gaussians
from random_gaussians import angle, random_gaussians

Convert = Callable[..., Path]


@pytest.fixture(scope="module")
def convert() -> Convert:
    """Converts a file into another, whose format its name says."""
    command = shutil.which("splat-transform")
    if command is None:
        pytest.skip("splat-transform is not on the path (npm install -g @playcanvas/splat-transform)")

    def run(source: Path, target: Path, *options: str) -> Path:
        done = subprocess.run(
            [command, "-q", "-w", str(source), str(target), *options], capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0 and target.is_file(), done.stderr + done.stdout
        return target

    return run


def load(path: Path) -> Gaussians:
    scene = read_splats(path).scene
    assert isinstance(scene, Gaussians)
    return scene


def assert_same(found: Gaussians, expected: Gaussians, *, rotated: float = 1e-3) -> None:
    """To rounding, the angle up to `rotated` [rad]."""
    assert torch.equal(found.means, expected.means)
    torch.testing.assert_close(found.scales, expected.scales, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.opacities, expected.opacities, rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(found.harmonics, expected.harmonics, rtol=1e-6, atol=1e-6)
    assert angle(found.quaternions, expected.quaternions) <= rotated


@pytest.mark.parametrize("name", ["biker.compressed.ply", "guitar.compressed.ply", "test.ply", "biker.spz"])
def test_files_of_others_read_alike(convert: Convert, shared_data: Path, tmp_path: Path, name: str) -> None:
    source = shared_data / "splats" / name
    assert_same(load(source), load(convert(source, tmp_path / "converted.ply")))


def test_a_splat_of_others_reads_alike(convert: Convert, shared_data: Path, tmp_path: Path) -> None:
    """splat-transform takes the bytes of a rotation for 255 steps; they are 256 (see `splat`)."""
    source = shared_data / "splats" / "model.splat"
    assert_same(load(source), load(convert(source, tmp_path / "converted.ply")), rotated=0.02)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_ply_of_ours(convert: Convert, tmp_path: Path, degree: int) -> None:
    given = random_gaussians(200, degree)
    (tmp_path / "ours.ply").write_bytes(ply.encode(given))
    found = load(convert(tmp_path / "ours.ply", tmp_path / "theirs.ply"))
    assert found.harmonics.shape == given.harmonics.shape
    assert torch.equal(found.quaternions, given.quaternions)
    assert_same(found, load(tmp_path / "ours.ply"))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_an_spz_of_ours(convert: Convert, tmp_path: Path, degree: int) -> None:
    (tmp_path / "ours.spz").write_bytes(spz.encode(random_gaussians(200, degree, antialiased=True)))
    assert_same(load(tmp_path / "ours.spz"), load(convert(tmp_path / "ours.spz", tmp_path / "theirs.ply")))


def test_a_splat_of_ours(convert: Convert, tmp_path: Path) -> None:
    (tmp_path / "ours.splat").write_bytes(splat.encode(random_gaussians(200, 0)))
    found = load(convert(tmp_path / "ours.splat", tmp_path / "theirs.ply"))
    assert_same(load(tmp_path / "ours.splat"), found, rotated=0.03)


@pytest.mark.parametrize("version", ["3", "4"])
def test_an_spz_of_theirs(convert: Convert, tmp_path: Path, version: str) -> None:
    """What both make of the same Gaussians: their numbers from their file, and ours from ours."""
    given = random_gaussians(200, 3)
    (tmp_path / "given.ply").write_bytes(ply.encode(given))
    (tmp_path / "ours.spz").write_bytes(spz.encode(given))
    theirs = load(convert(tmp_path / "given.ply", tmp_path / "theirs.spz", "--spz-version", version))
    ours = load(tmp_path / "ours.spz")
    torch.testing.assert_close(theirs.means, given.means, rtol=0, atol=2**-13 + 1e-6)
    torch.testing.assert_close(ours.scales, theirs.scales, rtol=1e-6, atol=0)
    torch.testing.assert_close(ours.opacities, theirs.opacities)
    torch.testing.assert_close(ours.harmonics, theirs.harmonics)
    assert angle(ours.quaternions, theirs.quaternions) < 0.003


@pytest.mark.parametrize("degree", [0, 3])
def test_a_compressed_ply_of_theirs(convert: Convert, tmp_path: Path, degree: int) -> None:
    given = random_gaussians(600, degree)
    (tmp_path / "given.ply").write_bytes(ply.encode(given))
    packed = convert(tmp_path / "given.ply", tmp_path / "theirs.compressed.ply")
    found, expected = load(packed), load(convert(packed, tmp_path / "unpacked.ply"))
    assert len(found.means) == 600 and found.harmonics.shape == given.harmonics.shape
    assert_same(found, expected)
