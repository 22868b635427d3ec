"""What the pages say exists: commands, options, functions, links."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from foreseen.cli import COMMANDS, main
from light_dynamics import LIGHT

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "src/foreseen/methods").glob("*/README.md")],
    key=str,
)
names = [str(page.relative_to(ROOT)) for page in PAGES]


def commands(text: str) -> Iterator[list[str]]:
    """The words after `foreseen` in the code blocks (fenced or indented) and code spans of a page."""
    fenced = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    indented = re.findall(r"^    (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    spans = re.findall(r"`(foreseen [^`\n]+)`", text)
    lines = [line for block in fenced for line in block.splitlines()] + indented + spans
    for line in lines:
        found = re.match(r"(?:.*&& |.*-m )?foreseen (.*)", line.strip())
        if found:
            words = re.split(r" {3,}|  #| # ", found.group(1))[0]
            yield shlex.split(re.sub(r"[\[\]]|\.\.\.", " ", words))


@cache
def options(command: str, *words: str) -> set[str]:
    """What `foreseen COMMAND --help` offers."""
    import contextlib
    import io

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main([command, *words, "--help"])
    return set(re.findall(r"--[\w-]+", said.getvalue())) | {"--help", "--debug"}


def known_options(words: list[str]) -> set[str]:
    if words[0] != "train":
        return options(words[0])
    from foreseen.methods import METHODS

    method = next((w for w in words[1:] if w in METHODS), "rigid-ode")
    preset = words[words.index("--preset") + 1] if "--preset" in words else "fast"
    return options("train", method, "--preset", preset if re.fullmatch(r"[a-z]+", preset) else "fast")


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_commands_and_options_exist(page: Path) -> None:
    for words in commands(page.read_text()):
        if words[0] in ("--version", "COMMAND"):
            continue
        assert words[0] in COMMANDS, words
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= known_options(words), words


def test_the_readme_shows_every_step() -> None:
    shown = {words[0] for words in commands((ROOT / "README.md").read_text())}
    assert {
        "demo",
        "simulate",
        "inspect",
        "train",
        "evaluate",
        "analyze",
        "render",
        "report",
        "view",
        "methods",
        "doctor",
    } <= shown


def test_a_wrong_option_would_be_found() -> None:
    (words,) = commands("text\n\n    foreseen evaluate RUN --max-fraems 3   # a comment --here\n")
    assert words == ["evaluate", "RUN", "--max-fraems", "3"]
    assert not set(words[2:3]) <= known_options(words)


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_map_names_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, page.name


def test_the_readmes_methods_are_the_registered_ones() -> None:
    from foreseen.methods import METHODS

    text = (ROOT / "README.md").read_text()
    section = text.partition("## Methods")[2].partition("\n## ")[0]
    said: dict[str, set[str]] = {}
    name = ""
    for first, preset in re.findall(r"^\| (`[\w-]+`)? ?\| `(\w+)` \|", section, re.MULTILINE):
        name = first.strip("`") or name
        said.setdefault(name, set()).add(preset)
    assert said == {method: set(entry.load_presets()) for method, entry in METHODS.items()}


def test_the_python_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snippet as it stands, on a tiny scene and with a tiny budget."""
    import foreseen
    from foreseen.dynamics.config import DynamicsConfig
    from foreseen.simulate import SimulateOptions, simulate

    simulate("pendulum", tmp_path / "data" / "pendulum", SimulateOptions(frames=12, cameras=2, size=16, fps=3))
    monkeypatch.chdir(tmp_path)
    train = foreseen.train
    light = {
        "static_samples": 32,
        "part_samples": 8,
        "grid_resolution": 16,
        "width": 16,
        "dynamics": DynamicsConfig(**LIGHT),
    }

    def short(*words: object, max_minutes: float, **named: object) -> object:
        assert max_minutes > 0
        return train(*words, max_steps=1, overrides=light, device="cpu", progress=False, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(foreseen, "train", short, raising=False)
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    space: dict[str, object] = {}
    exec(snippet, space)
    assert space["picture"].shape == (16, 16, 3)  # type: ignore[attr-defined]
    assert "forecast" in space["metrics"]["splits"]  # type: ignore[index]
