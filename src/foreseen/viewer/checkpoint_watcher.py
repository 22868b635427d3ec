"""Runs that are still being trained: new checkpoints, as they come."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence

from foreseen.training.run import Run

POLL_SECONDS = 1.0
"""Seconds between two looks at a run's folder."""


class CheckpointWatcher:
    """While entered, reads new checkpoints in a thread of its own: nobody who looks around waits for them.

    Attributes:
        runs: as they are by now.
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
        told: set[str] = set()
        while not self._ended.wait(POLL_SECONDS):
            for index, run in enumerate(self.runs):
                try:
                    self.runs[index] = run.newer() or run
                except Exception as error:  # whatever a folder that is being written holds, the next one may be whole
                    line = f"foreseen: warning: {run.path} is shown as it was ({type(error).__name__}: {error})"
                    if line not in told:
                        print(line, file=sys.stderr, flush=True)
                    told.add(line)
