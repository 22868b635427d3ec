"""`foreseen train METHOD`: the fields of `TrainConfig` and of the method's own config are the options."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from foreseen.cli.options import call
from foreseen.cli.view import PORT, check_port
from foreseen.errors import UserError

if TYPE_CHECKING:
    from foreseen.runs import TrainConfig

PROG = "foreseen train"
VIEW_CHECKPOINT_SECONDS = 15.0
"""Training time between checkpoints [s] of a run that is shown while it trains."""


@dataclass(frozen=True)
class RunOptions:
    """Where the run is written and what is shown; the settings of the training follow."""

    out: Path | None = None
    """Folder of the run; needed except with --print-config. Where it holds a run, that one is resumed, and options that
    are not given keep their saved values."""
    config: Path | None = None
    """Take the settings from this file: a run's config.json, or what --print-config printed. Other options replace
    them."""
    print_config: bool = False
    """Print all settings as JSON, for --config, and exit."""
    view: bool = False
    """Show the run in the browser while it trains: a checkpoint every 15 s, and the viewer in another process."""
    view_port: int = PORT
    """Port of that viewer, which listens to this machine only; where it is taken, the next free one."""


def run(args: list[str]) -> None:
    """Trains as `args` say: the method first, then options."""
    if not args or args[0] in ("-h", "--help"):
        print(_help())
        return
    named = not args[0].startswith("-")
    method, rest = (args[0], args[1:]) if named else (None, args)
    start = _start(method, rest)
    if start is None:
        from foreseen.methods import METHODS

        raise UserError(f"{PROG} takes the method first, one of: {', '.join(METHODS)}; or --config FILE.")
    call(_command(start), rest, prog=f"{PROG} {start.method}")


def _help() -> str:
    from foreseen.methods import METHODS

    names = ", ".join(METHODS)
    return (
        f"usage: {PROG} METHOD --data DATA [DATA ...] --out RUN [OPTIONS]\n"
        f"       {PROG} --config FILE --out RUN [OPTIONS]\n\nmethods: {names}\n\n"
        f"{PROG} METHOD --help lists a method's options (with --preset NAME: their values in that preset)."
    )


def _start(method: str | None, args: list[str]) -> TrainConfig[Any] | None:
    """The settings that the options replace, of a file, the run in --out, or the preset. They must be known before
    their fields can become options."""
    from foreseen.runs.train_config import FILE, default_config, preset_config, read_train_config

    file, out, preset = (_value(args, name) for name in ("--config", "--out", "--preset"))
    if file is not None:
        start = read_train_config(Path(file))
        if method not in (None, start.method):
            raise UserError(f"--config {file} is of method '{start.method}', not '{method}': leave one of them out.")
        if preset in (None, start.preset):
            return start
        return replace(start, preset=str(preset), config=preset_config(start.method, str(preset)))
    if out is not None and (Path(out) / FILE).is_file():
        from foreseen.runs.config import start_config

        return start_config(Path(out), method, preset=preset)
    return None if method is None else default_config(method, (), preset)


def _value(args: list[str], option: str) -> str | None:
    """The value of an option, read before the options are known."""
    for word, following in zip(args, [*args[1:], ""], strict=True):
        if word == option and following:
            return following
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None


def _command(start: TrainConfig[Any]) -> Callable[..., None]:
    """A function whose parameters are the options: their defaults are the settings in `start`."""
    import tyro

    from foreseen.runs import TrainConfig
    from foreseen.runs.train_config import BUDGET

    # A part of the budget alone replaces the whole budget. So neither part has a default here, and a part that was
    # given is not None.
    default = replace(start, max_steps=None, max_minutes=None, data=start.data or tyro.MISSING)

    def command(options: RunOptions, settings: Any = default) -> None:
        budget = {name: getattr(settings, name) for name in BUDGET}
        if all(value is None for value in budget.values()):
            budget = {name: getattr(start, name) for name in BUDGET}
        _train(options, replace(settings, **budget))

    flat = tyro.conf.arg(name="")
    typed: Any = TrainConfig
    command.__annotations__ = {
        "options": Annotated[RunOptions, flat],
        "settings": Annotated[typed[Annotated[type(start.config), flat]], flat],
        "return": None,
    }
    command.__doc__ = f"Train {start.method}, starting from its preset {start.preset}."
    return command


def _train(options: RunOptions, config: TrainConfig[Any]) -> None:
    if options.print_config:
        from foreseen.runs.plain import to_plain
        from foreseen.runs.train_config import with_full_paths

        print(json.dumps(to_plain(with_full_paths(config)), indent=2))
        return
    if options.out is None:
        raise UserError(f"--out is missing. See {PROG} {config.method} --help.")
    from foreseen.training import run_training

    if not options.view or os.environ.get("RANK", "0") != "0":  # of several processes the first one shows it
        run_training(config, options.out)
        return
    check_port("--view-port", options.view_port)
    from foreseen.cli.viewer_process import ViewerProcess

    seconds = min(config.save_every_seconds or VIEW_CHECKPOINT_SECONDS, VIEW_CHECKPOINT_SECONDS)
    with ViewerProcess(options.out, options.view_port) as viewer:
        run_training(replace(config, save_every_seconds=seconds), options.out)
        viewer.wait_until_closed()
