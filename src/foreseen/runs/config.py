"""config.json: everything that made a run."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from foreseen.core.scene_info import SceneInfo, training_frames
from foreseen.data.splits import Splits
from foreseen.data.types import Dataset
from foreseen.errors import UserError
from foreseen.runs.files import write_atomically
from foreseen.runs.machine import cpu_name, usable_cores
from foreseen.runs.plain import dataclass_from_plain, differences, to_plain
from foreseen.runs.train_config import FILE, MAY_DIFFER, TrainConfig, default_config, train_config_from_plain
from foreseen.version import __version__

LAYOUT = 2
"""Form of a run's folder; grows when files or fields change. Other forms are not read. Version 0.1.0 wrote form 1."""


@dataclass(frozen=True)
class DatasetRecord:
    """What was read: format and background as they were found; `width` and `height` [pixels] of the first training
    frame, after `downscale`. `TrainConfig` says how it is read again."""

    format: str
    background: tuple[float, float, float]
    width: int
    height: int


@dataclass(frozen=True)
class SplitRecord:
    """Which frames were held out from training."""

    hash: str
    observed_until: float
    protocol: str


@dataclass(frozen=True)
class MachineInfo:
    """Where the run was started. `device` is "cpu" or "cuda"."""

    cpu: str
    cores: int
    torch: str
    python: str
    platform: str
    device: str = "cpu"


@dataclass(frozen=True)
class RunConfig:
    """The content of config.json.

    Attributes:
        layout: form of the run's folder.
        version, commit: of foreseen; commit where it runs from a git checkout.
        train: every setting of the training.
        scene: what the method may know about the data; with it a run loads without its data.
    """

    layout: int
    version: str
    commit: str | None
    train: TrainConfig[Any]
    dataset: DatasetRecord
    split: SplitRecord
    scene: SceneInfo
    machine: MachineInfo


def describe_dataset(dataset: Dataset, splits: Splits) -> DatasetRecord:
    """What is recorded of a data set that has been shrunk already."""
    width, height = training_frames(splits)[0].size
    return DatasetRecord(dataset.format, dataset.background, width, height)


def data_changes(saved: RunConfig, dataset: Dataset, splits: Splits) -> str:
    """In what the data, read again and shrunk, is not what the run was trained on; empty where it is the same."""
    if splits.hash != saved.split.hash:
        return "its splits differ"
    recorded = {**to_plain(saved.dataset), "ndc": saved.scene.ndc}
    return "; ".join(differences(recorded, {**to_plain(describe_dataset(dataset, splits)), "ndc": dataset.ndc}))


def describe_split(splits: Splits) -> SplitRecord:
    """What is recorded of the splits."""
    return SplitRecord(splits.hash, float(splits.observed_until), splits.protocol)


def describe_machine(device: str = "cpu") -> MachineInfo:
    """This machine, and the device on it that is used."""
    versions = (torch.__version__, platform.python_version(), platform.platform())
    return MachineInfo(cpu_name(), usable_cores(), *versions, device)


def write_config(folder: Path, config: RunConfig) -> None:
    """Writes config.json, whole or not at all."""
    write_atomically(folder / FILE, json.dumps(to_plain(config), indent=2).encode())


def read_config(folder: Path) -> RunConfig:
    """Reads config.json, which may come from somebody else. Raises `UserError` where it is absent, broken, of another
    version, or names data by a path that climbs."""
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{folder} holds no run ({FILE} is absent): give a folder that `foreseen train --out` wrote.")
    try:
        plain = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): restore it, or train into a new folder.") from None
    if not isinstance(plain, dict) or plain.get("layout") != LAYOUT:
        raise UserError(_other_layout(folder, plain if isinstance(plain, dict) else {}))
    if "train" not in plain:
        raise UserError(f"{path}: train is absent.")
    train = train_config_from_plain(plain["train"], f"{path}: train")
    return dataclass_from_plain(RunConfig, {**plain, "train": train}, str(path), {"train": Any})


def _other_layout(folder: Path, plain: dict[str, Any]) -> str:
    wrote, commit = plain.get("version", "unknown"), plain.get("commit")
    return (
        f"{folder} is a run of form {plain.get('layout', 'unknown')}, written by foreseen {wrote}"
        f"{f' (commit {commit})' if commit else ''}; this foreseen ({__version__}) reads form {LAYOUT}: use the one "
        "that wrote it, or train into a new folder."
    )


def start_config(
    out: Path, method: str | None, data: Iterable[Path | str] | None = None, preset: str | None = None
) -> TrainConfig[Any] | None:
    """The settings that others replace: those of the run in `out`, where there is one of this method and preset, else
    the preset's. None where neither `out` nor `method` says them."""
    saved = read_config(out).train if (out / FILE).is_file() else None
    if saved is not None and method in (None, saved.method) and preset in (None, saved.preset):
        return saved if data is None else replace(saved, data=tuple(map(Path, data)))
    return None if method is None else default_config(method, data or (), preset)


def check_same_run(folder: Path, saved: RunConfig, requested: RunConfig) -> None:
    """Raises `UserError` where the run in `folder` is not the one requested; the message names what differs. What
    `MAY_DIFFER` lists may."""
    for name in ("method", "preset"):
        old, new = getattr(saved.train, name), getattr(requested.train, name)
        if old != new:
            fix = f"give another --out, or ask for '{old}'"
            raise UserError(f"{folder} holds a run of the {name} '{old}', not '{new}': {fix}.")
    if saved.version != requested.version:
        raise UserError(
            f"{folder} was started with foreseen {saved.version}; this is {requested.version}: give another --out, "
            f"or install foreseen {saved.version} to resume."
        )
    moved = not all(path.exists() for path in saved.train.data)
    changed = differences(_identity(saved, moved), _identity(requested, moved))
    if changed:
        raise UserError(
            f"{folder} was trained with other settings ({'; '.join(changed)}): give another --out, or the saved values."
        )


def resumed(saved: RunConfig, requested: RunConfig) -> RunConfig:
    """The saved config with the settings that a resumed run may change."""
    changed = {name: getattr(requested.train, name) for name in MAY_DIFFER}
    return replace(saved, train=replace(saved.train, **changed))


def _identity(run: RunConfig, moved: bool) -> dict[str, Any]:
    """What must not change when a run is resumed. Data that has `moved` may lie elsewhere, if its splits are the
    same."""
    train = to_plain(run.train)
    for name in (*MAY_DIFFER, *(["data"] if moved else [])):
        del train[name]
    return {**train, **to_plain({"dataset": run.dataset, "split": run.split.hash, "scene": run.scene})}
