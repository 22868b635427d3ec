"""`foreseen analyze RUN`: learned dynamics as a dynamical system."""

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
    """Analyze learned dynamics: fixed points and their stability, Lyapunov exponents, energy.

    Writes analysis.json and analysis.png. Where the data set has the true dynamics, fixed points and energy are
    compared with them.

    Args:
        folder: Folder that `foreseen train` wrote.
        cluster: Which dynamics, where the run learned several clusters of sequences: 1, 2, ...
        out: Folder for both files; default: the run's own.
        checkpoint: Step of the checkpoint; default: the last one.
        starts: Starting points of the search for fixed points; default: 200, or 16 for states of more than 16
            components.
        seed: Seed of the random numbers: starting points, directions of neighbouring trajectories.
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
