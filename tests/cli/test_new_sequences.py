"""Many sequences from the words to the files: train, evaluate what was never seen, and throw the bead from anywhere."""

import json
from pathlib import Path

import pytest

from foreseen.cli import main
from light_dynamics import LIGHT_FLAGS

SMALL = (
    "--max-steps",
    "40",
    "--rays",
    "512",
    "--samples",
    "16384",
    "--grid-resolution",
    "16",
    "--multi-sequence.widths",
    "48",
    "--part-levels",
    "6",
    "12",
    "--static-levels",
    "8",
    "16",
    *LIGHT_FLAGS,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bead on the hill: three learned sequences and one that is not, and a run."""
    folder = tmp_path_factory.mktemp("hill")
    data = str(folder / "data")
    main(["simulate", "bifurcating-hill", "--sequences", "4", "--frames", "30", "--size", "32", "--out", data])
    main(["train", "rigid-ode", "--data", data, "--out", str(folder / "run"), *SMALL])
    return folder


def test_unseen_sequences_are_scored(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", str(folder / "run"), "--splits", "unseen-sequence", "--max-frames", "10"])
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    assert metrics["protocol"]["sequences"] == ["sequence-003"]
    assert "true pose and velocity at the first time" in metrics["protocol"]["unseen"]
    assert metrics["splits"]["unseen-sequence"]["count"] == 10
    assert {"true-dynamics", "last-frame", "constant-velocity"} <= set(metrics["baselines"])
    assert "unseen-sequence" in capsys.readouterr().out
    assert (folder / "run" / "horizon.png").is_file()


def test_clips_of_new_sequences(folder: Path) -> None:
    run, out = str(folder / "run"), folder / "clips"
    subjects = {
        "a": ["--sequence", "sequence-003", "--channel", "side-by-side"],
        "b": ["--initial", "x=-0.3"],
        "c": ["--initial", "x=0.3,vx=0.1"],
    }
    for name, words in subjects.items():
        main(["render", run, *words, "--times", "0:1:3", "--out", str(out / name)])
    assert len(list(out.glob("?/frame-*.png"))) == 9
    left, right = ((out / name / "frame-00000.png").read_bytes() for name in "bc")
    assert left != right


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--sequence", "sequence-3"], "--sequence sequence-3: the data has no such sequence: did you mean 'sequence-"),
        (["--initial", "u=1"], '--initial: unknown name "u"'),
        (["--initial", "x=fast"], "--initial: x=fast: write NAME=NUMBER"),
        (["--initial", ""], "--initial: name a position, such as x=0.7"),
        (["--initial", "vx=1"], "initial conditions need a position: give some of x, y and z."),
        (["--initial", "x=0", "--sequence", "sequence-000"], "--sequence and --initial exclude each other"),
        (["--initial", "x=0", "--channel", "side-by-side"], "side-by-side needs a captured sequence"),
        (["--sequence", "sequence-003", "--context", "0"], "--context 0: give 1 or more."),
    ],
)
def test_bad_words(folder: Path, words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["render", str(folder / "run"), *words])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1


def test_a_run_of_one_sequence_takes_no_new_ones(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["simulate", "pendulum", "--frames", "10", "--size", "24", "--cameras", "2", "--out", str(tmp_path / "data")])
    small = ("--max-steps", "2", "--rays", "64", "--samples", "2048", "--plane-rays", "64", "--plane-samples", "2048",
             "--grid-resolution", "8", "--dynamics.widths", "8", "--dynamics.steps-per-interval", "2",
             "--dynamics.ensemble-size", "2", "--dynamics.initial-states.iterations", "2")  # fmt: skip
    main(["train", "rigid-ode", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), *small])
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["render", str(tmp_path / "run"), "--initial", "x=0"])
    assert "this run does not forecast from initial conditions" in capsys.readouterr().err
