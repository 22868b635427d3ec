"""`foreseen demo`: a folder of its own, and stages that are done once."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from foreseen import __version__
from foreseen.cli import demo, main
from foreseen.dynamics.config import DynamicsConfig
from light_dynamics import LIGHT


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scene for which two steps of training take a moment."""
    settings = {**demo.QUICK_SIZE.overrides, "dynamics": DynamicsConfig(**LIGHT)}
    size = replace(demo.QUICK_SIZE, frames=12, cameras=2, pixels=16, scored=2, max_steps=2, overrides=settings)
    monkeypatch.setattr(demo, "QUICK_SIZE", size)


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(["demo", *words])
    assert left.value.code == 2
    return capsys.readouterr().err


def test_it_does_its_job_once(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "demo"
    main(["demo", "--out", str(out), "--quick"])
    said = capsys.readouterr()
    assert (out / "forecast.mp4").stat().st_size > 1000
    assert (out / "horizon.png").read_bytes() == (out / "run" / "horizon.png").read_bytes()
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["method"] == "rigid-ode" and metrics["step"] == 2
    assert {"last-frame", "constant-velocity"} <= set(metrics["baselines"])
    assert "rigid-ode" in said.out and "constant-velocity" in said.out and str(out / "forecast.mp4") in said.out
    assert [line[:3] for line in said.err.splitlines() if line[1:3] == "/4"] == ["1/4", "2/4", "3/4", "4/4"]

    times = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    main(["demo", "--out", str(out), "--quick"])
    assert capsys.readouterr().err.count("done before") == 3
    assert times == {path: path.stat().st_mtime_ns for path in times}

    (out / "forecast.mp4").unlink()  # stopped while the clip was made
    main(["demo", "--out", str(out), "--quick"])
    assert capsys.readouterr().err.count("done before") == 2
    assert (out / "forecast.mp4").stat().st_size > 1000

    # A longer training makes all that comes after it anew.
    monkeypatch.setattr(demo, "QUICK_SIZE", replace(demo.QUICK_SIZE, max_steps=3))
    before = (out / "forecast.mp4").stat().st_mtime_ns
    main(["demo", "--out", str(out), "--quick"])
    assert json.loads((out / "metrics.json").read_text())["step"] == 3
    assert (out / "forecast.mp4").stat().st_mtime_ns > before
    capsys.readouterr()

    assert error_of(capsys, "--out", str(out), "--quick", "--seed", "1") == (
        f"foreseen: error: {out} holds another demo (seed 0, not 1): give another --out.\n"
    )


def test_a_folder_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    assert error_of(capsys, "--out", str(tmp_path)) == (
        f"foreseen: error: {tmp_path} exists and is not a demo's folder: give another --out.\n"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]
    assert error_of(capsys, "--out", str(tmp_path / "letter.txt")) == (
        f"foreseen: error: {tmp_path / 'letter.txt'} exists and is not a demo's folder: give another --out.\n"
    )


@pytest.mark.parametrize("content", ["{", "[]", '{"version": "0"}'])
def test_a_damaged_mark(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "demo.json").write_text(content)
    assert error_of(capsys, "--out", str(tmp_path)) == (
        f"foreseen: error: {tmp_path / 'demo.json'} is damaged: give another --out, "
        f"or remove {tmp_path} and start again.\n"
    )


def test_a_demo_of_another_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "demo.json").write_text(json.dumps({"version": "0.0.1", "seed": 0, "quick": False}))
    assert f"another demo (version 0.0.1, not {__version__})" in error_of(capsys, "--out", str(tmp_path))


def test_minutes_must_make_sense(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--minutes 0: give a number above 0" in error_of(capsys, "--out", str(tmp_path / "x"), "--minutes", "0")
    assert not (tmp_path / "x").exists()
