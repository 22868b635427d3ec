"""The training loop. It knows the verbs of a method and nothing else about it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import accelerate
import torch
from accelerate import Accelerator
from torch import Tensor

from foreseen.core.batch import Sampler
from foreseen.core.method import Method
from foreseen.core.optimizer import reset_rows
from foreseen.runs.checkpoints import Checkpoint, check_fits, write_checkpoint
from foreseen.runs.machine import peak_memory_mb
from foreseen.runs.train_config import TrainConfig
from foreseen.training.optimizer import (
    explain_divergence,
    gradient_norm,
    optimizer_tensors,
    parameters_of,
    restore_optimizer,
    scale_gradients,
    update_rates,
)
from foreseen.training.processes import share_buffers, wrap_losses
from foreseen.training.random_state import global_random_state, restore_global_random_state
from foreseen.training.report import Reporter
from foreseen.training.signals import StopSignals, TrainingInterrupted
from foreseen.version import __version__


@dataclass(frozen=True)
class TrainingBudget:
    """When training ends: at `max_steps` or after `max_minutes` of training time, whichever comes first."""

    max_steps: int | None
    max_minutes: float | None

    def progress(self, step: int, seconds: float) -> float:
        """Share of the budget that is spent, 0..1."""
        by_steps = step / self.max_steps if self.max_steps else 0.0
        by_time = seconds / (60 * self.max_minutes) if self.max_minutes else 0.0
        return min(max(by_steps, by_time), 1.0)


class Trainer:
    """Trains one method in one run's folder, in one process or as one of several.

    `train_seconds` is the wall time of the steps: drawing the batch, what the method does between steps,
    forward, backward, update, and whatever is compiled on the way. Reading the data, writing checkpoints and
    reporting do not count. A resumed run continues it from the checkpoint.
    """

    def __init__(
        self,
        folder: Path,
        method: Method[Any, Any],
        sampler: Sampler,
        accelerator: Accelerator,
        budget: TrainingBudget,
        config: TrainConfig[Any],
    ) -> None:
        self.folder, self.sampler, self.accelerator = folder, sampler, accelerator
        self.budget, self.config = budget, config
        norm = config.max_grad_norm
        self.max_grad_norm = method.traits.max_grad_norm if norm is None else norm
        self.method = method.to(accelerator.device).train()
        self.losses = wrap_losses(self.method, accelerator)
        self.optimizer = self.method.optimizer()
        self.callbacks = self.method.callbacks()
        self.parameters = parameters_of(self.optimizer)
        self.step, self.train_seconds = 0, 0.0
        self._pixels = 0
        self._memory_mb: dict[str, float] = {}
        self._saved: tuple[int | None, float] = (None, 0.0)

    @property
    def alone(self) -> bool:
        """One process only."""
        return self.accelerator.num_processes == 1

    @property
    def progress(self) -> float:
        """Share of the budget that is spent, 0..1."""
        return self.budget.progress(self.step, self.train_seconds)

    def restore(self, checkpoint: Checkpoint, say: Callable[[str], None]) -> None:
        """Resumes from a checkpoint, whose weights the method has loaded already.

        Raises:
            UserError: it does not fit the method.
        """
        with check_fits(checkpoint, self.folder):
            restore_optimizer(self.optimizer, self.method, checkpoint.optimizer)
        self.step, self.train_seconds = checkpoint.step, checkpoint.train_seconds
        self._saved, self._memory_mb = (self.step, self.train_seconds), checkpoint.memory_mb
        restore_global_random_state(checkpoint.random)
        if len(checkpoint.samplers) == self.accelerator.num_processes:
            self.sampler.set_state(checkpoint.samplers[self.accelerator.process_index])
        else:
            self.sampler.generator.manual_seed(self._mixed_seed(self.accelerator.process_index))
            then, now = len(checkpoint.samplers), self.accelerator.num_processes
            say(f"the run had {then} processes and now has {now}: its batches are drawn in another order.")

    def fit(self, reporter: Reporter) -> None:
        """Trains until the budget is spent and writes the final checkpoint.

        Raises `TrainingInterrupted` after SIGINT or SIGTERM, with a checkpoint of the last step written, and
        `UserError` where a loss or gradient is not finite.
        """
        self.sampler.prepare(self.method.batch_spec(self.step))
        with StopSignals() as signals:
            while self.progress < 1:
                begin = time.perf_counter()
                values = self._take_step(reporter.say)
                self.train_seconds, stop = self._agree(
                    self.train_seconds + time.perf_counter() - begin, signals.received
                )
                self.step += 1
                if reporter.should_log(self.step):
                    pixels = self._pixels * self.accelerator.num_processes
                    reporter.read(self.step, self.progress, pixels, self.train_seconds, values)
                if stop:
                    self._leave(stop)
                if self._is_time_to_save():
                    self.save()
        self._finish(reporter.say)
        self.save(final=True)

    def save(self, final: bool = False) -> None:
        """Writes a checkpoint; only the first process does."""
        samplers = [self.sampler.state()] if self.alone else self._gather_samplers()
        self._saved = (self.step, self.train_seconds)
        peak = peak_memory_mb()
        self._memory_mb = {name: max(peak.get(name, 0.0), self._memory_mb.get(name, 0.0)) for name in peak}
        if self.accelerator.is_main_process:
            checkpoint = Checkpoint(
                step=self.step,
                train_seconds=self.train_seconds,
                model=self.method.state_dict(),
                optimizer=optimizer_tensors(self.optimizer, self.method),
                samplers=samplers,
                random=global_random_state(),
                final=final,
                memory_mb=self._memory_mb,
                versions={
                    "foreseen": __version__,
                    "torch": torch.__version__,
                    "accelerate": accelerate.__version__,
                },
            )
            write_checkpoint(self.folder, checkpoint)
        self.accelerator.wait_for_everyone()

    def _take_step(self, say: Callable[[str], None]) -> dict[str, Tensor]:
        method, step = self.method, self.step
        self._prepare_step(say)
        update_rates(self.optimizer, method, self.progress)
        batch = self.sampler.batch(method.batch_spec(step), step)
        if self.accelerator.device.type != "cpu":
            batch = batch.to(self.accelerator.device)
        self._pixels = batch.pixels
        random = torch.get_rng_state()
        self.optimizer.zero_grad(set_to_none=True)
        total, terms = self.losses(batch, step)
        self.accelerator.backward(total)
        norm = gradient_norm(self.parameters)
        # The one place of a step where the host waits for the device: a value that is not finite must not reach the
        # weights.
        loss, size = torch.stack([total.detach(), norm.to(total)]).tolist()
        if not (isfinite(loss) and isfinite(size)):
            raise explain_divergence(method, batch, step, random)
        if 0 < self.max_grad_norm < size:
            scale_gradients(self.parameters, self.max_grad_norm / size)
        self.optimizer.step()
        return {**terms, "_loss": total.detach(), "_gradient_norm": norm}

    def _prepare_step(self, say: Callable[[str], None]) -> None:
        for callback in self.callbacks:
            if callback.before_step is not None:
                line = self._alike(partial(callback.before_step, self.step, self.progress))
                if line:
                    say(f"step {self.step}: {line}")
            if callback.rewritten_rows is not None:
                reset_rows(self.optimizer, callback.rewritten_rows())

    def _finish(self, say: Callable[[str], None]) -> None:
        for act in filter(None, (callback.after_training for callback in self.callbacks)):
            line = self._alike(act)
            if line:
                say(line)

    def _alike(self, act: Callable[[], str | None]) -> str | None:
        """What the method does between steps, the same in every process: same buffers in, same random numbers."""
        if self.alone:
            return act()
        share_buffers(self.method.buffers())
        torch.manual_seed(self._mixed_seed(0))
        line = act()
        torch.manual_seed(self._mixed_seed(1 + self.accelerator.process_index))
        return line

    def _mixed_seed(self, stream: int) -> int:
        return (self.config.seed * 1_000_003 + self.step) * 1009 + stream

    def _agree(self, seconds: float, stop: int) -> tuple[float, int]:
        """All processes go by the first one's clock, and stop when any is told to."""
        if self.alone:
            return seconds, stop
        mine = seconds if self.accelerator.is_main_process else 0.0
        shared = torch.tensor([mine, float(stop)], dtype=torch.float64, device=self.accelerator.device)
        torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
        return shared[0].item(), int(shared[1].item())

    def _is_time_to_save(self) -> bool:
        seconds, steps = self.config.save_every_seconds, self.config.save_every_steps
        due = seconds is not None and self.train_seconds - self._saved[1] >= seconds
        return self.progress < 1 and (due or bool(steps and self.step % steps == 0))

    def _gather_samplers(self) -> list[Tensor]:
        states: list[Tensor] = [torch.empty(0)] * self.accelerator.num_processes
        torch.distributed.all_gather_object(states, self.sampler.state())
        return states

    def _leave(self, number: int) -> None:
        self.save(final=self.progress >= 1)
        where = f"after step {self.step}, which is saved in {self.folder}"
        name = signal.Signals(number).name
        raise TrainingInterrupted(number, f"stopped by {name} {where}: the same command resumes there.")
