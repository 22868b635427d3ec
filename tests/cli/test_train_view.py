"""`foreseen train --view`: a training that somebody looks at ends as any other, whatever happens to the viewer."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from foreseen.cli import main
from foreseen.cli.view import PORT
from foreseen.cli.viewer_process import ViewerProcess
from foreseen.runs import Run, load_run
from foreseen.runs.checkpoints import list_checkpoints
from foreseen.viewer.checkpoint_watcher import CheckpointWatcher

pytest.importorskip("viser", reason="viser comes with the extra [view]")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("watched") / "pendulum")
    main(["simulate", "pendulum", "--out", folder, "--frames", "4", "--cameras", "1", "--size", "16", "--samples", "1"])
    return folder


def train(data: str, run: Path, *more: str) -> list[str]:
    return ["train", "d-nerf", "--data", data, "--out", str(run), "--device", "cpu", "--rays", "64", *more]


def test_ctrl_c_ends_the_training_and_its_viewer(data: str, tmp_path: Path) -> None:
    words = train(
        data, tmp_path / "run", "--max-minutes", "10", "--save-every-steps", "5", "--view", "--view-port", "8180"
    )
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen([sys.executable, "-m", "foreseen", *words], **options) as process:  # type: ignore[call-overload]
        assert process.stdout is not None
        address = None
        while address is None:
            address = re.fullmatch(r"open (http://127\.0\.0\.1:81[89]\d)\n", process.stdout.readline())
        with urllib.request.urlopen(address[1]) as page:
            assert b"<html" in page.read()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes
        _, errors = process.communicate()
    assert process.returncode == 130 and "stopped by SIGINT after step" in errors and "Traceback" not in errors
    assert list_checkpoints(tmp_path / "run")
    with pytest.raises(OSError):
        urllib.request.urlopen(address[1])


def test_training_goes_on_without_a_viewer(data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    main(train(data, run, "--max-steps", "1"))
    with ViewerProcess(run, PORT, "203.0.113.7") as watching:  # an address of nobody's
        said, end = "", time.monotonic() + 300
        while "goes on without it" not in said and time.monotonic() < end:
            time.sleep(0.1)
            said += capfd.readouterr().out
        watching.wait_until_closed()  # there is nothing to stay for
    assert "the viewer: --host 203.0.113.7" in said and "Training goes on without it." in said


def test_a_run_is_followed(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    main(train(data, run, "--max-steps", "1"))
    first = load_run(run)
    dataset = first.dataset()
    assert first.newer() is None
    main(train(data, run, "--max-steps", "2"))
    newer = first.newer()
    assert newer is not None and newer.step == 2 and newer.newer() is None
    assert newer.dataset() is dataset  # its pictures are not read again
    following = CheckpointWatcher([first])
    with following:
        end = time.monotonic() + 300
        while following.runs[0].step != 2:
            assert time.monotonic() < end
            time.sleep(0.05)
    (run / "checkpoints").rename(run / "gone")
    assert first.newer() is None


def test_a_run_is_followed_whatever_its_folder_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("foreseen.viewer.checkpoint_watcher.POLL_SECONDS", 0.001)
    requested = []

    def newer() -> Run | None:
        requested.append(1)
        if len(requested) < 4:
            raise KeyError("cloud.means")
        return None

    with CheckpointWatcher([SimpleNamespace(newer=newer, path=Path("run"))]):  # type: ignore[list-item]
        end = time.monotonic() + 300
        while len(requested) < 5:
            assert time.monotonic() < end
            time.sleep(0.001)
    assert capsys.readouterr().err == "foreseen: warning: run keeps its last checkpoint (KeyError: 'cloud.means')\n"


def test_a_port_that_is_none_is_refused(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(train(data, tmp_path / "run", "--view", "--view-port", "65536"))
    assert "--view-port 65536: give a whole number from 0 to 65535." in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_one_checkpoint_or_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["view", "run", "--follow", "--checkpoint", "5"])
    assert "give one of the two" in capsys.readouterr().err
