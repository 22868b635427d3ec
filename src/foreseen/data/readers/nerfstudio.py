"""nerfstudio's transforms.json with times. What our own writer wrote is read back exactly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from foreseen.data.extent import extent_from_cameras, with_extent
from foreseen.data.images import ImageCache
from foreseen.data.layers import FrameLayer, decoder_of, standard_layers
from foreseen.data.lens import LensDistortion
from foreseen.data.particles import Particles
from foreseen.data.readers.transforms import (
    FrameEntry,
    ascending,
    camera_names,
    entries,
    inside,
    intrinsics,
    one_line,
    picture_size,
    read_document,
    stated_size,
)
from foreseen.data.tracks import assign_tracks
from foreseen.data.types import SPLIT_HINTS, Dataset, Frame, GroundTruth, SceneExtent, Sequence
from foreseen.data.writer import BODY, BODY_WORDS, WRITER_VERSION
from foreseen.errors import UserError, suggest
from foreseen.geometry.cameras import Camera

FILE = "transforms.json"
SEQUENCE = "sequence-0"
"""The sequence's name where a foreign file has none."""

PINHOLES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")
DISTORTION = ("k1", "k2", "p1", "p2", "k3")
ARRAYS = (".npy", ".npz")


def read(path: Path, *, background: tuple[float, float, float] | None, cache: ImageCache) -> Dataset:
    """All sequences of a transforms.json.

    The block "foreseen" that our writer adds holds units, bounds, sequences and truth. Without it there is one
    sequence on a white background, whose near, far and bounds follow from the cameras (`extent_from_cameras`).
    Distortion k1, k2, p1, p2, k3 is taken out when pictures are loaded.

    Raises:
        UserError: a file that is absent, broken or of another size; a camera or time that is missing or
            impossible; a lens that is not read.
    """
    file = path / FILE
    document = read_document(file)
    block = _block(document, file)
    frame_entries = entries(document, file)
    on = background or _background(block, file)
    frames = [_frame(entry, _hint(entry), on, cache) for entry in frame_entries]
    frames = _with_tracks(_with_camera_names(frames), frame_entries)
    warnings = [*_ignored(frame_entries), *_unsorted(frames), *_without_frames(block, frames)]
    extent = _stated_extent(block, file)
    if extent is None:
        extent = extent_from_cameras([f.camera for f in frames])
        warnings.append(extent.sentence())
    return Dataset(
        path=path,
        name=_word(block, "name", file) or path.resolve().name,
        format="nerfstudio",
        sequences=_sequences(path, block, with_extent(frames, extent), file),
        background=on,
        near=extent.near,
        far=extent.far,
        bounds=extent.bounds,
        time_unit=_word(block, "time_unit", file) or "unknown",
        length_unit=_word(block, "length_unit", file) or "scene units",
        warnings=tuple(warnings),
    )


def _block(document: dict[str, Any], file: Path) -> dict[str, Any]:
    """The block that our writer adds; empty in foreign files."""
    block = document.get("foreseen", {})
    if not isinstance(block, dict):
        raise UserError(f"{file}: 'foreseen' is no JSON object: remove it")
    version = block.get("writer_version", WRITER_VERSION)
    if version != WRITER_VERSION:
        raise UserError(
            f"{file} was written in version {version} of the format, this foreseen reads version {WRITER_VERSION}:"
            " update foreseen, or write the data set again"
        )
    return block


def _word(block: dict[str, Any], name: str, file: Path) -> str:
    """A text of the block, empty where it is silent."""
    return one_line(str(block.get(name) or ""), f"{file}: foreseen.{name}")


def _numbers(block: dict[str, Any], name: str, shape: tuple[int, ...], file: Path) -> np.ndarray | None:
    """Finite numbers of the block, None where it is silent."""
    if name not in block:
        return None
    try:
        value = np.array(block[name], dtype=np.float64)
    except (TypeError, ValueError):
        value = np.empty(0)
    if value.shape != shape or not np.isfinite(value).all():
        kind = " x ".join(map(str, shape)) + " finite numbers" if shape else "a finite number"
        raise UserError(f"{file}: foreseen.{name} is {json.dumps(block[name])}: give {kind}")
    return value


