"""`foreseen inspect DATA`: what is in a data set or a file of Gaussians, and warnings of likely errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from foreseen.cli.options import call
from foreseen.cli.progress import progress_bar
from foreseen.errors import UserError

if TYPE_CHECKING:
    from foreseen.data.inspection_report import InspectionSection


def run(args: list[str]) -> None:
    """Inspects as `args` say."""
    call(inspect, args, prog="foreseen inspect")


def inspect(
    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")],
    out: Path = Path(),
    format: str | None = None,
    observe_until: float | None = None,
    fps: float | None = None,
) -> None:
    """Show what is in a data set, plot its cameras, and warn of likely errors; or the same for a file of Gaussians,
    without a plot.

    Every image and layer is decoded. Nothing is written into the data set's folder.

    Args:
        data: The data set's folder, a video, an array [N, T, C, H, W] (.npy, .npz), or a splat file (.ply, .spz,
            .splat, .safetensors).
        out: Folder for the plot, inspect-NAME.png; default: the current one.
        format: nerfstudio, blender, llff, nrnerf, video or array; default: detected.
        observe_until: Fraction of the time range that training sees; later frames are the forecast.
        fps: Frames per second of a video, a folder of images or an array; default: the video's own timestamps.
    """
    from foreseen.data import load_dataset
    from foreseen.data.inspection import inspect_dataset
    from foreseen.data.inspection_plot import draw_inspection
    from foreseen.runs.files import write_atomically
    from foreseen.scenes.files import READERS

    if data.is_file() and data.suffix.lower() in READERS:
        from foreseen.data.inspection_splats import inspect_splats

        if format is not None or observe_until is not None:
            raise UserError(f"{data} is a file of Gaussians: leave --format and --observe-until out.")
        print_checks(data.name, inspect_splats(data))
        return
    dataset = load_dataset(data, format=format, fps=fps, memory_budget_mb=256)
    picture = _target(out, dataset.path, dataset.name)
    with progress_bar("inspect") as progress:
        inspection = inspect_dataset(dataset, observe_until, progress)
    print_checks(inspection.dataset.name, inspection.checks)
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(picture, draw_inspection(inspection))
    print(f"wrote {picture}")


def _target(out: Path, data: Path, name: str) -> Path:
    """File of the plot. Raises `UserError` for a folder in the data set, or a file."""
    if out.is_file():
        raise UserError(f"--out {out} is a file: give a folder for the plot")
    if out.resolve().is_relative_to(data.resolve()):
        raise UserError(f"the plot would lie in the data set {data}, into which nothing is written: give another --out")
    return out / f"inspect-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}.png"  # the name may come from the file


def print_checks(title: str, checks: Sequence[InspectionSection]) -> None:
    """Prints the results as tables, and the warnings."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(title=escape(title), box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        table.add_row(f"[cyan]{check.title}[/]", "")
        for name, value in check.rows:
            table.add_row(f"  {escape(name)}", escape(value))
    console.print(table)
    warnings = [warning for check in checks for warning in check.warnings]
    console.print("\n[bold]Warnings[/]" if warnings else "\nNo warnings.")
    for warning in warnings:
        console.print(f"  [yellow]-[/] {escape(warning)}", soft_wrap=True, highlight=False)
