"""`foreseen evaluate` from the words to the files."""

import json
from pathlib import Path

import pytest

import foreseen.runs
from foreseen.cli import main
from sliding_square import PretendRun, make_dataset


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretendRun:
    run = PretendRun(tmp_path / "run", make_dataset(tmp_path / "data"))
    run.path.mkdir()
    monkeypatch.setattr(foreseen.runs, "load_run", lambda folder, checkpoint=None, device="cpu": run)
    return run


def test_scores_and_prints_a_table(run: PretendRun, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", str(run.path), "--splits", "forecast", "--max-frames", "4"])
    metrics = json.loads((run.path / "metrics.json").read_text())
    assert list(metrics["splits"]) == ["forecast"] and metrics["splits"]["forecast"]["count"] == 4
    out = capsys.readouterr().out
    assert "mask IoU" in out and "metrics.json" in out


def test_baselines_can_be_left_out(run: PretendRun) -> None:
    main(["evaluate", str(run.path), "--no-baselines", "--max-time", "0.85"])
    metrics = json.loads((run.path / "metrics.json").read_text())
    assert metrics["baselines"] == {} and metrics["protocol"]["max_time"] == 0.85


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--splits", "forcast"], "no split 'forcast': did you mean 'forecast'?"),
        (["--max-frames", "0"], "--max-frames 0: give 1 or more."),
        (["--lpips-weights", "none.pt"], "none.pt: no such LPIPS weights file"),
        (["--max-frame", "3"], "has no option '--max-frame': did you mean '--max-frames'?"),
    ],
)
def test_errors_are_one_line(run: PretendRun, words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(run.path), *words])
    assert end.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("foreseen: error: ") and line in last
    assert not (run.path / "metrics.json").exists()


def test_a_folder_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(tmp_path / "nowhere")])
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert "nowhere holds no run" in err and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["evaluate", "analyze", "render"])
def test_help_explains_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert not end.value.code
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for option in text.split("options")[1].split(" --")[2:]:
        explained = option.partition("(default")[0].split()
        if explained[0].endswith(","):
            continue  # "--baselines, --no-baselines": the other form has the words
        assert len(explained) > 4, f"--{option} has no explanation"
