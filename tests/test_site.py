"""The site of the pages, and the script that makes their pictures."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from test_readme import known_options

ROOT = Path(__file__).parents[1]


def load(name: str) -> ModuleType:
    spec = spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs comes with the extra [docs]")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    method = (tmp_path / "site" / "methods" / "node_rf" / "index.html").read_text()
    assert "ODE-RNN" in method and 'href="../../rendering/"' in method
    start = (tmp_path / "site" / "readme" / "index.html").read_text()
    assert 'href="../methods/node_rf/"' in start and 'src="../pictures/forecast.png"' in start
    assert "github.com/foreseen/foreseen/tree/main/examples" in start


def test_links_that_leave_the_pages_lead_to_the_right_place() -> None:
    pytest.importorskip("mkdocs", reason="mkdocs comes with the extra [docs]")
    hook = load("site_hook")
    text = hook.relink("[a](data.md#x) [b](../examples) [c](https://x.y/z) [d](../LICENSE)", "index.md", "https://r")
    assert (
        text == "[a](data.md#x) [b](https://r/tree/main/examples) [c](https://x.y/z) [d](https://r/blob/main/LICENSE)"
    )
    node_rf = hook.relink("[a](../../../../docs/rendering.md#x) [b](../d_nerf/README.md)", "methods/node_rf.md", "r")
    assert node_rf == "[a](../rendering.md#x) [b](d_nerf.md)"
    # What is not there stays as it is, for mkdocs to name.
    assert hook.relink("[a](../gone.md)", "index.md", "https://r") == "[a](../gone.md)"


def test_every_picture_has_its_commands() -> None:
    pictures = load("make_pictures")
    listed = {picture.file for picture in pictures.PICTURES.values()}
    assert listed == {path.name for path in (ROOT / "docs" / "pictures").iterdir()}
    pages = "".join(page.read_text() for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    for picture in pictures.PICTURES.values():
        assert f"pictures/{picture.file})" in pages
        assert (ROOT / "docs" / "pictures" / picture.file).stat().st_size <= pictures.LARGEST
        for command in picture.commands:
            program, *words = command.split()
            if program == "foreseen":
                assert {w for w in words if w.startswith("--")} <= known_options(words), command
            else:
                assert (ROOT / words[0]).is_file(), command


def test_a_picture_is_drawn_of_what_the_commands_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = load("make_pictures")
    ran: list[list[str]] = []

    def pretend(words: list[str], **_: Any) -> None:
        ran.append(words[3:])
        if words[3] == "evaluate":
            (tmp_path / "hill-run").mkdir()
            Image.new("RGB", (30, 20), (10, 120, 40)).save(tmp_path / "hill-run" / "ensemble.png")

    monkeypatch.setattr(pictures.subprocess, "run", pretend)
    monkeypatch.setattr(pictures, "FOLDER", tmp_path / "docs" / "pictures")
    (tmp_path / "docs").mkdir()
    (tmp_path / "hill").mkdir()  # simulated before
    made = pictures.make(pictures.PICTURES["ensemble"], tmp_path)
    assert [words[0] for words in ran] == ["train", "evaluate"]
    assert str(tmp_path / "hill-run") in ran[0]
    with Image.open(made) as picture:
        assert picture.size == (30, 20)
