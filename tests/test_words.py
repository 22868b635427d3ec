"""Names and flags are the standard terms of the field (docs/glossary.md); riddles of version 0.1 do not come back."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "foreseen"

WORDS = frozenset(
    [
        "film",
        "films",
        "filmed",
        "law",
        "laws",
        "looks",
        "turned",
        "futures",
        "future",
        "stretch",
        "stretches",
        "shot",
        "shots",
        "halves",
        "portion",
        "portions",
        "ladder",
        "coast",
        "coasting",
        "knob",
        "knobs",
        "keeping",
        "standing",
        "foretell",
        "foretold",
        "mend",
        "lamp",
        "sightings",
        "sighting",
        "shake",
        "shaken",
        "plant",
        "pace",
        "bend",
        "bends",
        "bent",
        "settle",
        "riding",
        "hopeless",
        "beaten",
        "glimpse",
        "glimpses",
        "surprise",
        "roomy",
        "ghosts",
        "lucky",
        "doubts",
        "doubt",
        "shades",
        "tell",
        "want",
        "asked",
        "finer",
        "beginnings",
        "mobile",
    ]
)
"""No name holds one of these words."""

PATTERNS = (
    r"^(most|least)_|_(most|least)$|^(MOST|LEAST)_",  # max_, min_
    r"^turns?$|^looks?$",  # rotation, appearance
    r"^(NEAR|FAR|FEW|MANY|SAME|CLOSE|LONG|LARGE|SMALL|STILL|SLOW|ALIKE|APART|NEARLY|SURE|WEAK|STEADY|ROOM|TRIED)$",
    r"^(numbers_of|light_left|own_hull|still_hull|keep_up)$",
)
"""No name fits one of these."""

FLAGS = ("--look", "--futures", "--kind", "--law-layers", "--law-width", "--many", "--one", "--ladder", "--turn-lr")
"""Flags of version 0.1 that have another name now."""

PHRASES = r"\b(foretells?|coasts?|at rest|ride with|by hand|the mend|kinds? of motion|light left|filmed)\b"
"""No message for the user has one of these."""

EXCEPTIONS = {
    "turns": "of a spiral: a number of revolutions",
    "_most_complete_time": "plain English",
    "most_extended_axes": "plain English",
    "_at_least_float32": "plain English",
}


def names(tree: ast.Module) -> Iterator[str]:
    """Classes, functions, parameters, fields, attributes and constants of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        if isinstance(node, ast.arg):
            yield node.arg
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        if isinstance(node, ast.ClassDef | ast.Module):
            for part in node.body:
                targets = part.targets if isinstance(part, ast.Assign) else [getattr(part, "target", None)]
                yield from (target.id for target in targets if isinstance(target, ast.Name))


def is_riddle(name: str) -> bool:
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    return bool(WORDS & set(words)) or any(re.search(pattern, name) for pattern in PATTERNS)


def messages(tree: ast.Module) -> Iterator[str]:
    """Texts of errors that users see."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UserError":
            yield "".join(n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_names_flags_and_messages_are_plain(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    found = [name for name in (path.stem, *names(tree)) if name not in EXCEPTIONS and is_riddle(name)]
    found += [flag for flag in FLAGS if re.search(re.escape(flag) + r"(?![\w-])", text)]
    found += [message for message in messages(tree) if re.search(PHRASES, message)]
    assert not found


def test_the_test_of_words_finds_them() -> None:
    tree = ast.parse(
        "LEAST_X = 1\nclass Law:\n    halves: int\ndef f(turns): self.knobs = 1\nUserError(f'it coasts {x}')"
    )
    assert {name for name in names(tree) if is_riddle(name)} == {"LEAST_X", "Law", "halves", "turns", "knobs"}
    assert [bool(re.search(PHRASES, message)) for message in messages(tree)] == [True]
