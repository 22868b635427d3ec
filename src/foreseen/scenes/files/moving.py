"""Moving Gaussians in one safetensors file (docs/splat_files.md has the format in full)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from foreseen.errors import UserError
from foreseen.scenes.attribute_track import AttributeTrack
from foreseen.scenes.files.values import BLACK, SplatFile, checked, to_columns
from foreseen.scenes.gaussians import DEGREES, Gaussians
from foreseen.scenes.moving_gaussians import ATTRIBUTES, MovingGaussians

SUFFIX = ".safetensors"
KEY = "moving_gaussians"
VERSION = 1
SHAPES = {"means": (3,), "quaternions": (4,), "scales": (3,), "opacities": ()}


def read(path: Path) -> SplatFile:
    """Reads a file.

    Raises:
        UserError: no such file, another version, or tensors that do not fit one another.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = _header(path, (file.metadata() or {}).get(KEY))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path} is truncated or no safetensors file ({error}): copy or export it again.") from None
    first = _first(path, header, tensors)
    times = _times(path, tensors)
    tracks = {name: track for name in ATTRIBUTES if (track := _track(path, name, tensors, first, len(times)))}
    scene = MovingGaussians(first, times, tracks, header["time_unit"])
    return SplatFile(path, f"4D Gaussians, version {VERSION}", scene)


def encode(scene: MovingGaussians) -> bytes:
    """The content of a file. Raises `UserError` for Gaussians that cannot be written."""
    first = scene.first
    columns = to_columns(first)
    header = {
        "version": VERSION,
        "background": list(first.background),
        "antialiased": first.antialiased,
        "time_unit": scene.time_unit,
    }
    tensors = {"times": scene.times.to("cpu", torch.float64)}
    tensors |= {name: torch.from_numpy(value) for name, value in vars(columns).items() if value is not None}
    for name, track in scene.tracks.items():
        tensors[f"{name}.index"] = track.index.to("cpu", torch.int64)
        tensors[f"{name}.values"] = torch.from_numpy(checked(name, track.values))
    return save({name: value.contiguous() for name, value in tensors.items()}, {KEY: json.dumps(header)})


def _header(path: Path, text: str | None) -> dict[str, Any]:
    try:
        header = json.loads(text or "null")
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise UserError(f"{path} holds no moving Gaussians (no '{KEY}' in its metadata): give a file of that form.")
    if header.get("version") != VERSION:
        raise UserError(f"{path}: version {header.get('version')} of moving Gaussians, not {VERSION}: update foreseen.")
    background = header.get("background", BLACK)
    if not (
        isinstance(background, list | tuple)
        and len(background) == 3
        and all(isinstance(value, int | float) and 0 <= value <= 1 for value in background)
    ):
        raise _wrong(path, "background", "is not three numbers from 0 to 1")
    unit = header.get("time_unit", "")
    return {
        "background": tuple(float(value) for value in background),
        "antialiased": header.get("antialiased") is True,
        "time_unit": unit if isinstance(unit, str) else "",
    }


def _first(path: Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> Gaussians:
    harmonics = _tensor(path, "harmonics", tensors)
    count = len(harmonics) if harmonics.ndim == 3 else -1
    degrees = tuple((count, (degree + 1) ** 2, 3) for degree in DEGREES)
    if tuple(harmonics.shape) not in degrees:
        raise _wrong(path, "harmonics", f"has the shape {tuple(harmonics.shape)}, not [N, 1, 4, 9 or 16, 3]")
    values = {name: _tensor(path, name, tensors) for name in SHAPES}
    for name, value in values.items():
        if tuple(value.shape) != (count, *SHAPES[name]):
            raise _wrong(path, name, f"has the shape {tuple(value.shape)}, not {(count, *SHAPES[name])}")
    extras = _tensor(path, "extras", tensors) if "extras" in tensors else None
    if extras is not None and (extras.ndim != 2 or len(extras) != count):
        raise _wrong(path, "extras", f"has the shape {tuple(extras.shape)}, not [{count}, E]")
    first = Gaussians(
        **values,
        harmonics=harmonics,
        background=header["background"],
        extras=extras,
        antialiased=header["antialiased"],
        extra_names=(),
    )
    _require_valid(path, "at the first time", lambda: to_columns(first))
    return first


def _times(path: Path, tensors: dict[str, Tensor]) -> Tensor:
    times = _tensor(path, "times", tensors, torch.float64)
    if times.ndim != 1 or not len(times) or not bool(times.isfinite().all()) or not bool((times.diff() > 0).all()):
        raise _wrong(path, "times", "is not a row of finite, ascending numbers")
    return times


def _track(path: Path, name: str, tensors: dict[str, Tensor], first: Gaussians, count: int) -> AttributeTrack | None:
    if f"{name}.values" not in tensors:
        return None
    initial = getattr(first, name)
    if initial is None:
        raise _wrong(path, f"{name}.values", f"is there, but not '{name}'")
    values = _tensor(path, f"{name}.values", tensors)
    index = _tensor(path, f"{name}.index", tensors, torch.int64)
    if index.ndim != 1 or tuple(values.shape) != (count, len(index), *initial.shape[1:]):
        raise _wrong(path, f"{name}.values", f"has the shape {tuple(values.shape)}, which does not fit index and times")
    if len(index) and (int(index[0]) < 0 or int(index[-1]) >= len(initial) or not bool((index.diff() > 0).all())):
        raise _wrong(path, f"{name}.index", f"is not ascending within the {len(initial)} Gaussians")
    _require_valid(path, f"{name}.values", lambda: checked(name, values))
    return AttributeTrack(index, values)


def _require_valid(path: Path, what: str, check: Callable[[], object]) -> None:
    try:
        check()
    except UserError as error:
        raise UserError(f"{path}, {what}: {error}") from None


def _tensor(path: Path, name: str, tensors: dict[str, Tensor], dtype: torch.dtype = torch.float32) -> Tensor:
    if name not in tensors:
        raise _wrong(path, name, "is missing")
    if tensors[name].dtype != dtype:
        raise _wrong(path, name, f"is {tensors[name].dtype}, not {dtype}")
    return tensors[name]


def _wrong(path: Path, name: str, what: str) -> UserError:
    return UserError(f"{path}: '{name}' {what}: export it again.")