def _background(block: dict[str, Any], file: Path) -> tuple[float, float, float]:
    value = _numbers(block, "background", (3,), file)
    return (1.0, 1.0, 1.0) if value is None else (float(value[0]), float(value[1]), float(value[2]))


def _stated_extent(block: dict[str, Any], file: Path) -> SceneExtent | None:
    near, far = (_numbers(block, name, (), file) for name in ("near", "far"))
    bounds = _numbers(block, "bounds", (2, 3), file)
    if near is None or far is None or bounds is None:
        return None
    if not 0 <= near < far or not (bounds[0] < bounds[1]).all():
        raise UserError(f"{file}: foreseen.near, far and bounds: give 0 <= near < far and bounds from low to high")
    return SceneExtent(float(near), float(far), torch.from_numpy(bounds).float())


def _frame(entry: FrameEntry, hint: str | None, background: tuple[float, float, float], cache: ImageCache) -> Frame:
    image = entry.picture()
    size = picture_size(image, stated_size(entry), entry.where)
    focal = intrinsics(entry, *size)
    lens = _lens(entry, focal, size)
    camera = Camera(entry.pose(), *(lens.pinhole() if lens else focal), *size, 0.0, 1.0)
    mask = entry.path("instance_mask_path")
    if mask is not None:
        picture_size(mask, size, f"its picture {image.name}")
    return Frame(
        sequence=entry.name("sequence") or SEQUENCE,
        calibration=camera,
        camera_id=entry.name("camera_id") or "",
        time=entry.number("time"),
        image_path=image,
        split=hint,
        layers=_layers(entry, mask, lens is not None),
        lens=lens,
        background=background,
        cache=cache,
    )


def _layers(entry: FrameEntry, mask: Path | None, distorted: bool) -> dict[str, FrameLayer]:
    """The layers that have a field of their own, and those of the field "layers"."""
    flow = None if distorted else _array(entry, "flow_file_path")
    layers = standard_layers(mask=mask, depth=_array(entry, "depth_file_path"), flow_forward=flow)
    stated = entry.fields.get("layers") or {}
    if not isinstance(stated, dict) or not all(isinstance(fields, dict) for fields in stated.values()):
        raise UserError(f"{entry.where}: 'layers' is no JSON object of objects: give name -> path, decoder")
    for name, fields in stated.items():
        layer = _layer(FrameEntry(fields, {}, entry.folder, f"{entry.where}: layers.{name}"))
        if not (distorted and decoder_of(layer.decoder).in_pixels):
            layers[one_line(name, f"{entry.where}: a name in 'layers'")] = layer
    return layers


def _layer(entry: FrameEntry) -> FrameLayer:
    path, decoder = entry.path("path"), entry.text("decoder")
    if path is None or decoder is None:
        raise UserError(f"{entry.where} lacks 'path' or 'decoder': add it")
    decoder_of(decoder)
    if not path.is_file():
        raise UserError(f"{path} is absent: restore the file or remove {entry.where}")
    return FrameLayer(path, decoder, stated_size(entry))


def _array(entry: FrameEntry, name: str) -> Path | None:
    """A file of numbers; pictures of depth have no unit that can be relied on."""
    path = entry.path(name)
    if path is None or path.suffix not in ARRAYS:
        return None
    if not path.is_file():
        raise UserError(f"{path} is absent: restore the file or remove '{name}' from {entry.where}")
    return path


def _lens(entry: FrameEntry, focal: tuple[float, float, float, float], size: tuple[int, int]) -> LensDistortion | None:
    model = entry.get("camera_model") or "OPENCV"
    if model not in PINHOLES:
        raise UserError(
            f"{entry.where}: camera_model '{model}' is not read: undistort the pictures to a pinhole camera first"
        )
    k1, k2, p1, p2, k3 = (entry.number(name, 0.0) for name in DISTORTION)
    for name in ("k4", "k5", "k6"):
        if entry.number(name, 0.0) != 0:
            raise UserError(
                f"{entry.where}: distortion '{name}' is not read: undistort the pictures to a pinhole camera first"
            )
    if not any((k1, k2, p1, p2, k3)):
        return None
    return LensDistortion(*focal, *size, (k1, k2, p1, p2, k3))


