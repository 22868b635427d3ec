"""Packages of others add methods, readers and scenarios."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foreseen.plugins import Registry

PLUGIN = Path(__file__).parents[1] / "examples" / "plugin"

Run = Callable[..., tuple[list[str], str]]
END = "\x1e"
IN_ONE_PROCESS = f"""
import json, sys
from foreseen.cli import main
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as end:  # --help
        if end.code:
            raise
    finally:
        print({END!r})
"""


@pytest.fixture(scope="module")
def foreseen(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The command line, with the example plugin installed beside foreseen: several lines in one process, which imports
    what they need once. Returns what each line printed, and all errors; the last line may fail, with `code`."""
    pytest.importorskip("hatchling", reason="hatchling comes with the extra [dev]")
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(PLUGIN)], check=True, capture_output=True)
    path = os.pathsep.join([str(target), *filter(None, [os.environ.get("PYTHONPATH")])])

    def run(*lines: Sequence[object], code: int = 0) -> tuple[list[str], str]:
        words = json.dumps([[str(word) for word in line] for line in lines])
        command = [sys.executable, "-c", IN_ONE_PROCESS, words]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout.split(END)[:-1], done.stderr

    return run


def test_a_plugins_scenario_is_simulated_and_its_method_learns_it(foreseen: Run, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    (methods, _, help, *_), _ = foreseen(
        ["methods"],
        ["simulate", "spring", "--out", data, "--frames", 12, "--cameras", 2, "--size", 24],
        ["train", "static-grid", "--help"],
        ["train", "static-grid", "--data", data, "--out", out, "--max-steps", 30, "--resolution", 8, "--device", "cpu"],
    )
    foreseen(  # in another process, in which nothing has loaded the plugin before
        ["evaluate", out, "--max-frames", 4],
        ["render", out, "--path", "fixed", "--times", "0:0.5:3", "--out", tmp_path / "clip.mp4"],
    )
    assert "static-grid" in methods and "--resolution" in help
    assert (out / "metrics.json").is_file() and (tmp_path / "clip.mp4").is_file()


def test_a_plugins_reader_reads(foreseen: Run, tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    rows = []
    for i in range(6):
        angle = 0.5 * i
        Image.fromarray(np.full((16, 20, 3), 40 * i, np.uint8)).save(good / f"{i}.png")
        rows.append(
            {"file": f"{i}.png", "time": 0.1 * i, "focal": 20, "x": 2 * np.cos(angle), "y": 2 * np.sin(angle), "z": 1}
        )
    with (good / "views.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    shutil.copytree(good, bad)
    (bad / "views.csv").write_text((good / "views.csv").read_text().replace("0.1,", "soon,"))
    (report, *_), said = foreseen(["inspect", good, "--out", tmp_path], ["inspect", bad], code=2)
    assert "views-csv" in report
    assert "line 3: could not convert string to float: 'soon'" in said and said.count("\n") == 1


class Point:
    """An entry point as importlib.metadata gives it."""

    def __init__(self, name: str, value: object) -> None:
        self.name, self.value, self.module, self.dist, self.group = name, str(value), "elsewhere", None, "test"
        self._value = value

    def load(self) -> object:
        if isinstance(self._value, Exception):
            raise self._value
        return self._value


def test_what_cannot_be_used_is_left_out_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points = [Point("new", 3), Point("broken", ImportError("no module named x")), Point("own", 4), Point("new", 5)]
    monkeypatch.setattr("foreseen.plugins.entry_points", lambda group: points)
    registry: Registry[object] = Registry({"own": 1}, "test", lambda point: point.load())
    assert registry["own"] == 1 and capsys.readouterr().err == "", "own names need no plugins"
    assert dict(registry) == {"own": 1, "new": 3} and len(registry) == 2 and "broken" not in registry
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and all("elsewhere" in line for line in said)
    assert "cannot be used (test 'broken'): ImportError: no module named x" in said[0]
    assert "'own' as test, which is taken" in "".join(said)
    with pytest.raises(KeyError):
        registry["broken"]
    registry["more"] = 6
    assert list(registry) == ["own", "more", "new"]
    del registry["more"]
    assert capsys.readouterr().err == "", "each line is said once"
