"""config.json: all that made a run, complete and re-loadable."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal, get_type_hints

import torch

import foreseen
from foreseen.core.scene_info import SceneInfo, training_frames
from foreseen.data.splits import Splits
from foreseen.data.types import Dataset
from foreseen.errors import UserError, suggest
from foreseen.methods import find_method
from foreseen.training.files import write_atomically
from foreseen.training.machine import cpu_name, usable_cores
from foreseen.training.plain import differences, from_plain, to_plain

FILE = "config.json"
LAYOUT = 1
"""Grows when a run's folder changes its form."""

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class DataSource:
    """Which data, and how it was read. `width` and `height` are those of the first training frame."""

    path: str
    format: str
    downscale: int
    observe_until: float | None
    background: tuple[float, float, float]
    width: int
    height: int


@dataclass(frozen=True)
class SplitRecord:
    """What was hidden from training."""

    hash: str
    observed_until: float
    protocol: str


@dataclass(frozen=True)
class MachineInfo:
    """Where the run was started."""

    cpu: str
    cores: int
    torch: str
    python: str
    platform: str


@dataclass(frozen=True)
class RunConfig:
    """The content of config.json.

    Attributes:
        layout: form of the run's folder.
        version, commit: of foreseen; commit where it runs from a git checkout.
        config: the method's own config, an instance of the preset's dataclass.
    """

    layout: int
    version: str
    commit: str | None
    method: str
    preset: str
    seed: int
    precision: Precision
    data: DataSource
    split: SplitRecord
    scene: SceneInfo
    machine: MachineInfo
    config: Any


def preset_config(method: str, preset: str) -> Any:
    """The config of a method's preset. Raises `UserError` for an unknown method or preset."""
    presets = find_method(method).load_presets()
    if preset not in presets:
        raise UserError(f"method '{method}' has no preset '{preset}': {suggest(preset, presets)}")
    return presets[preset]


def describe_data(dataset: Dataset, splits: Splits, downscale: int, observe_until: float | None) -> DataSource:
    """What is recorded of a data set that has been shrunk by `downscale` already."""
    width, height = training_frames(splits)[0].size
    path = str(Path(dataset.path).resolve())
    return DataSource(path, dataset.format, downscale, observe_until, dataset.background, width, height)


def describe_split(splits: Splits) -> SplitRecord:
    """What is recorded of the splits."""
    return SplitRecord(splits.hash, float(splits.observed_until), splits.protocol)


def describe_machine() -> MachineInfo:
    """This machine."""
    return MachineInfo(cpu_name(), usable_cores(), torch.__version__, platform.python_version(), platform.platform())


def write_config(folder: Path, config: RunConfig) -> None:
    """Writes config.json, whole or not at all."""
    write_atomically(folder / FILE, json.dumps(to_plain(config), indent=2).encode())


def read_config(folder: Path) -> RunConfig:
    """Reads config.json, which may be a stranger's. Raises `UserError` where it is absent, broken, of another version,
    or names data by a path that climbs."""
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{folder} holds no run ({FILE} is absent): give a folder that `foreseen train --out` wrote.")
    try:
        plain = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): restore it, or train into a new folder.") from None
    if not isinstance(plain, dict) or plain.get("layout") != LAYOUT:
        found = plain.get("version", "unknown") if isinstance(plain, dict) else "unknown"
        raise UserError(
            f"{folder} was written by foreseen {found}, whose runs this version "
            f"({foreseen.__version__}) does not read: install foreseen {found}, or train into a new folder."
        )
    return _typed(plain, str(path))


def _typed(plain: dict[str, Any], where: str) -> RunConfig:
    hints = get_type_hints(RunConfig)
    for name in hints:
        if name not in plain:
            raise UserError(f"{where}: {name} is absent: restore the file, or train into a new folder.")
    method, preset = (from_plain(str, plain[name], f"{where}: {name}") for name in ("method", "preset"))
    hints["config"] = type(preset_config(method, preset))
    config = RunConfig(**{name: from_plain(hints[name], plain[name], f"{where}: {name}") for name in hints})
    if ".." in PurePath(config.data.path.replace("\\", "/")).parts:
        raise UserError(
            f"{where}: data.path is {config.data.path!r}, which climbs out of its folder: write the full path, "
            "without '..'."
        )
    return config


def check_same_run(folder: Path, saved: RunConfig, requested: RunConfig) -> None:
    """Raises `UserError` where the run in `folder` is not the one asked for; the message names what
    differs."""
    for name in ("method", "preset"):
        old, new = getattr(saved, name), getattr(requested, name)
        if old != new:
            fix = f"give another --out, or ask for '{old}'"
            raise UserError(f"{folder} holds a run of the {name} '{old}', not '{new}': {fix}.")
    if saved.version != requested.version:
        raise UserError(
            f"{folder} was begun with foreseen {saved.version}; this is {requested.version}: give another --out, "
            f"or install foreseen {saved.version} to go on."
        )
    moved = not Path(saved.data.path).exists()
    changed = differences(_identity(saved, moved), _identity(requested, moved))
    if changed:
        raise UserError(
            f"{folder} was trained with other settings ({'; '.join(changed)}): give another --out, or the saved values."
        )


def _identity(run: RunConfig, moved: bool) -> dict[str, Any]:
    """What must not change when a run goes on; the place of data that `moved` may, if its splits are the
    same."""
    data = to_plain(run.data)
    if moved:
        del data["path"]
    plain = {"seed": run.seed, "precision": run.precision, "data": data, "split": run.split.hash}
    return to_plain({**plain, "config": run.config, "scene": run.scene})
