"""From a method's name and a data set to a trained run."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from accelerate import Accelerator

import foreseen
from foreseen.core.batch import Sampler, sampler_of
from foreseen.core.method import Method
from foreseen.core.requirements import check_requirements
from foreseen.core.scene_info import scene_info, training_frames, training_labels
from foreseen.data import load_dataset
from foreseen.data.splits import Splits, make_splits
from foreseen.data.types import Dataset
from foreseen.errors import UserError
from foreseen.methods import find_method
from foreseen.render import check_device
from foreseen.training.checkpoints import Checkpoint, check_fits, clean_up, newest_checkpoint
from foreseen.training.config import (
    FILE,
    LAYOUT,
    Precision,
    RunConfig,
    check_same_run,
    describe_data,
    describe_machine,
    describe_split,
    preset_config,
    read_config,
    write_config,
)
from foreseen.training.files import LOCK, full_disk_is_named, only_one_process
from foreseen.training.machine import current_commit
from foreseen.training.plain import with_overrides
from foreseen.training.processes import check_precision, find_device, make_accelerator
from foreseen.training.random_state import seed_everything
from foreseen.training.report import Reporter, readable_time
from foreseen.training.run import Run
from foreseen.training.trainer import CheckpointSchedule, Trainer, TrainingBudget

DEFAULT_MINUTES = 10.0


def train(
    method: str,
    dataset: Dataset | Path | str,
    out: Path | str,
    *,
    preset: str | None = None,
    overrides: dict[str, Any] | None = None,
    seed: int = 0,
    max_steps: int | None = None,
    max_minutes: float | None = None,
    observe_until: float | None = None,
    downscale: int = 1,
    device: str = "auto",
    precision: Precision = "fp32",
    max_grad_norm: float | None = None,
    memory_mb: int = 1024,
    save_every_seconds: float | None = 60.0,
    save_every_steps: int | None = None,
    log_every: int = 20,
    progress: bool = True,
) -> Run:
    """Trains a method on a data set, or goes on where the run in `out` stopped.

    Args:
        method: a name of `foreseen methods`.
        dataset: a folder, or what `load_dataset` returned (full size: `downscale` is applied here and
            recorded).
        out: the run's folder.
        preset: of the method; None takes its first one. `overrides` replaces fields of its config, dotted names reach
            nested ones.
        max_steps, max_minutes: the budget, whichever comes first; without either the method's
            `traits.default_steps`, else ten minutes. A finished run goes on when the budget is larger.
        observe_until: fraction of the time range after which nothing reaches training.
        device: "cpu", "cuda" or "auto".
        precision: "fp32", or "bf16" autocast.
        max_grad_norm: instead of the method's; 0 turns clipping off.
        memory_mb: for the training pictures; beyond it they are read when drawn.
        save_every_seconds, save_every_steps: of training, between checkpoints; None for never.
        log_every: steps between readings of the loss.
        progress: show progress on standard error.

    Raises:
        UserError: bad input, another run in `out`, a full disk, or training that diverged.
        TrainingInterrupted: SIGINT or SIGTERM came; the run is saved.
    """
    out, device = Path(out), find_device(device)
    _check_budget(max_steps, max_minutes)
    preset = preset or next(iter(find_method(method).load_presets()))
    config = with_overrides(preset_config(method, preset), overrides or {}, f"the config of '{method}'")
    data = _load(dataset, downscale)
    splits = make_splits(data, observe_until)
    requested = RunConfig(
        layout=LAYOUT,
        version=foreseen.__version__,
        commit=current_commit(),
        method=method,
        preset=preset,
        seed=seed,
        precision=precision,
        data=describe_data(data, splits, downscale, observe_until),
        split=describe_split(splits),
        scene=scene_info(data, splits),
        machine=describe_machine(),
        config=config,
    )
    _check_folder(out, requested)
    seed_everything(seed)
    built = find_method(method).load()(config, requested.scene)
    check_requirements(method, built.traits, requested.scene)
    _check_machine(built, method, device, precision)
    accelerator = make_accelerator(device, precision)
    first = accelerator.is_main_process
    _make_folder(out)
    reporter = Reporter(out / "logs" if first else None, log_every, progress and first)
    with only_one_process(out) if first else nullcontext(), reporter:
        run_config = _open_folder(out, requested, accelerator)
        sampler = _sampler(built, data, splits, seed, memory_mb, accelerator, reporter)
        if max_steps is None and max_minutes is None:
            max_steps, max_minutes = built.traits.default_steps, None if built.traits.default_steps else DEFAULT_MINUTES
        checkpoint = newest_checkpoint(out, reporter.say)
        warm_seconds = _make_ready(out, built, checkpoint, data, splits, reporter)
        trainer = Trainer(
            out,
            built,
            sampler,
            accelerator,
            TrainingBudget(max_steps, max_minutes),
            CheckpointSchedule(save_every_seconds, save_every_steps),
            seed,
            max_grad_norm,
        )
        trainer.train_seconds = warm_seconds
        _train(trainer, checkpoint, reporter)
    return Run(out, run_config, built.eval(), requested.scene, trainer.step, trainer.train_seconds, data, splits)


def _make_ready(
    out: Path,
    method: Method[Any, Any],
    checkpoint: Checkpoint | None,
    data: Dataset,
    splits: Splits,
    reporter: Reporter,
) -> float:
    """The warm start of a new run, whose seconds count as training, or the weights of one that goes on."""
    if checkpoint is not None:
        with check_fits(checkpoint, out):
            method.load_state_dict(checkpoint.model)
        return 0.0
    begin = time.perf_counter()
    frames = training_frames(splits)
    labels = training_labels(data, frames)
    for act in filter(None, (callback.before_training for callback in method.callbacks())):
        line = act(frames, labels)
        if line:
            reporter.say(line)
    return time.perf_counter() - begin


def _train(trainer: Trainer, checkpoint: Checkpoint | None, reporter: Reporter) -> None:
    if checkpoint is not None:
        trainer.restore(checkpoint, reporter.say)
        if trainer.progress >= 1:
            reporter.say(
                f"the run in {trainer.folder} is finished ({trainer.step} steps, "
                f"{readable_time(trainer.train_seconds)}): a larger --max-steps or --max-minutes goes on."
            )
            return
        reporter.say(f"going on from step {trainer.step}.")
    reporter.start(trainer.step, trainer.train_seconds)
    trainer.fit(reporter)
    spent = readable_time(trainer.train_seconds)
    reporter.say(f"trained {trainer.step} steps in {spent}; the run is in {trainer.folder}.")


def _check_budget(max_steps: int | None, max_minutes: float | None) -> None:
    for name, value in (("--max-steps", max_steps), ("--max-minutes", max_minutes)):
        if value is not None and not value > 0:
            raise UserError(f"{name} is {value}: give a number above 0.")


def _check_machine(built: Method[Any, Any], name: str, device: str, precision: str) -> None:
    """Before anything is written: whether this method learns on this device in this precision."""
    check_precision(precision, device)
    if precision == "bf16" and not built.traits.bf16:
        raise UserError(f"{name} learns in float32 with this preset: leave --precision out.")
    if built.traits.scene is not None:
        check_device(built.traits.scene, device)


def _load(dataset: Dataset | Path | str, downscale: int) -> Dataset:
    if downscale < 1:
        raise UserError(f"--downscale is {downscale}: give a whole number from 1 up.")
    loaded = dataset if isinstance(dataset, Dataset) else load_dataset(Path(dataset))
    smallest = min((min(f.size) for f in loaded.frames), default=0)
    if downscale > smallest:
        raise UserError(f"--downscale is {downscale}, and a picture of {loaded.path} has a side of {smallest} pixels.")
    return loaded.downscale(downscale)


def _check_folder(out: Path, requested: RunConfig) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: give a folder as --out.")
    if (out / FILE).is_file():
        check_same_run(out, read_config(out), requested)
    elif out.is_dir() and any(path.name not in ("logs", LOCK) for path in out.iterdir()):
        raise UserError(f"{out} is not empty and holds no run ({FILE} is absent): give another --out.")


def _make_folder(out: Path) -> None:
    with full_disk_is_named(out):
        out.mkdir(parents=True, exist_ok=True)


def _open_folder(out: Path, requested: RunConfig, accelerator: Accelerator) -> RunConfig:
    """Writes config.json where there is none; the first process does, the others wait."""
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        if not (out / FILE).is_file():
            write_config(out, requested)
        clean_up(out)
    accelerator.wait_for_everyone()
    return read_config(out)


def _sampler(
    method: Method[Any, Any],
    data: Dataset,
    splits: Splits,
    seed: int,
    memory_mb: int,
    accelerator: Accelerator,
    reporter: Reporter,
) -> Sampler:
    """Of the kind that the method learns from."""
    frames, info = training_frames(splits), scene_info(data, splits)
    reporter.say(f"reading {len(frames)} training frames.")
    rank = accelerator.process_index
    kind = sampler_of(method.batch_spec(0))
    return kind.of(data, frames, info, seed * 1009 + rank, memory_mb=memory_mb, say=reporter.say)
