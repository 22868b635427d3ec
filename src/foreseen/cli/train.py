"""`foreseen train METHOD`: every field of the method's config is an option, beside those of the training."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from foreseen.cli.options import call
from foreseen.cli.view import PORT, check_port
from foreseen.errors import UserError, suggest

PROG = "foreseen train"
VIEW_CHECKPOINT_SECONDS = 15.0
"""Training time between checkpoints of a run that somebody looks at."""


@dataclass(frozen=True)
class TrainOptions:
    """The training itself; the method's own options follow."""

    data: Path
    """Folder of the data set."""
    out: Path
    """Folder of the run; where it holds a run already, that one goes on."""
    preset: str | None = None
    """Preset of the method, whose fields the other options replace; default: the first one of the method."""
    seed: int = 0
    """Of everything that is drawn."""
    max_steps: int | None = None
    """Stop after this many steps."""
    max_minutes: float | None = None
    """Stop after so much training time [min], whichever comes first. Without both: the method's own number of
    steps, else 10 minutes."""
    observe_until: float | None = None
    """Fraction of the time range after which nothing reaches training."""
    downscale: int = 1
    """Shrink the pictures by this whole factor."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU where there is one."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: autocast where the device has it."""
    max_grad_norm: float | None = None
    """Scale gradients down to this norm; 0 never; the default is the method's."""
    memory_mb: int = 1024
    """Memory for the training pictures [MB]; what does not fit is read when drawn, which is slower."""
    save_every_seconds: float = 60.0
    """Training time between checkpoints [s]."""
    save_every_steps: int | None = None
    """Steps between checkpoints, besides."""
    log_every: int = 20
    """Steps between readings of the loss."""
    view: bool = False
    """Show the run in the browser as it learns: a checkpoint every 15 s, and the viewer in a process of its own."""
    view_port: int = PORT
    """Port of that viewer, which listens to this machine only; where it is taken, the next free one."""


def run(args: list[str]) -> None:
    """Trains as `args` say: the method first, then options."""
    from foreseen.methods import METHODS

    if not args or args[0] in ("-h", "--help"):
        print(_help())
        return
    name, rest = args[0], args[1:]
    if name.startswith("-"):
        raise UserError(f"{PROG} takes the method first, one of: {', '.join(METHODS)}.")
    call(_command(name, _preset(rest)), rest, prog=f"{PROG} {name}")


def _help() -> str:
    from foreseen.methods import METHODS

    names = ", ".join(METHODS)
    return (
        f"usage: {PROG} METHOD --data DATA --out RUN [OPTIONS]\n\nmethods: {names}\n\n"
        f"{PROG} METHOD --help lists a method's options (with --preset NAME: their values in that preset)."
    )


def _preset(args: list[str]) -> str | None:
    """The preset must be known before its fields can become options."""
    for word, following in zip(args, [*args[1:], ""], strict=True):
        if word == "--preset" and following:
            return following
        if word.startswith("--preset="):
            return word.partition("=")[2]
    return None


def _command(method: str, preset: str | None) -> Callable[..., None]:
    """A function whose signature holds the options of the training and the fields of the preset."""
    import tyro

    from foreseen.methods import find_method

    presets = find_method(method).load_presets()
    preset = preset or next(iter(presets))
    if preset not in presets:
        raise UserError(f"method '{method}' has no preset '{preset}': {suggest(preset, presets)}")
    start = presets[preset]

    def command(options: Any, config: Any = start) -> None:
        _train(method, options, start, config)

    flat = tyro.conf.arg(name="")
    command.__annotations__ = {
        "options": Annotated[TrainOptions, flat],
        "config": Annotated[type(start), flat],
        "return": None,
    }
    command.__doc__ = f"Train {method}, starting from its preset {preset}."
    return command


def _train(method: str, options: TrainOptions, start: Any, config: Any) -> None:
    from foreseen.training import train

    changed = {f.name: new for f in fields(start) if (new := getattr(config, f.name)) != getattr(start, f.name)}
    words = {
        f.name: getattr(options, f.name) for f in fields(options) if f.name not in ("data", "out", "view", "view_port")
    }
    if not options.view or os.environ.get("RANK", "0") != "0":  # of several processes the first one shows it
        train(method, options.data, options.out, overrides=changed, **words)
        return
    check_port("--view-port", options.view_port)
    from foreseen.cli.viewer_process import ViewerProcess

    words["save_every_seconds"] = min(options.save_every_seconds, VIEW_CHECKPOINT_SECONDS)
    with ViewerProcess(options.out, options.view_port) as watching:
        train(method, options.data, options.out, overrides=changed, **words)
        watching.wait_until_closed()
