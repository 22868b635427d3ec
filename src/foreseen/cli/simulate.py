"""`foreseen simulate`: a data set with exact truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from foreseen.simulate.options import SimulateOptions

_USUAL = SimulateOptions()


def simulate(
    scenario: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SCENARIO")],
    out: Path,
    options: SimulateOptions = _USUAL,
) -> None:
    """Simulate a scene with known physics and write it as a data set with exact truth.

    Args:
        scenario: pendulum, bouncing-balls, oscillating-ball or bifurcating-hill.
        out: The data set's folder; must not exist, or be empty.
        options: What to simulate.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from foreseen.simulate import simulate as write

    console = Console(stderr=True)
    share, words = TextColumn("{task.percentage:3.0f}%"), TextColumn("{task.description}")
    columns = (BarColumn(), share, TimeRemainingColumn(), words)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar:
        task = bar.add_task("starting", total=1.0)
        write(scenario, out, options, lambda done, what: bar.update(task, completed=done, description=what))
    print(f"{out}: written. Look into it with: foreseen inspect {out}")


def run(args: list[str]) -> None:
    """The command, with the words after `foreseen simulate`."""
    flat = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    tyro.cli(simulate, args=args, prog="foreseen simulate", config=flat)
