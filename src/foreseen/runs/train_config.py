"""`TrainConfig`: every setting of a training, as the command line, Python and config.json share it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePath
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro

from foreseen.errors import UserError, suggest
from foreseen.methods import find_method
from foreseen.runs.plain import dataclass_from_plain, from_plain, to_plain

FILE = "config.json"
"""In a run's folder. `foreseen.runs.config` reads and writes it."""
MethodConfig = TypeVar("MethodConfig")
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class TrainConfig(Generic[MethodConfig]):
    """Every setting of a training. config.json holds it whole; its fields are the options of `foreseen train` and the
    keyword arguments of `foreseen.train`."""

    method: tyro.conf.Suppress[str]
    """A name of `foreseen methods`."""
    data: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DATA [DATA ...]")]
    """Folders of the data sets; several are learned together."""
    preset: str
    """Preset of the method, whose values the method's own options replace; default: the method's first one."""
    config: MethodConfig
    """The method's own settings, an instance of the preset's dataclass."""
    seed: int = 0
    """Seed of all random numbers: initial weights, drawn pixels, noise."""
    max_steps: int | None = None
    """Stop after this many steps."""
    max_minutes: float | None = None
    """Stop after this much training time [min], or at max_steps, whichever comes first. Without both: the method's
    own number of steps, else 10 minutes. Learning rates decay over the budget."""
    observe_until: float | None = None
    """Fraction of the time range that training sees, 0..1; later frames are kept for the forecast. Default: all."""
    downscale: int = 1
    """Shrink the images by this whole factor."""
    format: str | None = None
    """Format of the data: nerfstudio, blender, nrnerf, llff, video or array. Default: detected."""
    background: tuple[float, float, float] | None = None
    """Red, green and blue in 0..1 behind transparent images. Default: what the data states, else white."""
    fps: float | None = None
    """Frames per second of a video, a folder of images or an array. Default: the video's own timestamps."""
    ndc: bool = True
    """Read llff and nrnerf in normalised device coordinates where their cameras allow it; without it in scene units,
    as Gaussians need them."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU where there is one."""
    precision: Precision = "fp32"
    """bf16 runs the losses under autocast: faster on GPUs that have it, less exact."""
    max_grad_norm: float | None = None
    """Scale the gradient of all parameters down to this norm; smaller is more cautious, 0 never scales. Default: the
    method's own."""
    memory_mb: int = 1024
    """Memory for training images [MB]. What does not fit is read again when it is drawn: slower, and pixels are drawn
    in another order."""
    save_every_seconds: float | None = 60.0
    """Training time between checkpoints [s]; none: only by steps."""
    save_every_steps: int | None = None
    """Also write a checkpoint every so many steps."""
    log_every: int = 20
    """Steps between two readings of the losses, for the progress line and TensorBoard. Smaller is slower."""
    progress: bool = True
    """Show progress on standard error."""


MAY_DIFFER = (
    "max_steps",
    "max_minutes",
    "device",
    "save_every_seconds",
    "save_every_steps",
    "log_every",
    "progress",
)
"""Fields that may have other values when a run is resumed. Any other difference is refused."""
BUDGET = ("max_steps", "max_minutes")
"""Fields that together say when training ends: whoever gives one of them gives both."""


def default_preset(method: str) -> str:
    """Name of a method's first preset. Raises `UserError` for an unknown method."""
    return next(iter(find_method(method).load_presets()))


def preset_config(method: str, preset: str) -> Any:
    """The settings of a method's preset. Raises `UserError` for an unknown method or preset."""
    presets = find_method(method).load_presets()
    if preset not in presets:
        raise UserError(f"method '{method}' has no preset '{preset}': {suggest(preset, presets)}")
    return presets[preset]


def default_config(method: str, data: Iterable[Path | str], preset: str | None = None) -> TrainConfig[Any]:
    """The settings of a method's preset, all others at their defaults."""
    preset = preset or default_preset(method)
    return TrainConfig(method, tuple(map(Path, data)), preset, preset_config(method, preset))


def with_options(config: TrainConfig[Any], options: Mapping[str, Any]) -> TrainConfig[Any]:
    """The settings with other values for the named fields, checked as config.json is. One part of the budget alone
    replaces the whole budget.

    Raises:
        UserError: an unknown name (the message suggests one), or a value of another type.
    """
    names = [f.name for f in fields(TrainConfig) if f.name not in ("method", "config")]
    for name in options:
        if name not in names:
            raise UserError(f"training has no option '{name}': {suggest(name, names)}")
    given = {name: to_plain(value) for name, value in options.items()}
    if any(name in options for name in BUDGET):
        given = {**dict.fromkeys(BUDGET), **given}
    merged = {f.name: to_plain(getattr(config, f.name)) for f in fields(config) if f.name != "config"} | given
    merged["config"] = config.config
    return dataclass_from_plain(TrainConfig, merged, "", {"config": Any})


def train_config_from_plain(plain: Any, where: str) -> TrainConfig[Any]:
    """Settings from what JSON holds. What is absent takes its default: of the method's settings that of the preset.

    Raises:
        UserError: an unknown or absent field, a value of another type, or data by a path that climbs; the message names
            the field.
    """
    if not isinstance(plain, dict):
        raise UserError(f"{where} is {plain!r}; it takes the settings of a training.")
    for name in ("method", "data"):
        if name not in plain:
            raise UserError(f"{where}.{name} is absent.")
    method = from_plain(str, plain["method"], f"{where}.method")
    preset = from_plain(str, plain.get("preset", default_preset(method)), f"{where}.preset")
    start = preset_config(method, preset)
    own = plain.get("config", {})
    complete = {**plain, "preset": preset, "config": _filled(to_plain(start), own)}
    config: TrainConfig[Any] = dataclass_from_plain(TrainConfig, complete, where, {"config": type(start)})
    for path in config.data:
        if ".." in PurePath(str(path).replace("\\", "/")).parts:
            raise UserError(
                f"{where}.data is {str(path)!r}, which climbs out of its folder: write the full path, without '..'."
            )
    return config


def read_train_config(path: Path) -> TrainConfig[Any]:
    """Settings from a JSON file: a run's config.json, or what `foreseen train --print-config` prints. Raises
    `UserError`."""
    try:
        plain = json.loads(path.read_text())
    except OSError:
        raise UserError(f"--config {path} cannot be read: give a run's config.json.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"--config {path} is not valid JSON ({error}).") from None
    if isinstance(plain, dict) and "train" in plain:
        return train_config_from_plain(plain["train"], f"{path}: train")
    return train_config_from_plain(plain, str(path))


def with_full_paths(config: TrainConfig[Any]) -> TrainConfig[Any]:
    """The settings with absolute data folders, so that the run is found from elsewhere."""
    return replace(config, data=tuple(path.resolve() for path in config.data))


def _filled(default: Any, given: Any) -> Any:
    """`given`, with what it lacks taken from `default`; both are what JSON holds."""
    if isinstance(default, dict) and isinstance(given, dict):
        return default | {name: _filled(default.get(name), value) for name, value in given.items()}
    return given
