"""New checkpoints of runs that are still being trained."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence

from foreseen.runs.run import Run

POLL_SECONDS = 1.0
"""Seconds between two checks of a run's folder."""


class CheckpointWatcher:
    """While entered, reads new checkpoints in its own thread, so that nobody has to wait for them.

    Attributes:
        runs: with their newest checkpoints.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> CheckpointWatcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        warned: set[str] = set()
        while not self._ended.wait(POLL_SECONDS):
            for index, run in enumerate(self.runs):
                try:
                    self.runs[index] = run.newer() or run
                except Exception as error:  # the folder is being written: the next try may succeed
                    line = f"foreseen: warning: {run.path} keeps its last checkpoint ({type(error).__name__}: {error})"
                    if line not in warned:
                        print(line, file=sys.stderr, flush=True)
                    warned.add(line)
