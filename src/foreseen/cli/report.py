"""`foreseen report RUN [RUN ...]`: one page that tells what was learned, and how good it is."""

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
    """Write one self-contained page on runs: what was trained on what, clips beside the truth, scores beside
    forecasts that learn nothing, how they fade with time, the learned law, cost.

    Runs that differ in their seeds alone are taken together, runs on the same data stand side by side. Nothing is
    written into their folders.

    Args:
        folders: Folders that `foreseen train` wrote.
        out: The page.
        clips: Films of each method at most; 0 leaves them out.
        frames: Frames of a film at most.
        analyze: Study the learned law where `foreseen analyze` did not.
        device: That renders the films: cpu, cuda or auto.
    """
    from rich.console import Console

    from foreseen.report import write_report

    with progress_bar("report") as progress:
        write_report(folders, out, clips=clips, frames=frames, analyze=analyze, device=device, progress=progress)
    size = out.stat().st_size / 2**20
    Console().print(f"wrote {out} ({size:.1f} MB): open it in a browser", soft_wrap=True, markup=False)
