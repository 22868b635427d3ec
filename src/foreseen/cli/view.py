"""`foreseen view RUN [RUN ...]` and `foreseen view DATA`: the viewer in the browser."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from foreseen.cli.options import call
from foreseen.errors import UserError

if TYPE_CHECKING:
    from foreseen.viewer.source import ViewerSource

PORT = 8080
POLL_SECONDS = 0.5
"""Seconds between two checks for a run's first checkpoint."""


def run(args: list[str]) -> None:
    """Views as `args` say."""
    call(view, args, prog="foreseen view")


def view(
    folders: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN|DATA")],
    sequence: str | None = None,
    until: float | None = None,
    host: str = "127.0.0.1",
    port: int = PORT,
    format: str | None = None,
    checkpoint: int | None = None,
    follow: bool = False,
    device: str = "cpu",
) -> None:
    """Show runs in the browser, from any view, at any time, past the last frame; or a data set, or Gaussians.

    Args:
        folders: Runs, shown side by side; or one data set's folder; or one splat file (.ply, .spz, .splat,
            .safetensors).
        sequence: Sequence that is shown first; default: the first learned one.
        until: Last time of the slider, in the data set's unit; default: 1.5 times the length of the data.
        host: Address to listen on; everybody who reaches it can look. Default: this machine only.
        port: Port; where it is taken, the next free one.
        format: Format of a data set; default: detected.
        checkpoint: Step of the runs' checkpoint; default: the last one.
        follow: For runs in training: wait for the first checkpoint, and show each new one.
        device: cpu, cuda or auto.
    """
    if not folders:
        raise UserError("foreseen view takes a run, a data set or a splat file: give its folder.")
    check_port("--port", port)
    if follow and checkpoint is not None:
        raise UserError("--follow shows the newest checkpoint and --checkpoint one of them: give one of the two.")
    from foreseen.training.signals import StopSignals

    with StopSignals() as signals:
        serve(
            folders,
            host,
            port,
            sequence=sequence,
            until=until,
            format=format,
            checkpoint=checkpoint,
            follow=follow,
            device=device,
            say=lambda line: print(f"{line} (Ctrl-C ends it)", flush=True),
            stop=lambda: signals.received,
        )
    print("ended.", flush=True)


def check_port(name: str, port: int) -> None:
    """Raises `UserError` for a number that is no port."""
    if not 0 <= port < 65536:
        raise UserError(f"{name} {port}: give a whole number from 0 to 65535.")


def serve(
    folders: Sequence[Path],
    host: str,
    port: int,
    *,
    sequence: str | None = None,
    until: float | None = None,
    format: str | None = None,
    checkpoint: int | None = None,
    follow: bool = False,
    device: str = "cpu",
    say: Callable[[str], None],
    stop: Callable[[], object],
) -> None:
    """Shows `folders`, with the options of `view`, until `stop` returns something true; the address is passed to
    `say`."""
    try:
        from foreseen.viewer.server import Viewer
    except ModuleNotFoundError as error:
        if error.name != "viser":
            raise
        raise UserError(
            "the viewer needs viser, which is absent: pip install '.[view]' in foreseen's folder."
        ) from None
    if follow and not _first_checkpoints(folders, say, stop):
        return
    with _maker(folders, until, format, checkpoint, follow, device) as make:

        def make_sources() -> Sequence[ViewerSource]:
            sources = make()
            for source in sources if sequence is not None else ():
                source.choose(str(sequence))
            return sources

        viewer = Viewer(make_sources, ", ".join(f.name for f in folders), host, port)
        say(f"open {viewer.address}")
        viewer.run(stop)


def _first_checkpoints(runs: Sequence[Path], say: Callable[[str], None], stop: Callable[[], object]) -> bool:
    """Waits until every run has a checkpoint, or `stop`. Returns whether all have one."""
    from foreseen.runs.checkpoints import list_checkpoints

    announced = False
    while not all(list_checkpoints(run) for run in runs):
        if stop():
            return False
        if not announced:
            say("the viewer waits for the first checkpoint.")
        announced = True
        time.sleep(POLL_SECONDS)
    return True


@contextmanager
def _maker(
    paths: Sequence[Path], until: float | None, format: str | None, checkpoint: int | None, follow: bool, device: str
) -> Iterator[Callable[[], Sequence[ViewerSource]]]:
    """Loads the data once, and gives a function that makes new sources for each browser."""
    from foreseen.data import load_dataset
    from foreseen.runs import load_run
    from foreseen.runs.config import FILE
    from foreseen.scenes.files import READERS, read_splats
    from foreseen.viewer.checkpoint_watcher import CheckpointWatcher
    from foreseen.viewer.sources import DatasetSource, RunSource, SplatFileSource

    if any((path / FILE).is_file() for path in paths):
        watcher = CheckpointWatcher([load_run(path, checkpoint, device=device) for path in paths])
        names = distinct([path.name or str(path.resolve().name) for path in paths])

        def make() -> Sequence[ViewerSource]:
            now = watcher.runs
            return [RunSource(now[i], name, until, partial(now.__getitem__, i)) for i, name in enumerate(names)]

        with watcher if follow else nullcontext():
            yield make
        return
    if len(paths) > 1:
        raise UserError("only runs can be shown side by side: give one data set or splat file.")
    path = paths[0]
    if path.is_file() and path.suffix.lower() in READERS:
        file = read_splats(path)
        yield lambda: [SplatFileSource(file)]
        return
    dataset = load_dataset(path, format=format)
    yield lambda: [DatasetSource(dataset)]


def distinct(names: Sequence[str]) -> list[str]:
    """Unique names: the second of the same name gets a number."""
    unique: list[str] = []
    for name in names:
        count = sum(n == name or n.startswith(f"{name} (") for n in unique)
        unique.append(f"{name} ({count + 1})" if count else name)
    return unique
