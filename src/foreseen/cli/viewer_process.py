"""A training that is looked at: the viewer in a process of its own, which shows each checkpoint as it comes.

Whatever happens there, a browser that leaves or a port that nobody may listen on, is no matter of the training's; and
as it runs at low priority, what is rendered for browsers takes what the training leaves.
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
        """Keeps the viewer open until somebody ends it, where it is still there."""
        with StopSignals() as signals:
            if self._process.is_alive():
                print("the viewer stays open: Ctrl-C ends it.", flush=True)
            while self._process.is_alive() and not signals.received:
                self._process.join(0.2)

    def _print(self) -> None:
        """What the viewer says, in this process: above its progress bar."""
        try:
            while True:
                print(self._lines.recv(), flush=True)
        except EOFError:
            self._lines.close()


def _serve(run: Path, host: str, port: int, lines: Connection) -> None:
    """The other process. It ends with the first one, which Ctrl-C is for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    from foreseen.cli.view import serve

    parent = multiprocessing.parent_process()
    try:
        serve((run,), host, port, follow=True, say=lines.send, stop=lambda: parent is None or not parent.is_alive())
    except UserError as error:
        lines.send(f"the viewer: {error} Training goes on without it.")
