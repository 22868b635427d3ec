"""The viewer of a running training, in a process of its own, which shows each new checkpoint.

Its failures (a browser that disconnects, a port that is not allowed) do not affect the training. It runs at low
priority, so that rendering for browsers uses only the time that the training leaves.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from foreseen.errors import UserError
from foreseen.training.signals import StopSignals

NICENESS = 10
"""Lowers the viewer's priority; larger gives the training more of the processor."""
HOST = "127.0.0.1"


class ViewerProcess:
    """While entered, shows the run in a folder. Raises `UserError` where the viewer is not installed."""

    def __init__(self, run: Path, port: int, host: str = HOST) -> None:
        if importlib.util.find_spec("viser") is None:
            raise UserError("--view needs viser, which is absent: pip install '.[view]' in foreseen's folder.")
        context = multiprocessing.get_context("spawn")
        self._lines, self._sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_serve, args=(run, host, port, self._sender), daemon=True)
        self._printer = threading.Thread(target=self._print, daemon=True)

    def __enter__(self) -> ViewerProcess:
        self._process.start()
        self._sender.close()
        self._printer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()
        self._printer.join()

    def wait_until_closed(self) -> None:
        """Keeps the viewer open, where it still runs, until it is stopped."""
        with StopSignals() as signals:
            if self._process.is_alive():
                print("the viewer stays open: Ctrl-C stops it.", flush=True)
            while self._process.is_alive() and not signals.received:
                self._process.join(0.2)

    def _print(self) -> None:
        """Prints the viewer's lines in this process, above its progress bar."""
        try:
            while True:
                print(self._lines.recv(), flush=True)
        except EOFError:
            self._lines.close()


def _serve(run: Path, host: str, port: int, lines: Connection) -> None:
    """Runs in the viewer's process, and ends with the training's process, which handles Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    from foreseen.cli.view import serve

    parent = multiprocessing.parent_process()
    try:
        serve((run,), host, port, follow=True, say=lines.send, stop=lambda: parent is None or not parent.is_alive())
    except UserError as error:
        lines.send(f"the viewer: {error} Training goes on without it.")
