"""The house is built as docs/design.md says."""

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import foreseen
from foreseen.methods import METHODS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "foreseen"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DESIGN = (ROOT / "docs" / "design.md").read_text()
ROOMS = sorted(p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file())


def test_the_version_is_stated_once_and_the_same() -> None:
    assert PYPROJECT["project"]["version"] == foreseen.__version__


def test_the_public_names() -> None:
    assert foreseen.__all__ == ["__version__", "load_dataset", "load_run", "train"]
    for name in foreseen.__all__:
        assert getattr(foreseen, name)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_export_what_they_list(room: str) -> None:
    module = import_module(f"foreseen.{room}")
    names = getattr(module, "__all__", [])
    assert len(names) == len(set(names))
    for name in names:
        assert hasattr(module, name), name


def layers() -> list[set[str]]:
    """The rooms of the import contract, roof first, without those that are only planned."""
    (contract,) = (c for c in PYPROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    found = []
    for line in contract["layers"]:
        words = [word.strip() for word in re.split(r"[|:]", line)]
        found.append({word.removeprefix("foreseen.") for word in words if not word.startswith("(")})
    return found


def test_every_room_is_in_the_contract_and_in_the_plan() -> None:
    assert set().union(*layers()) == {*ROOMS, "errors"}
    for room in ROOMS:
        assert re.search(rf"^      {room}/ ", DESIGN, re.MULTILINE), room


def test_plan_and_contract_agree() -> None:
    sentence = re.search(r"Imports run downhill[^:]*:(.*?)\. ", " ".join(DESIGN.split()))
    assert sentence is not None
    planned = [set(part.replace("`", " ").split()) for part in sentence.group(1).split("<")]
    assert planned == list(reversed(layers()))


def test_imports_run_downhill() -> None:
    linter = pytest.importorskip("importlinter.cli", reason="import-linter comes with the extra [dev]")
    assert linter.lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_the_same_files(method: str) -> None:
    module = METHODS[method].target.partition(":")[0]
    folder = PACKAGE.parent.joinpath(*module.split(".")).parent
    assert folder.parent == PACKAGE / "methods" and module.endswith(".model")
    for name in ("__init__.py", "config.py", "model.py", "README.md"):
        assert (folder / name).is_file(), name
    assert METHODS[method].load_presets()


def test_nothing_heavy_is_imported_at_the_start() -> None:
    code = (
        "import sys, foreseen, foreseen.cli, foreseen.methods\n"
        "print([m for m in ('torch', 'numba', 'scipy', 'matplotlib', 'mujoco') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"


def test_files_stay_readable() -> None:
    lines = {p.name: len(p.read_text().splitlines()) for p in PACKAGE.rglob("*.py")}
    assert max(lines.values()) <= 400, max(lines, key=lines.__getitem__)


def test_nothing_is_left_undone() -> None:
    words = re.compile(r"\b(TODO|FIXME|XXX|breakpoint\(\)|pdb)\b")
    found = [p.name for p in PACKAGE.rglob("*.py") if words.search(p.read_text())]
    assert not found
