"""`foreseen export SOURCE`: Gaussians as files that other programs read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from foreseen.cli.options import call
from foreseen.cli.progress import progress_bar
from foreseen.errors import UserError


def run(args: list[str]) -> None:
    """Exports as `args` say."""
    call(export, args, prog="foreseen export")


def export(
    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")],
    out: Path,
    format: Literal["ply", "splat", "spz", "ply-sequence", "4d"],
    times: str | None = None,
    sequence: str | None = None,
    initial: str | None = None,
    observe: Literal["truth", "frames"] | None = None,
    context: int = 5,
    overwrite: bool = False,
    checkpoint: int | None = None,
    device: str = "cpu",
) -> None:
    """Write the Gaussians of a run, or of another splat file, for other programs.

    Args:
        source: Folder that `foreseen train` wrote, with a method whose scene is Gaussians; or a file (.ply, .spz,
            .splat, or .safetensors in the 4d form).
        out: The new file, or the folder of a PLY sequence.
        format: ply, splat and spz hold one time; ply-sequence (a folder) and 4d (one file) hold many.
        times: START:END:COUNT in the data set's unit, such as 0:4:120, T:T:1 for one; default: the data's.
        sequence: Name of a sequence of a run's data, learned or new; default: the first that was learned.
        initial: Initial condition of a new sequence, as `foreseen render` takes it.
        observe: What is observed of a new sequence: true pose and velocity at its first time, or its first frames.
        context: Number of first times that are observed as frames.
        overwrite: Replace a file of that name.
        checkpoint: Step of the checkpoint; default: the last one.
        device: cpu, cuda or auto.
    """
    from rich.console import Console

    from foreseen.export import choose_subject, export_splats, parse_times, source_from_file, source_from_run

    if not source.exists():
        raise UserError(f"{source} does not exist: give a run's folder or a file of Gaussians.")
    when = None if times is None else parse_times(times)
    notes: tuple[str, ...] = ()
    if source.is_dir():
        from foreseen.runs import load_run

        loaded = load_run(source, checkpoint, device=device)
        subject = choose_subject(loaded, sequence, initial=initial, observe=observe, context=context)
        exported = source_from_run(loaded, subject)
    else:
        if sequence is not None or initial is not None or observe is not None or checkpoint is not None:
            raise UserError(
                f"{source} is no run's folder: leave --sequence, --initial, --observe and --checkpoint out."
            )
        exported, notes = source_from_file(source)
    with progress_bar("export") as progress:
        lost = export_splats(exported, format, out, when, overwrite=overwrite, progress=progress)
    for note in notes:
        print(f"foreseen: warning: {source}: {note}.", file=sys.stderr)
    for what in lost:
        print(f"foreseen: warning: a '{format}' file does not hold {what}.", file=sys.stderr)
    Console().print(f"wrote {out}", soft_wrap=True, markup=False, highlight=False)
