"""Progress on standard error: a bar on a terminal, else lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

ProgressCallback = Callable[[float, str], None]
LINE_SECONDS = 10.0


@contextmanager
def progress_bar(title: str) -> Iterator[ProgressCallback]:
    """Gives a function (share that is done 0..1, what is done now) that moves the bar; without a terminal it prints a
    line every ten seconds."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield _lines(title, console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[doing]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=1.0, doing="")
        yield lambda share, doing: bar.update(task, completed=share, doing=doing)


def _lines(title: str, console: Console) -> ProgressCallback:
    last = time.monotonic()

    def notify(share: float, doing: str) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS:
            last = time.monotonic()
            console.print(f"{title}: {share:.0%} {doing}", markup=False)

    return notify
