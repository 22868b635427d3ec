"""`foreseen report RUN [RUN ...]`: an HTML page on what was learned, and how good it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from foreseen.cli.options import call
from foreseen.cli.progress import progress_bar


def run(args: list[str]) -> None:
    """Reports as `args` say."""
    call(report, args, prog="foreseen report")


def report(
    folders: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")],
    out: Path = Path("report.html"),
    clips: int = 2,
    frames: int = 60,
    analyze: bool = True,
    device: str = "cpu",
) -> None:
    """Write one self-contained HTML page on runs: training, clips beside the truth, scores beside baselines and
    over time, learned dynamics, cost.

    Runs that differ in their seeds alone are one group; groups on the same data are shown side by side. Nothing is
    written into the runs' folders.

    Args:
        folders: Folders that `foreseen train` wrote.
        out: The page, a name ending in .html.
        clips: Upper bound of the clips of each method; 0 leaves clips out.
        frames: Upper bound of the frames of a clip.
        analyze: Analyze learned dynamics of runs without analysis.json.
        device: Renders the clips: cpu, cuda or auto.
    """
    from rich.console import Console

    from foreseen.report import write_report

    with progress_bar("report") as progress:
        write_report(folders, out, clips=clips, frames=frames, analyze=analyze, device=device, progress=progress)
    size = out.stat().st_size / 2**20
    Console().print(f"wrote {out} ({size:.1f} MB): open it in a browser", soft_wrap=True, markup=False)
