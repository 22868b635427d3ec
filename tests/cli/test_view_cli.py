"""`foreseen view` from the words to the address, and what it refuses."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from foreseen.cli import main
from foreseen.cli.view import distinct

pytest.importorskip("viser", reason="viser comes with the extra [view]")

PLY = """ply
format ascii 1.0
element vertex 1
property float x
property float y
property float z
property float nx
property float ny
property float nz
property float f_dc_0
property float f_dc_1
property float f_dc_2
property float opacity
property float scale_0
property float scale_1
property float scale_2
property float rot_0
property float rot_1
property float rot_2
property float rot_3
end_header
0 0 0 0 0 0 0 0 0 0 -3 -3 -3 1 0 0 0
"""


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        main(["view", *words])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line.removeprefix("foreseen: error: ")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "give its folder"),
        (["nowhere"], "nowhere does not exist"),
        (["nowhere", "elsewhere"], "only runs can be shown side by side"),
        (["nowhere", "--port", "70000"], "--port 70000: give a whole number from 0 to 65535."),
    ],
)
def test_errors_are_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert line in refused(words, capsys)


def test_data_without_cameras_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "clip.npy", np.zeros((1, 2, 3, 4, 5), np.uint8))
    line = refused([str(tmp_path / "clip.npy")], capsys)
    assert line.endswith(
        "has pictures without camera poses, and the viewer shows cameras in space: use `foreseen inspect`."
    )


def test_runs_of_the_same_name_are_told_apart() -> None:
    assert distinct(["a", "b", "a", "a"]) == ["a", "b", "a (2)", "a (3)"]


def test_it_prints_the_real_port_and_ends_cleanly(tmp_path: Path) -> None:
    file = tmp_path / "one.ply"
    file.write_text(PLY)
    words = [sys.executable, "-m", "foreseen", "view", str(file), "--port"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen([*words, "18300"], **options) as process:  # type: ignore[call-overload]
        assert process.stdout is not None
        first = re.fullmatch(r"open (http://127\.0\.0\.1:(\d+)) \(Ctrl-C ends it\)\n", process.stdout.readline())
        assert first is not None
        with subprocess.Popen([*words, first.group(2)], **options) as other:  # type: ignore[call-overload]
            assert other.stdout is not None
            second = re.search(r"http://127\.0\.0\.1:(\d+)", other.stdout.readline())
            assert second is not None and second.group(1) != first.group(2)  # that port was taken
            other.send_signal(signal.SIGTERM)
            assert other.communicate()[0].endswith("ended.\n") and other.returncode == 0
        with urllib.request.urlopen(first.group(1)) as page:
            assert b"<html" in page.read()
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate()
    assert said == "ended.\n" and errors == "" and process.returncode == 0


def test_a_data_set_cannot_show_files_outside_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    data = tmp_path / "data"
    data.mkdir()
    frame = {"file_path": "../secret.png", "transform_matrix": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}
    (data / "transforms.json").write_text(json.dumps({"fl_x": 50, "w": 8, "h": 8, "frames": [frame]}))
    assert "lies outside the data set's folder" in refused([str(data)], capsys)


class Trap:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.mark,))


def test_weights_are_read_as_tensors_only(tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (weights,) = trained.glob("checkpoints/*/model.safetensors")
    weights.write_bytes(pickle.dumps(Trap(tmp_path / "mark")))
    refused([str(trained)], capsys)
    assert not (tmp_path / "mark").exists()
    splats = tmp_path / "cloud.safetensors"
    splats.write_bytes(pickle.dumps(Trap(tmp_path / "mark")))
    assert "no safetensors file" in refused([str(splats)], capsys)
    assert not (tmp_path / "mark").exists()


def test_a_run_of_code_instead_of_a_method_is_refused(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = trained / "config.json"
    plain = json.loads(config.read_text())
    config.write_text(json.dumps({**plain, "train": {**plain["train"], "method": "os:system"}}))
    assert "os:system" in refused([str(trained)], capsys)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step."""
    folder = tmp_path_factory.mktemp("learned")
    data, run = str(folder / "pendulum"), folder / "run"
    main(["simulate", "pendulum", "--out", data, "--frames", "4", "--cameras", "1", "--size", "16", "--samples", "1"])
    main(["train", "d-nerf", "--data", data, "--out", str(run), "--max-steps", "1", "--device", "cpu"])
    return run


@pytest.fixture
def trained(learned: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    return Path(shutil.copytree(learned, tmp_path / "run"))
