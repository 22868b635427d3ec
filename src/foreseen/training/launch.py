"""From settings to a trained run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from foreseen.core.batch import Sampler, sampler_of
from foreseen.core.method import Method
from foreseen.core.requirements import check_requirements
from foreseen.core.scene_info import scene_info, training_frames, training_labels
from foreseen.data.splits import Splits, make_splits
from foreseen.data.types import Dataset
from foreseen.errors import UserError
from foreseen.methods import find_method
from foreseen.render import check_device
from foreseen.runs.checkpoints import Checkpoint, check_fits, clean_up, newest_checkpoint
from foreseen.runs.config import (
    FILE,
    LAYOUT,
    RunConfig,
    check_same_run,
    describe_dataset,
    describe_machine,
    describe_split,
    read_config,
    resumed,
    start_config,
    write_config,
)
from foreseen.runs.device import find_device
from foreseen.runs.durations import readable_time
from foreseen.runs.files import LOCK, full_disk_is_named, only_one_process
from foreseen.runs.machine import current_commit
from foreseen.runs.plain import with_overrides
from foreseen.runs.run import Run
from foreseen.runs.train_config import TrainConfig, with_full_paths, with_options
from foreseen.runs.training_data import open_data
from foreseen.training.processes import check_precision, make_accelerator
from foreseen.training.random_state import seed_everything
from foreseen.training.report import Reporter
from foreseen.training.trainer import Trainer, TrainingBudget
from foreseen.version import __version__

DEFAULT_MINUTES = 10.0
"""Training time [min] where neither the user nor the method says when to stop; see `TrainConfig.max_minutes`."""


def train(
    method: str,
    dataset: Dataset | Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    overrides: dict[str, Any] | None = None,
    **options: Any,
) -> Run:
    """Trains a method on a data set, or resumes the run in `out`.

    Args:
        method: a name of `foreseen methods`.
        dataset: a folder, several, or what `load_dataset` or `load_datasets` returned, whose options are recorded
            (full size: `downscale` is applied here and recorded).
        out: the run's folder.
        overrides: fields of the method's own config, which replace the preset's; dotted names reach nested ones.
        options: any other field of `TrainConfig`, such as `preset`, `seed` or `max_minutes`. Where `out` holds a run,
            what is not given keeps its saved value.

    Raises:
        UserError: bad input, another run in `out`, a full disk, or training that diverged.
        TrainingInterrupted: SIGINT or SIGTERM came; the run is saved.
    """
    loaded = dataset if isinstance(dataset, Dataset) else None
    if isinstance(dataset, Dataset):
        folders = list(dataset.paths or (dataset.path,))
        options = {**vars(dataset.options), **options}
    else:
        folders = [Path(dataset)] if isinstance(dataset, Path | str) else [Path(folder) for folder in dataset]
    start = start_config(Path(out), method, folders, options.pop("preset", None))
    assert start is not None, "a method was given"
    config = with_options(start, options)
    own = with_overrides(config.config, overrides or {}, f"the config of '{method}'")
    return run_training(replace(config, config=own), out, loaded)


def run_training(config: TrainConfig[Any], out: Path | str, dataset: Dataset | None = None) -> Run:
    """Trains by complete settings, or resumes the run in `out`, whose settings must be the same but for `MAY_DIFFER`.

    Args:
        out: the run's folder.
        dataset: what `config.data` names, where it has been loaded already (full size, with the options that `config`
            states).

    Raises:
        UserError, TrainingInterrupted: as `train`.
    """
    job = _prepare(with_full_paths(config), Path(out), dataset)
    check_precision(config.precision, job.device)
    seed_everything(config.seed)
    method = find_method(config.method).load()(config.config, job.record.scene)
    check_requirements(config.method, method.traits, job.record.scene)
    _check_machine(method, config, job.device)
    accelerator = make_accelerator(job.device, config.precision)
    first = accelerator.is_main_process
    with full_disk_is_named(job.out):
        job.out.mkdir(parents=True, exist_ok=True)
    reporter = Reporter(job.out / "logs" if first else None, config.log_every, config.progress and first)
    with only_one_process(job.out) if first else nullcontext(), reporter:
        record = _open_folder(job, accelerator)
        trainer = _fit(job, method, accelerator, reporter)
    return Run(
        job.out, record, method.eval(), record.scene, trainer.step, trainer.train_seconds, job.dataset, job.splits
    )


@dataclass(frozen=True)
class _Job:
    """What is trained where. `dataset` is shrunk already."""

    out: Path
    record: RunConfig
    dataset: Dataset
    splits: Splits
    device: str

    @property
    def config(self) -> TrainConfig[Any]:
        return self.record.train


def _prepare(config: TrainConfig[Any], out: Path, dataset: Dataset | None) -> _Job:
    """Loads the data and checks everything that can be checked before the method is built."""
    device = find_device(config.device)
    for name, value in (("--max-steps", config.max_steps), ("--max-minutes", config.max_minutes)):
        if value is not None and not value > 0:
            raise UserError(f"{name} is {value}: give a number above 0.")
    data = open_data(config, dataset)
    splits = make_splits(data, config.observe_until)
    record = RunConfig(
        layout=LAYOUT,
        version=__version__,
        commit=current_commit(),
        train=config,
        dataset=describe_dataset(data, splits),
        split=describe_split(splits),
        scene=scene_info(data, splits),
        machine=describe_machine(device),
    )
    _check_folder(out, record)
    return _Job(out, record, data, splits, device)


def _check_folder(out: Path, requested: RunConfig) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: give a folder as --out.")
    if (out / FILE).is_file():
        check_same_run(out, read_config(out), requested)
    elif out.is_dir() and any(path.name not in ("logs", LOCK) for path in out.iterdir()):
        raise UserError(f"{out} is not empty and holds no run ({FILE} is absent): give another --out.")


def _check_machine(method: Method[Any, Any], config: TrainConfig[Any], device: str) -> None:
    """Before anything is written: whether this method learns on this device in this precision."""
    if config.precision == "bf16" and not method.traits.bf16:
        raise UserError(f"{config.method} learns in float32 with this preset: leave --precision out.")
    if method.traits.scene is not None:
        check_device(method.traits.scene, device)


def _open_folder(job: _Job, accelerator: Accelerator) -> RunConfig:
    """Writes config.json; the first process does, the others wait. A resumed run keeps what was recorded at its start,
    but for the settings that may differ."""
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        saved = read_config(job.out) if (job.out / FILE).is_file() else None
        record = job.record if saved is None else resumed(saved, job.record)
        if record != saved:
            write_config(job.out, record)
        clean_up(job.out)
    accelerator.wait_for_everyone()
    return read_config(job.out)


def _fit(job: _Job, method: Method[Any, Any], accelerator: Accelerator, reporter: Reporter) -> Trainer:
    """Trains, from the newest checkpoint where there is one."""
    sampler = _sampler(job, method, accelerator, reporter)
    checkpoint = newest_checkpoint(job.out, reporter.say)
    seconds = _start_method(job, method, checkpoint, reporter)
    trainer = Trainer(job.out, method, sampler, accelerator, _budget(job.config, method), job.config)
    trainer.train_seconds = seconds
    if checkpoint is not None:
        trainer.restore(checkpoint, reporter.say)
        if trainer.progress >= 1:
            reporter.say(
                f"the run in {job.out} is finished ({trainer.step} steps, {readable_time(trainer.train_seconds)}): "
                "a larger --max-steps or --max-minutes continues it."
            )
            return trainer
        reporter.say(f"resuming from step {trainer.step}.")
    reporter.start(trainer.step, trainer.train_seconds)
    trainer.fit(reporter)
    spent = readable_time(trainer.train_seconds)
    reporter.say(f"trained {trainer.step} steps in {spent}; the run is in {job.out}.")
    return trainer


def _sampler(job: _Job, method: Method[Any, Any], accelerator: Accelerator, reporter: Reporter) -> Sampler:
    """Of the kind of batch that the method learns from; each process draws from a stream of its own."""
    frames = training_frames(job.splits)
    reporter.say(f"reading {len(frames)} training frames.")
    seed = job.config.seed * 1009 + accelerator.process_index
    kind = sampler_of(method.batch_spec(0))
    memory_mb = job.config.memory_mb
    return kind.of(job.dataset, frames, job.record.scene, seed, memory_mb=memory_mb, say=reporter.say)


def _budget(config: TrainConfig[Any], method: Method[Any, Any]) -> TrainingBudget:
    if config.max_steps is not None or config.max_minutes is not None:
        return TrainingBudget(config.max_steps, config.max_minutes)
    steps = method.traits.default_steps
    return TrainingBudget(steps, None if steps else DEFAULT_MINUTES)


def _start_method(job: _Job, method: Method[Any, Any], checkpoint: Checkpoint | None, reporter: Reporter) -> float:
    """The warm start of a new run, whose seconds are returned and count as training, or the weights of a resumed
    one."""
    if checkpoint is not None:
        with check_fits(checkpoint, job.out):
            method.load_state_dict(checkpoint.model)
        return 0.0
    begin = time.perf_counter()
    frames = training_frames(job.splits)
    labels = training_labels(job.dataset, frames)
    for act in filter(None, (callback.before_training for callback in method.callbacks())):
        line = act(frames, labels)
        if line:
            reporter.say(line)
    return time.perf_counter() - begin
