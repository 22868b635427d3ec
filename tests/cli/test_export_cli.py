"""`foreseen export` from the words to the files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import foreseen.runs
from foreseen.cli import main
from foreseen.core.observation import Observation
from foreseen.scenes.files import moving, ply, read_splats
from foreseen.scenes.gaussians import Gaussians
from foreseen.scenes.moving_gaussians import MovingGaussians, gather_motion
from random_gaussians import random_gaussians
from sliding_square import DT, STEPS, PretendRun, make_dataset


class GaussianRun(PretendRun):
    """A run whose scene is Gaussians, of which the first three rise by one a unit of time."""

    def forecast(self, observation: Observation | None = None) -> Any:
        return self

    def scene(self, time: float) -> Gaussians:
        rest = random_gaussians(20, 1, extras=1)
        means = rest.means.clone()
        means[:3, 2] += time
        return replace(rest, means=means)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GaussianRun:
    run = GaussianRun(tmp_path / "run", make_dataset(tmp_path / "data"))
    run.path.mkdir()
    monkeypatch.setattr(foreseen.runs, "load_run", lambda folder, checkpoint=None, device="cpu": run)
    return run


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit, match="2"):
        main(["export", *map(str, words)])
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("foreseen: error: ")
    return error[0]


def export(source: Path, format: str, out: Path, *more: str) -> Any:
    main(["export", str(source), "--format", format, "--out", str(out), *more])
    return read_splats(out).scene if out.is_file() else None


def test_a_run_at_one_time(run: GaussianRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for format in ("ply", "splat", "spz"):
        out = tmp_path / "new" / f"late.{format}"
        found = export(run.path, format, out, "--times", "7:7:1")
        torch.testing.assert_close(found.means, run.scene(7).means, rtol=0, atol=1e-4)
        said = capsys.readouterr()
        assert f"wrote {out}" in said.out
        assert ("does not hold 1 extra channels" in said.err) == (format != "ply")
        assert ("does not hold the background's colour" in said.err) == (format != "ply")
        assert ("the view's direction" in said.err) == (format == "splat")
    assert b"comment time 7 s\n" in (tmp_path / "new/late.ply").read_bytes()


def test_a_run_as_a_sequence_of_files(run: GaussianRun, tmp_path: Path) -> None:
    out = tmp_path / "frames"
    export(run.path, "ply-sequence", out, "--times", "0:2:3")
    assert sorted(p.name for p in out.iterdir()) == ["frame_0001.ply", "frame_0002.ply", "frame_0003.ply"]
    for i in range(3):
        scene = read_splats(out / f"frame_{i + 1:04d}.ply").scene
        assert isinstance(scene, Gaussians) and torch.equal(scene.means, run.scene(i).means)


def test_a_run_in_four_dimensions(run: GaussianRun, tmp_path: Path) -> None:
    found = export(run.path, "4d", tmp_path / "a.safetensors")
    assert isinstance(found, MovingGaussians) and found.time_unit == "s"
    assert found.times.tolist() == pytest.approx([k * DT for k in range(STEPS)])  # as filmed
    assert list(found.tracks) == ["means"] and found.tracks["means"].index.tolist() == [0, 1, 2]
    for time in found.times.tolist():
        assert torch.equal(found.at(time).means, run.scene(time).means)


def test_between_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rest = random_gaussians(30, 2)
    (tmp_path / "a.ply").write_bytes(ply.encode(rest))
    first = export(tmp_path / "a.ply", "spz", tmp_path / "b.spz")
    second = export(tmp_path / "b.spz", "ply", tmp_path / "c.ply")
    assert torch.equal(first.means, second.means) and torch.equal(first.harmonics, second.harmonics)
    later = replace(rest, opacities=rest.opacities / 2)
    (tmp_path / "d.safetensors").write_bytes(moving.encode(gather_motion([(0.0, rest), (4.0, later)])))
    middle = export(tmp_path / "d.safetensors", "ply", tmp_path / "e.ply", "--times", "2:2:1")
    torch.testing.assert_close(middle.opacities, 0.75 * rest.opacities)
    export(tmp_path / "d.safetensors", "ply-sequence", tmp_path / "f")
    assert len(list((tmp_path / "f").iterdir())) == 2
    capsys.readouterr()
    assert "holds one time, not 2: give --times T:T:1" in refused(
        capsys, tmp_path / "d.safetensors", "--format", "spz", "--out", tmp_path / "g.spz"
    )


def test_what_stands_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.ply").write_bytes(ply.encode(random_gaussians(30)))
    out = tmp_path / "b.ply"
    out.write_text("mine")
    words = (tmp_path / "a.ply", "--format", "ply", "--out", out)
    assert f"--out {out} exists: give another name, or --overwrite to replace it." in refused(capsys, *words)
    assert out.read_text() == "mine"
    main(["export", *map(str, words), "--overwrite"])
    assert isinstance(read_splats(out).scene, Gaussians)
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "note").touch()
    (tmp_path / "d.safetensors").write_bytes(moving.encode(gather_motion([(0.0, random_gaussians(2))])))
    assert "full exists and is not an empty folder: give another --out or remove it first." in refused(
        capsys, tmp_path / "d.safetensors", "--format", "ply-sequence", "--out", folder, "--overwrite"
    )
    assert [p.name for p in folder.iterdir()] == ["note"]


@pytest.mark.parametrize(("format", "out"), [("ply-sequence", "frames"), ("4d", "a.safetensors"), ("ply", "a.ply")])
def test_nothing_is_left_of_what_fails(
    run: GaussianRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    format: str, out: str,
) -> None:  # fmt: skip
    """A scene that is broken at the last time."""
    good = run.scene

    def scene(time: float) -> Gaussians:
        gaussians = good(time)
        if time >= 2:
            gaussians.scales[4, 1] = float("nan")
        return gaussians

    monkeypatch.setattr(run, "scene", scene)
    target = tmp_path / "new" / out
    times = "2:2:1" if format == "ply" else "0:2:3"
    line = refused(capsys, run.path, "--format", format, "--out", target, "--times", times)
    assert f"{run.path}" in line and "cannot be exported: the scales of Gaussians are to be finite" in line
    assert ("at time 2 cannot" in line) == (format != "4d")
    assert not target.exists() and not list((tmp_path / "new").glob("*") if (tmp_path / "new").exists() else [])


def test_a_run_without_gaussians(run: GaussianRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from foreseen.scenes import VoxelScene

    run.scene = lambda time: object.__new__(VoxelScene)  # type: ignore[method-assign, assignment, return-value]
    line = refused(capsys, run.path, "--format", "ply", "--out", tmp_path / "a.ply", "--times", "0:0:1")
    assert "has no Gaussians: 'rigid-ode' makes a VoxelScene, which splat files cannot hold" in line
    assert not (tmp_path / "a.ply").exists()


@pytest.mark.parametrize(("words", "line"), [
    (["--format", "ply", "--out", "a.spz"], "--out a.spz: the name of a 'ply' file ends in .ply."),
    (["--format", "4d", "--out", "a.ply"], "the name of a '4d' file ends in .safetensors."),
    (["--format", "ply", "--out", "data.ply"], "data.ply is a folder: give the name of a file."),
    (["--format", "ply", "--out", "a.ply", "--times", "0:1:2"], "holds Gaussians at one time: leave --times out."),
    (["--format", "4d", "--out", "a.safetensors"], "holds Gaussians at one time: give --format ply, splat or spz."),
    (["--format", "ply", "--out", "a.ply", "--checkpoint", "3"], "given.ply is no run's folder: leave --sequence,"),
    (["--format", "ksplat", "--out", "a.ply"], "--format"),
    (["--format", "ply"], "--out is missing."),
])  # fmt: skip
def test_words_that_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("given.ply").write_bytes(ply.encode(random_gaussians(3)))
    Path("data.ply").mkdir()
    assert line in refused(capsys, "given.ply", *words)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.ply", "given.ply"]


def test_a_source_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, tmp_path / "rum", "--format", "ply", "--out", tmp_path / "a.ply")
    assert "rum does not exist: give a run's folder or a file of Gaussians." in line


def test_times_of_runs_that_do_not_fit(run: GaussianRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (run.path, "--format", "4d", "--out", tmp_path / "a.safetensors", "--times")
    assert "the times of a 4d file ascend" in refused(capsys, *words, "1:0:4")
    assert "write START:END:COUNT" in refused(capsys, *words, "1:0")
    words = (run.path, "--format", "ply", "--out", tmp_path / "a.ply")
    assert f"a 'ply' file holds one time, not {STEPS}" in refused(capsys, *words)
    words = (run.path, "--format", "ply-sequence", "--out", tmp_path / "b.ply")
    assert "a PLY sequence is a folder; give a name without '.ply'" in refused(capsys, *words)


def test_notes_on_the_source_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.ply"
    gaussians = random_gaussians(3, 0)
    gaussians.quaternions[1] = torch.tensor([1.0, 0, 0, 0])
    content = ply.encode(gaussians)
    at = content.index(b"end_header\n") + 11 + (3 + 3 + 3 + 1 + 3 + 4) * 4 * 2 - 16
    path.write_bytes(content[:at] + bytes(16) + content[at + 16 :])  # the second quaternion is 0
    export(path, "spz", tmp_path / "b.spz")
    assert f"foreseen: warning: {path}: 1 Gaussians have a quaternion of length 0" in capsys.readouterr().err
