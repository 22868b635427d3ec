"""`foreseen inspect` from the words to the report and the drawing."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foreseen.cli import main
from foreseen.geometry.paths import look_at


def write(path: Path, name: str = "") -> Path:
    """Six small pictures from around a point, in nerfstudio's form."""
    frames = []
    (path / "images").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    for i in range(6):
        angle = i * 0.4
        pose = look_at(np.array([3 * np.cos(angle), 3 * np.sin(angle), 1]), np.zeros(3), np.array([0, 0, 1.0]))
        pose[:, 1:3] *= -1
        Image.fromarray(noise).save(path / f"images/{i}.png")
        frames.append({"file_path": f"images/{i}.png", "transform_matrix": pose.tolist(), "time": i / 5, "fl_x": 40})
    block = {"foreseen": {"name": name}} if name else {}
    (path / "transforms.json").write_text(json.dumps({"frames": frames} | block))
    return path


def test_reports_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write(tmp_path / "ring"), tmp_path / "new" / "folder"
    main(["inspect", str(data), "--out", str(out), "--observe-until", "0.7"])
    told = capsys.readouterr().out
    for words in (
        "What is there",
        "6 frames in 1 sequence",
        "forecast",
        "Warnings",
        "near, far and bounds are not stated",
    ):
        assert words in told
    assert "inspect-ring.png" in told
    assert Image.open(out / "inspect-ring.png").size == (1500, 900)
    assert [p.name for p in out.iterdir()] == ["inspect-ring.png"]


def test_draws_into_the_folder_where_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write(tmp_path / "ring")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    main(["inspect", str(data), "--format", "nerfstudio"])
    assert (tmp_path / "here/inspect-ring.png").is_file()
    monkeypatch.chdir(data)
    with pytest.raises(SystemExit, match="2"):
        main(["inspect", str(data)])
    assert sorted(p.name for p in data.iterdir()) == ["images", "transforms.json"]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit, match="2"):
        main(["inspect", *words])
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    return error


def test_refuses_places_that_are_no_place_for_a_drawing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write(tmp_path / "ring")
    assert "into which nothing is written: give" in refused(capsys, str(data), "--out", str(data / "images"))
    (tmp_path / "file").touch()
    assert "is a file: give a folder" in refused(capsys, str(data), "--out", str(tmp_path / "file"))
    assert "does not exist" in refused(capsys, str(tmp_path / "nothing"))
    assert "unknown data format 'nerfstudi': did you mean 'nerfstudio'?" in refused(
        capsys, str(data), "--format", "nerfstudi"
    )
    assert "did you mean '--observe-until'?" in refused(capsys, str(data), "--observe-untill", "0.5")
    assert not list(tmp_path.glob("**/inspect-*"))


def test_a_name_from_the_file_cannot_lead_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write(tmp_path / "ring", name="../../[bold]away"), tmp_path / "out"
    main(["inspect", str(data), "--out", str(out)])
    assert [p.name for p in out.iterdir()] == ["inspect-..-..-bold-away.png"]
    assert "[bold]away" in capsys.readouterr().out
