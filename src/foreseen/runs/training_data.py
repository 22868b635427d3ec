"""The data of a run, opened by its settings: in the same way when it is trained and when it is loaded again."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from foreseen.data import load_datasets
from foreseen.data.types import Dataset, LoadOptions
from foreseen.errors import UserError
from foreseen.runs.plain import differences, to_plain
from foreseen.runs.train_config import TrainConfig


def load_options(config: TrainConfig[Any]) -> dict[str, Any]:
    """The settings that are options of `load_dataset`, by name."""
    return {field.name: getattr(config, field.name) for field in fields(LoadOptions)}


def open_data(config: TrainConfig[Any], loaded: Dataset | None = None) -> Dataset:
    """All data sets of `config.data` as one, at the size that is learned.

    Args:
        loaded: what they are, where they have been loaded already (full size).

    Raises:
        UserError: what `load_dataset` raises; a factor that is not a whole number from 1 to the smallest side; `loaded`
            that was read otherwise than the settings say.
    """
    factor = config.downscale
    if factor < 1:
        raise UserError(f"--downscale is {factor}: give a whole number from 1 up.")
    options = load_options(config)
    data = load_datasets(config.data, **options) if loaded is None else loaded
    if data.downscaled > 1:
        raise UserError(f"{data.path} is downscaled already: give it as it was loaded, and downscale as an option.")
    changed = differences(to_plain(data.options), to_plain(options))
    if changed:
        raise UserError(
            f"{data.path} was loaded with other options ({'; '.join(changed)}): give them to `load_dataset`."
        )
    smallest = min((min(frame.size) for frame in data.frames), default=0)
    if factor > smallest:
        raise UserError(f"--downscale is {factor}, and an image of {data.path} has a side of {smallest} pixels.")
    return data.downscale(factor)
