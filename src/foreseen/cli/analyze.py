"""`foreseen analyze RUN`: what the learned law is like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from foreseen.cli.options import call


def run(args: list[str]) -> None:
    """Analyzes as `args` say."""
    call(analyze, args, prog="foreseen analyze")


def analyze(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    cluster: int = 1,
    out: Path | None = None,
    checkpoint: int | None = None,
    starts: int | None = None,
    seed: int = 0,
) -> None:
    """Say what the learned law is like: where it rests and of which kind that is, how fast neighbours part, what
    it keeps.

    Writes analysis.json and analysis.png. Where the data set tells the true law, its fixed points and energy are
    compared with that.

    Args:
        folder: Folder that `foreseen train` wrote.
        kind: Which law, where the run learned several kinds of motion: 1, 2, ...
        out: Folder for both files; default: the run's own.
        checkpoint: Step of the checkpoint; default: the last one.
        starts: Of the search for fixed points; default: 200, or 16 for laws of more than 16 components.
        seed: Of all that is drawn: starts of the search, directions of neighbours.
    """
    from rich.console import Console

    from foreseen.analysis import analysis_tables, analyze_run
    from foreseen.runs import load_run

    content = analyze_run(load_run(folder, checkpoint), cluster=cluster, out=out, starts=starts, seed=seed)
    console = Console()
    console.print(f"{content['method']} ({content['preset']}), step {content['step']}\n")
    for table in analysis_tables(content):
        console.print(table, "")
    for note in content["notes"]:
        console.print(note, soft_wrap=True, markup=False)
    target = out or folder
    console.print(f"wrote {target / 'analysis.json'} and {target / 'analysis.png'}", soft_wrap=True, markup=False)
