"""Options of a command: tyro parses them; its errors become one line."""

from __future__ import annotations

import contextlib
import functools
import io
import re
from collections.abc import Callable
from typing import Any

import tyro

from foreseen.errors import UserError, suggest


def call(function: Callable[..., Any], args: list[str], prog: str) -> Any:
    """Reads `args` by the function's signature, as `tyro.cli` does, and calls it.

    Raises `UserError` for an unknown option (with the nearest known one), a bad value, or a missing option.
    `--help` prints and exits with 0.
    """
    values, words = parse(function, args, prog)
    return function(*values, **words)


def parse(function: Callable[..., Any], args: list[str], prog: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments that `call` would call with."""

    @functools.wraps(function)
    def keep(*values: Any, **words: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return values, words

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            kept, unknown = tyro.cli(keep, args=args, prog=prog, return_unknown_args=True)
    except SystemExit as end:
        if not end.code:
            raise
        _check_names(function, args, prog)  # a misspelt option is why another one is missing
        raise UserError(f"{_one_line(said.getvalue())} See {prog} --help.") from None
    if unknown:
        _check_names(function, args, prog)
        raise UserError(f"{prog} does not know what to do with '{unknown[0]}'. See {prog} --help.")
    return kept


def _check_names(function: Callable[..., Any], args: list[str], prog: str) -> None:
    known = option_names(function)
    for word in args:
        name = word.partition("=")[0].replace("_", "-")
        if name.startswith("--") and name not in known | {"--help"}:
            raise UserError(f"{prog} has no option '{name}': {suggest(name, known)}")


def option_names(function: Callable[..., Any]) -> set[str]:
    """The options of a function, such as "--max-steps": those that start a line of its help."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        parse(function, ["--help"], "foreseen")
    starts = re.findall(r"^[│|\s]*((?:-{1,2}[\w.-]+(?:, )?)+)", said.getvalue(), re.MULTILINE)
    return {word for start in starts for word in start.split(", ") if word.startswith("--")}


def _one_line(box: str) -> str:
    """The text in the box that tyro draws: after the title, up to the line above its advice."""
    lines = [line.strip("│| \t") for line in box.splitlines()]
    lines = [line for line in lines if line][1:]
    rules = [i for i, line in enumerate(lines) if i > 0 and re.fullmatch(r"[─\-╰╯+]{3,}", line)]
    text = " ".join(line for line in lines[: rules[0] if rules else None] if not re.fullmatch(r"[─\-]+", line))
    text = re.sub(r"\[/?bold\]", "", text.partition(" Got errors:")[0])  # what each of several types says
    missing = re.match(r"Missing from .*?: (--[\w.-]+)", text)
    if missing:
        return f"{missing.group(1)} is missing."
    return text if text.endswith((".", "?", "!")) else f"{text}."
