"""Options of a command: tyro reads them, and what it refuses becomes one line."""

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

    Raises `UserError` for an unknown option (with the nearest known one), a bad value, or a missing option. `--help`
    prints and exits with 0.
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
    """The options, such as "--max-steps", that a function's signature gives."""
    return set(re.findall(r"--[a-z][\w.-]*", tyro.extras.get_parser(function).format_usage()))


def _one_line(box: str) -> str:
    """What stands in the box that tyro draws, up to the rule above its advice."""
    lines = []
    for line in box.splitlines():
        text = line.strip("│┃| \t")
        if re.match(r"[─━╭╮╰╯┌┐└┘\-]{3,}", text) or (text and text[0] in "╭╰├┌└"):
            if lines:
                break
            continue
        lines.append(text)
    text = " ".join(x for x in lines if x).strip()
    missing = re.match(r"Missing from .*?: (--[\w.-]+)", text)
    if missing:
        return f"{missing.group(1)} is missing."
    return text if text.endswith((".", "?", "!")) else f"{text}."
