"""What is written of known systems, and of runs from the words to the files."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from known_systems import double_well, lorenz, oscillator
from PIL import Image
from rich.console import Console

from foreseen.analysis.analyze import SystemAnalysis, TrueDynamics, describe
from foreseen.analysis.plots import draw
from foreseen.analysis.report import analysis_tables
from foreseen.analysis.true_fixed_points import true_fixed_points
from foreseen.cli import main
from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.runs import load_run
from foreseen.simulate import bifurcating_hill

SMALL = (
    "--max-steps",
    "2",
    "--rays",
    "256",
    "--samples",
    "8192",
    "--grid-resolution",
    "16",
    "--multi-sequence.widths",
    "64",
    "--part-levels",
    "4",
    "8",
    "--static-levels",
    "4",
    "8",
    "--multi-sequence.ensemble-size",
    "2",
)


def said(content: dict[str, object]) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    for table in analysis_tables(content):
        console.print(table)
    return console.export_text()


def test_true_points_are_compared_with_the_nearest_found() -> None:
    constants = bifurcating_hill.SCENARIO.systems[0].constants | {"half_width": 0.9, "hill": 0.25, "valley": 0.0}
    known = TrueDynamics(points=tuple(true_fixed_points("slide-on-double-well", constants)), length_unit="m")
    content = describe(SystemAnalysis.of(double_well(), known))
    assert content["scene_size"] == pytest.approx(3.1, abs=0.15)
    assert [p["nearest"] for p in content["true_points"]] == [0, 1, 2]
    assert [p["distance"] for p in content["true_points"]] == pytest.approx([0.1, 0, 0.1], abs=1e-6)
    assert content["true_points"][0]["share_of_scene_size"] == pytest.approx(0.1 / content["scene_size"])
    assert all(p["same_stability"] for p in content["true_points"])
    assert "share of" in said(content)


def test_a_wrong_stability_is_told() -> None:
    _, top, _ = true_fixed_points("slide-on-double-well", bifurcating_hill.SCENARIO.systems[0].constants)
    there = replace(top, position=np.array([1.0, 0.0, 0.0]))
    content = describe(SystemAnalysis.of(double_well(), TrueDynamics(points=(there,))))
    assert content["true_points"][0]["same_stability"] is False
    assert content["true_points"][0]["distance"] == pytest.approx(0, abs=1e-6)
    assert content["notes"] == [
        "fixed points 1, 2: none of the true ones named above is within 5% of the scene's size."
    ]
    assert "stable, truth: unstable" in said(content)


@pytest.mark.parametrize("system", [double_well(), oscillator(axes=2), lorenz()], ids=["one", "two", "first order"])
def test_every_kind_of_system_is_written_and_drawn(system: DynamicalSystem, tmp_path: Path) -> None:
    analysis = SystemAnalysis.of(system, TrueDynamics(time_unit=r"$\x$", length_unit=r"$\y$"))  # no formulas
    content = {"method": "any", "preset": "any", "step": 0} | describe(analysis)
    json.dumps(content, allow_nan=False)
    (tmp_path / "a.png").write_bytes(draw(analysis, content))
    assert Image.open(tmp_path / "a.png").size[0] > 800
    text = said(content)
    assert "largest Lyapunov exponent" in text and "true divergence" in text
    assert ("saddle" in text) == (len(system.names) != 4)


# Runs.


@pytest.fixture(scope="module")
def hill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a bead on the hill, of hardly any steps: the law comes with the labels."""
    folder = tmp_path_factory.mktemp("hill")
    simulate = ["simulate", "bifurcating-hill", "--sequences", "5", "--frames", "45", "--size", "16"]
    main([*simulate, "--out", str(folder / "data")])
    main(["train", "rigid-ode", "--data", str(folder / "data"), "--out", str(folder / "run"), *SMALL])
    return folder


def test_the_hill_from_the_words_to_the_files(hill: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["analyze", str(hill / "run"), "--out", str(hill / "found"), "--seed", "1"])
    content = json.loads((hill / "found" / "analysis.json").read_text())
    assert Image.open(hill / "found" / "analysis.png").size[0] > 1000
    assert [p["name"] for p in content["true_points"]] == ["left valley", "top", "right valley"]
    for point in content["true_points"]:
        assert point["share_of_scene_size"] < 0.05 and point["same_stability"]
    assert content["lyapunov"]["mean"] < 0 and content["drag"]["drag"] == pytest.approx(0.8, abs=0.1)
    assert content["drag"]["true_drag"] == 0.8 and content["body_energy"]["from_truth_mean"] < 0.1
    assert content["seed"] == 1 and content["starts"] == 200 and content["time_unit"] == "s"
    out = capsys.readouterr().out
    assert "true fixed points" in out and "stable focus" in out and "analysis.png" in out


def test_the_truth_may_be_gone(hill: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(hill / "run", tmp_path / "run")
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace(str(hill / "data"), str(tmp_path / "gone")))
    main(["analyze", str(tmp_path / "run")])
    content = json.loads((tmp_path / "run" / "analysis.json").read_text())
    assert content["true_points"] == [] and content["time_unit"] == "unknown"
    assert sum(not p["out_of_range"] for p in content["fixed_points"]) == 3
    assert "nothing is compared with the truth" in capsys.readouterr().out


def test_the_systems_of_the_methods(hill: Path) -> None:
    """Along the seen states the rate is how they change, and positions are where the bodies were seen."""
    run = load_run(hill / "run")
    system = run.method.system()
    assert system is not None and system.positions is not None
    one = system.trajectories[0]
    analysis = (one.states[2:] - one.states[:-2]) / (one.times[2:] - one.times[:-2])[:, None]
    middle = slice(10, -10)
    assert (analysis - system.rate(one.states[1:-1]))[middle].abs().mean() < 0.05 * analysis.abs().max()
    truth = run.dataset().sequences[0].truth
    assert truth is not None
    x = np.interp(one.times.numpy(), truth.times, truth.positions[:, 0, 0])
    assert np.abs(system.positions(one.states)[:, 0, 0].numpy() - x).max() < 0.02


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--starts", "0"], "--starts 0: give 1 or more."),
        (["--start", "3"], "has no option '--start': did you mean '--starts'?"),
        (["--checkpoint", "77"], "has no checkpoint of step 77"),
        (["--seed", "x"], "See foreseen analyze --help."),
    ],
)
def test_bad_words(hill: Path, words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused([str(hill / "run"), *words], line, capsys)


def test_no_run_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused([str(tmp_path / "nowhere")], "nowhere holds no run", capsys)


def test_a_method_without_a_law(hill: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = (
        "--max-steps",
        "1",
        "--rays",
        "64",
        "--samples",
        "2048",
        "--width",
        "8",
        "--grid-resolution",
        "8",
        "--levels",
        "4",
        "8",
    )
    main(["train", "d-nerf", "--data", str(hill / "data"), "--out", str(tmp_path / "run"), *small])
    assert_refused([str(tmp_path / "run")], "'d-nerf' (preset fast) learns no dynamics", capsys)


def assert_refused(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["analyze", *words])
    assert end.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("foreseen: error: ") and line in last
