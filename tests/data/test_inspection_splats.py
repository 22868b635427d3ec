"""What `foreseen inspect` says of files of Gaussians."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from foreseen.cli import main
from foreseen.data.inspection_splats import inspect_splats
from foreseen.scenes.files import moving, ply
from foreseen.scenes.gaussians import Gaussians
from foreseen.scenes.moving_gaussians import gather_motion
from random_gaussians import random_gaussians


def rows(path: Path, gaussians: Gaussians) -> tuple[dict[str, str], list[str]]:
    """Findings by name, and doubts."""
    path.write_bytes(ply.encode(gaussians))
    checks = inspect_splats(path)
    return dict(row for check in checks for row in check.rows), [doubt for check in checks for doubt in check.warnings]


def test_says_what_is_there(tmp_path: Path) -> None:
    gaussians = random_gaussians(101, 2, extras=4, antialiased=True)
    gaussians.opacities[:] = torch.linspace(0.1, 0.9, 101)
    found, doubts = rows(tmp_path / "a.ply", gaussians)
    assert found["Gaussians"] == "101" and found["spherical harmonics"] == "degree 2"
    assert found["extra channels"] == "4" and found["antialiased"] == "yes"
    assert found["opacity"] == "0.1, 0.14, 0.5, 0.86, 0.9"
    assert found["quantiles"] == "0%, 5%, 50%, 95%, 100%"
    low = ", ".join(f"{v:.3g}" for v in gaussians.means.amin(0).tolist())
    assert found["lowest corner"] == f"({low})" and doubts == []


def test_doubts(tmp_path: Path) -> None:
    gaussians = random_gaussians(100, 0)
    gaussians.means[7] = 1e4
    gaussians.opacities[:30] = 0.001
    gaussians.scales[3, 1] = 1e6
    _, doubts = rows(tmp_path / "a.ply", gaussians)
    assert [doubt.split(" (")[0] for doubt in doubts] == [
        "1 Gaussian more than 20 times further out than nine of ten.",
        "30% of the Gaussians are too transparent to be seen",
        "1 Gaussian larger than the whole scene",
    ]
    _, doubts = rows(tmp_path / "a.ply", replace(random_gaussians(5), opacities=torch.full((5,), 0.5)))
    assert doubts == ["All opacities are 0.5."]


def test_moving_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rest = random_gaussians(10)
    path = tmp_path / "a.safetensors"
    later = replace(rest, means=rest.means + torch.tensor([[0.0, 0, 1]] * 4 + [[0.0, 0, 0]] * 6))
    path.write_bytes(moving.encode(gather_motion([(0.0, rest), (0.5, later)], "s")))
    main(["inspect", str(path)])
    said = capsys.readouterr().out
    for words in ("a.safetensors", "2 times, 0 to 0.5 s", "of 4 Gaussians", "No warnings."):
        assert words in said
    path.write_bytes(moving.encode(gather_motion([(0.0, rest), (0.5, rest)])))
    assert inspect_splats(path)[1].warnings == ("Nothing moves or changes.",)


def test_one_line_for_what_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(ply.encode(random_gaussians(10))[:-1])
    for words, line in (
        ([], "the file is truncated"),
        (["--format", "llff"], "leave --format and --observe-until out"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["inspect", str(path), *words])
        error = capsys.readouterr().err.strip()
        assert line in error and "\n" not in error
    assert [p.name for p in tmp_path.iterdir()] == ["a.ply"]


def test_recorded_files(shared_data: Path) -> None:
    for path in sorted((shared_data / "splats").glob("*.ply")):
        assert {check.title for check in inspect_splats(path)} == {"What is there", "Place", "Opacity and scale"}
