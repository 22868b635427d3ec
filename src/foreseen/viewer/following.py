"""Runs that are still being trained: new checkpoints, as they come."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from foreseen.training.run import Run

PAUSE = 1.0
"""Seconds between two looks at a run's folder."""


class Following:
    """While entered, reads new checkpoints in a thread of its own: nobody who looks around waits for them.

    Attributes:
        runs: as they are by now.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Following:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(PAUSE):
            self.runs[:] = [run.newer() or run for run in self.runs]
