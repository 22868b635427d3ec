"""A pendulum and a ball in one data set, from the words to the files: one run that tells them apart."""

import json
from pathlib import Path

import pytest

from foreseen.cli import main
from light_dynamics import LIGHT_FLAGS

SMALL = (
    "--max-steps",
    "4",
    "--rays",
    "256",
    "--samples",
    "8192",
    "--grid-resolution",
    "16",
    "--multi-sequence.widths",
    "48",
    "--part-levels",
    "4",
    "8",
    "--static-levels",
    "4",
    "8",
    *LIGHT_FLAGS,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three learned sequences of each kind, and one of each that is not learned."""
    folder = tmp_path_factory.mktemp("both")
    data, run = str(folder / "data"), folder / "run"
    size = ("--sequences", "8", "--unseen", "2", "--frames", "24", "--cameras", "2", "--size", "40")
    main(["simulate", "pendulum-and-ball", *size, "--out", data])
    main(["train", "rigid-ode", "--data", data, "--out", str(run), *SMALL])
    return run


def test_unseen_sequences_of_both_kinds_are_scored(run: Path) -> None:
    main(["evaluate", str(run), "--splits", "unseen-sequence", "--max-frames", "4", "--no-baselines"])
    found = json.loads((run / "metrics.json").read_text())["splits"]["unseen-sequence"]
    assert {name: own["count"] for name, own in found["by_sequence"].items()} == {"sequence-006": 2, "sequence-007": 2}
    means = [own["psnr"] for own in found["by_sequence"].values()]
    assert sum(means) / 2 == pytest.approx(found["psnr"])


@pytest.mark.parametrize(("kind", "point", "size"), [("1", "hanging down", 2), ("2", "bottom", 4)])
def test_each_kind_is_analyzed(
    run: Path, kind: str, point: str, size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["analyze", str(run), "--cluster", kind, "--starts", "8", "--out", str(tmp_path)])
    content = json.loads((tmp_path / "analysis.json").read_text())
    assert [p["name"] for p in content["true_points"]] == [point] and content["sequences"] == 3
    assert content["state"]["size"] == size and content["true_points"][0]["share_of_scene_size"] < 0.05
    other = 3 - int(kind)
    assert f"this is dynamics cluster {kind}, of the sequences sequence-00{int(kind) - 1}" in capsys.readouterr().out
    assert any(note.endswith(f"--cluster shows another: {other}.") for note in content["notes"])


def test_what_is_typed_tells_the_kind_or_is_sent_back(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, initial in {"swing": "x=-0.3,z=0.5", "ball": "x=-0.3,y=0,z=0.24"}.items():
        main(["render", str(run), "--initial", initial, "--times", "0:1:2", "--out", str(tmp_path / name)])
    first, second = ((tmp_path / name / "frame-00000.png").read_bytes() for name in ("swing", "ball"))
    assert first != second
    capsys.readouterr()
    for words, line in {
        (
            "render",
            str(run),
            "--initial",
            "x=-0.3",
        ): "these initial conditions fit 2 of the dynamics clusters that this run learned",
        (
            "analyze",
            str(run),
            "--cluster",
            "3",
        ): "--cluster 3: this run learned 2 dynamics clusters: give a number from 1 to 2.",
    }.items():
        with pytest.raises(SystemExit) as stopped:
            main(list(words))
        error = capsys.readouterr().err
        assert stopped.value.code == 2 and line in error and error.count("\n") == 1
