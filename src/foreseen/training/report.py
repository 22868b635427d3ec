"""What a user sees while training, and what TensorBoard keeps."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from torch import Tensor

from foreseen.runs.durations import readable_time

SMOOTHING = 0.9
"""Weight of the past in the shown loss, 0..1; larger is smoother. Logs hold the values themselves."""
LINE_SECONDS = 10.0
"""Time between two lines without a terminal [s]."""


class Reporter:
    """Progress on standard error: a bar on a terminal, else a line every ten seconds; scalars in `logs`
    (None: none).

    Reading a tensor makes the host wait for the device, so values are read every `log_every` steps only.
    """

    def __init__(self, logs: Path | None, log_every: int, show: bool) -> None:
        self.log_every = log_every
        self.show = show
        self.console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self.smooth: dict[str, float] = {}
        self._logs = logs
        self._writer: Any = None
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._last_line = time.monotonic()
        self._since = (0, 0.0)

    def __enter__(self) -> Reporter:
        return self

    def start(self, step: int, seconds: float) -> None:
        """Training starts at `step`, after `seconds` of training before it. Later steps in the logs are removed."""
        self._since = (step, seconds)
        self._last_line = time.monotonic()
        if self._logs is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._logs), purge_step=step)
        if self.show and self.console.is_terminal:
            self._bar = Progress(TextColumn("{task.description}"), BarColumn(), console=self.console, transient=True)
            self._task = self._bar.add_task("training", total=1.0)
            self._bar.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._writer is not None:
            self._writer.close()

    def say(self, line: str) -> None:
        """A line above the bar."""
        if self.show:
            self.console.print(line, markup=False)

    def should_log(self, step: int) -> bool:
        """Whether this step's values are to be read."""
        return step % self.log_every == 0

    def read(self, step: int, progress: float, rays: int, seconds: float, values: dict[str, Tensor]) -> None:
        """Takes the values of step `step`, after `seconds` of training, and shows them."""
        numbers = dict(zip(values, torch.stack([v.float() for v in values.values()]).tolist(), strict=True))
        if "_mse" in numbers and "_psnr" not in numbers and numbers["_mse"] > 0:
            numbers["_psnr"] = -10 * math.log10(numbers["_mse"])
        for name, number in numbers.items():
            self.smooth[name] = SMOOTHING * self.smooth.get(name, number) + (1 - SMOOTHING) * number
            self._log(f"train/{name.lstrip('_')}", number, step)
        self._show(step, progress, rays, seconds)

    def _log(self, name: str, value: float, step: int) -> None:
        if self._writer is not None:
            self._writer.add_scalar(name, value, step)

    def _show(self, step: int, progress: float, rays: int, seconds: float) -> None:
        steps, spent = step - self._since[0], seconds - self._since[1]
        speed = steps * rays / spent if spent > 0 else 0.0
        self._log("speed/rays_per_second", speed, step)
        line = self.line(step, progress, speed, seconds)
        if self._bar is not None:
            self._bar.update(self._task, completed=progress, description=line)
        elif time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            self.say(line)
        self._since = (step, seconds)

    def line(self, step: int, progress: float, speed: float, seconds: float) -> str:
        """Such as "step 1200 · loss 0.0021 · PSNR 31.2 dB · 60,000 rays/s · 3 min 05 s left"."""
        parts = [f"step {step}", f"loss {self.smooth['_loss']:.4g}"]
        if "_psnr" in self.smooth:
            parts.append(f"PSNR {self.smooth['_psnr']:.1f} dB")
        parts.append(f"{speed:,.0f} rays/s")
        if progress > 0:
            parts.append(f"{readable_time(seconds / progress - seconds)} left")
        return " · ".join(parts)
