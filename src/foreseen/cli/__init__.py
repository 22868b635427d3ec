"""The command line: one file a command, each with `run(args)`. Nothing heavy is imported before one runs."""

import errno
import os
import sys
from importlib import import_module

from foreseen.errors import UserError, suggest
from foreseen.version import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("foreseen.cli.demo:run", "simulate a small scene, learn it, forecast it, report"),
    "simulate": ("foreseen.cli.simulate:run", "write a data set of known physics, with exact truth"),
    "inspect": ("foreseen.cli.inspect:run", "show what is in a data set or a splat file, and warn of likely errors"),
    "train": ("foreseen.cli.train:run", "train a method on a data set, or resume a run"),
    "evaluate": ("foreseen.cli.evaluate:run", "score a run by split and time, beside baselines"),
    "analyze": ("foreseen.cli.analyze:run", "analyze learned dynamics: fixed points, stability, energy"),
    "render": ("foreseen.cli.render:run", "render a run along a camera path, at any time"),
    "view": ("foreseen.cli.view:run", "show runs or data in the browser, from any view, at any time"),
    "report": ("foreseen.cli.report:run", "write an HTML page on runs: clips, scores, learned dynamics"),
    "export": ("foreseen.cli.export:run", "write Gaussians as files for other programs"),
    "methods": ("foreseen.cli.methods:run", "list the methods"),
    "doctor": ("foreseen.cli.doctor:run", "show what this machine offers, and what is missing"),
}
"""Command -> ("module:function", one line of help)."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


def main(args: list[str] | None = None) -> None:
    """Runs a command and exits with its code: 0, 2 for bad input, 130 or 143 after a signal."""
    # Waiting threads must sleep, not spin: beside other busy programs, spinning made training up to ten times slower.
    # The threading library reads this when it loads, hence before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in words
    if debug:
        words.remove("--debug")
    try:
        _dispatch(words)
    except (UserError, OSError, KeyboardInterrupt) as error:
        if debug or not _is_expected(error):
            raise
        _say(_message(error))
        sys.exit(_exit_code(error))


def _dispatch(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text())
        return
    if words[0] in ("--version", "version"):
        print(f"foreseen {__version__}")
        return
    name = words[0]
    if name not in COMMANDS:
        kind = "option" if name.startswith("-") else "command"
        raise UserError(f"unknown {kind} '{name}': {suggest(name, COMMANDS)}")
    module, _, function = COMMANDS[name][0].partition(":")
    getattr(import_module(module), function)(words[1:])


def help_text() -> str:
    """What `foreseen --help` prints."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: foreseen COMMAND [OPTIONS]",
            "",
            "Learns how a captured scene moves, and renders it from any view at any time, past the last frame.",
            "",
            *lines,
            "",
            "foreseen COMMAND --help explains a command; --version prints the version.",
            "--debug, with any command, shows the traceback of an error.",
        ]
    )


def _is_expected(error: BaseException) -> bool:
    return not isinstance(error, OSError) or isinstance(error, PermissionError) or error.errno in _FULL


def _message(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "stopped."
    if isinstance(error, PermissionError):
        return f"error: {error.filename}: no permission; choose another place, or change the permissions."
    if isinstance(error, OSError):
        where = f" to write {error.filename}" if error.filename else ""
        return f"error: no space left on the disk{where}: free some and run it again."
    return f"error: {error}"


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return getattr(error, "exit_code", 130)
    return 2


def _say(message: str) -> None:
    """One line on standard error; of several processes under `torchrun` only the first one prints."""
    if message and os.environ.get("RANK", "0") == "0":
        print(f"foreseen: {message}", file=sys.stderr)