def _hint(entry: FrameEntry) -> str | None:
    """The frame's own mark, or the list of nerfstudio's that its file is in."""
    stated = entry.text("split")
    if stated is not None and stated not in SPLIT_HINTS:
        raise UserError(f"{entry.where}: split '{stated}' is unknown: {suggest(stated, SPLIT_HINTS)}")
    if stated is not None:
        return stated
    lists = {hint: entry.shared.get(f"{hint}_filenames") for hint in SPLIT_HINTS}
    name = entry.fields.get("file_path")
    return next((hint for hint, names in lists.items() if isinstance(names, list) and name in names), None)


def _with_camera_names(frames: list[Frame]) -> list[Frame]:
    """Foreign files name no cameras: then those of one pose and one set of intrinsics are one."""
    names = camera_names(f.camera for f in frames)
    return [f if f.camera_id else replace(f, camera_id=name) for f, name in zip(frames, names)]


def _with_tracks(frames: list[Frame], frame_entries: list[FrameEntry]) -> list[Frame]:
    """The tracks that the file names; else a stated `camera_id` is a physical camera; else tracks follow from the
    viewpoints."""
    stated = [entry.name("track") or entry.name("camera_id") for entry in frame_entries]
    derived = iter(assign_tracks([f for f, name in zip(frames, stated, strict=True) if not name]))
    return [replace(f, track=name) if name else next(derived) for f, name in zip(frames, stated, strict=True)]


def _ignored(frame_entries: list[FrameEntry]) -> list[str]:
    """Warnings about fields of a foreign file that are not used."""
    warnings = []
    if any(e.get("mask_path") is not None for e in frame_entries):
        warnings.append("mask_path (pixels to leave out) is not used; instance masks are instance_mask_path")
    points = frame_entries[0].shared.get("ply_file_path") if frame_entries else None
    if isinstance(points, str):
        warnings.append(
            f"ply_file_path is not read by itself: Gaussians start there with --cloud.points FOLDER/{points}"
        )
    for name in ("depth_file_path", "flow_file_path"):
        paths = [e.text(name) for e in frame_entries]
        if any(p is not None and Path(p).suffix not in ARRAYS for p in paths):
            warnings.append(f"{name}: only .npz and .npy are read; pictures are left out")
    if any(e.get("flow_file_path") is not None and any(e.get(k) for k in DISTORTION) for e in frame_entries):
        warnings.append("flow of distorted pictures is left out")
    return warnings


def _unsorted(frames: list[Frame]) -> list[str]:
    times: dict[tuple[str, str], list[float]] = {}
    for frame in frames:
        times.setdefault((frame.sequence, frame.camera_id), []).append(frame.time)
    # Cameras that have one frame each may be one moving camera: then the order of the whole file counts.
    videos = list(times.values()) if any(len(t) > 1 for t in times.values()) else [[f.time for f in frames]]
    in_order = all(ascending(video) for video in videos)
    return [] if in_order else ["times are not in order in the file; frames are sorted by time"]


def _without_frames(block: dict[str, Any], frames: list[Frame]) -> list[str]:
    """A warning where the block describes a sequence of which there is no frame: its name may be misspelt."""
    names = dict.fromkeys(frame.sequence for frame in frames)
    stated = block.get("sequences", {})
    lost = [name for name in stated if name not in names] if isinstance(stated, dict) else []
    known = ", ".join(names)
    return [f"foreseen.sequences.{name} has no frame and is left out; frames name {known}" for name in lost]


def _sequences(folder: Path, block: dict[str, Any], frames: list[Frame], file: Path) -> tuple[Sequence, ...]:
    stated = block.get("sequences", {})
    if not isinstance(stated, dict) or not all(isinstance(x, dict) for x in stated.values()):
        raise UserError(f"{file}: foreseen.sequences is no JSON object of objects: write the data set again")
    names = dict.fromkeys([*stated, *(f.sequence for f in frames)])
    by_name = {name: [f for f in frames if f.sequence == name] for name in names}
    return tuple(
        _sequence(folder, name, stated.get(name, {}), by_name[name], f"{file}: foreseen.sequences.{name}")
        for name in names
        if by_name[name]
    )


def _sequence(folder: Path, name: str, stated: dict[str, Any], frames: list[Frame], where: str) -> Sequence:
    split = stated.get("split")
    if split is not None and split not in SPLIT_HINTS:
        raise UserError(f"{where}.split '{split}' is unknown: {suggest(str(split), SPLIT_HINTS)}")
    backgrounds, stated_backgrounds = {}, stated.get("backgrounds") or {}
    if not isinstance(stated_backgrounds, dict):
        raise UserError(f"{where}.backgrounds is no JSON object: give the picture of each camera_id")
    for camera_id, text in stated_backgrounds.items():
        backgrounds[camera_id] = inside(folder, str(text), f"{where}.backgrounds.{camera_id}")
        camera = next((f.camera for f in frames if f.camera_id == camera_id), None)
        picture_size(backgrounds[camera_id], (camera.width, camera.height) if camera else None, where)
    particles = _particles(folder, stated["particles"], f"{where}.particles") if stated.get("particles") else None
    truth = _truth(folder, stated["truth"], f"{where}.truth") if stated.get("truth") else None
    ordered = sorted(frames, key=lambda f: (f.time, f.camera_id))
    return Sequence(name, tuple(ordered), truth, split, backgrounds, particles)


def _particles(folder: Path, text: Any, where: str) -> Particles:
    path = inside(folder, str(text), where)
    if not path.is_file():
        raise UserError(f"{path} is absent: restore it, or remove {where}")
    return Particles(path)


def _bodies(names: Any, where: str) -> tuple[str, ...]:
    """Names of bodies, checked: tables, plots and pages show them."""
    if not isinstance(names, list):
        raise UserError(f"{where} is no list of names: write the data set again")
    for name in names:
        if not isinstance(name, str) or not BODY.fullmatch(name):
            raise UserError(f"{where} holds {name!r:.80}: give names of {BODY_WORDS}")
    return tuple(names)


def _truth(folder: Path, stated: dict[str, Any], where: str) -> GroundTruth:
    try:
        path = inside(folder, stated["arrays"], f"{where}.arrays")
        name = "law" if "law" in stated else "dynamics"  # "law" in data sets written by version 0.1
        dynamics, bodies = one_line(str(stated[name]), f"{where}.{name}"), stated["bodies"]
        constants = {str(key): float(value) for key, value in dict(stated["constants"]).items()}
    except (KeyError, TypeError, ValueError):
        missing = "'arrays', 'dynamics', 'bodies' or 'constants'"
        raise UserError(f"{where} lacks {missing} (numbers by name): write the data set again") from None
    bodies = _bodies(bodies, f"{where}.bodies")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        state = {name.removeprefix("state."): a for name, a in arrays.items() if name.startswith("state.")}
        shape = (len(arrays["times"]), len(bodies), 3)
        if arrays["positions"].shape != shape or arrays["velocities"].shape != shape:
            raise ValueError("bodies and arrays do not belong together")
        _check_numbers(arrays)
        return GroundTruth(
            arrays["times"], bodies, arrays["positions"], arrays["velocities"], dynamics, constants, state
        )
    except FileNotFoundError:
        raise UserError(f"{path} is absent: restore it, or remove {where}") from None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, AttributeError, TypeError) as error:
        raise UserError(f"{path} cannot be read as truth ({error}): restore it, or remove {where}") from None


def _check_numbers(arrays: dict[str, np.ndarray]) -> None:
    """Raises `ValueError` unless times ascend, and times, positions and velocities are finite numbers."""
    for name in ("times", "positions", "velocities"):
        if arrays[name].dtype.kind not in "iuf" or not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} are not finite numbers")
    times = arrays["times"]
    if times.ndim != 1 or not len(times) or (np.diff(times) <= 0).any():
        raise ValueError("times are not one ascending row")
