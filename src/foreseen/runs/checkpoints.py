"""Checkpoints: folders `step-000500`, there whole or not at all, and read as tensors and JSON only."""

from __future__ import annotations

import base64
import json
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from foreseen.errors import UserError
from foreseen.runs.files import full_disk_is_named, sync_folder, write_through

FOLDER = "checkpoints"
NUM_KEPT = 2
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_NAME = re.compile(r"step-(\d{6,})")
_BESIDE = ".writing-"


@dataclass(frozen=True)
class Checkpoint:
    """All that a run goes on from.

    Attributes:
        step: steps that were taken.
        train_seconds: time that they took (see `docs/training.md`).
        model: the method's parameters and buffers.
        optimizer: the optimiser's state by "parameter name/entry".
        samplers: one state of the sampler's generator for each process.
        random: states of the global generators by name, uint8.
        final: the run was finished here; such checkpoints are kept.
        versions: of what wrote it.
        memory_mb: the most that training has had in memory (see `machine.peak_memory_mb`).
    """

    step: int
    train_seconds: float
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    samplers: list[Tensor]
    random: dict[str, Tensor]
    final: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)


def write_checkpoint(run: Path, checkpoint: Checkpoint) -> Path:
    """Writes beside, waits for the disk, renames into place, then forgets all but the newest and the final.

    Raises `UserError` on a full disk; earlier checkpoints are untouched then.
    """
    folder = run / FOLDER
    target = folder / f"step-{checkpoint.step:06d}"
    beside = folder / f"{_BESIDE}{target.name}"
    with full_disk_is_named(target, "the checkpoints before it are intact; "):
        try:
            _write(beside, checkpoint)
        except OSError:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    if target.exists():  # left damaged by something else: a good one is written once only
        shutil.rmtree(target)
    beside.rename(target)
    sync_folder(folder)
    _forget(folder)
    return target


def _write(beside: Path, checkpoint: Checkpoint) -> None:
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    sums = {}
    for name, tensors in ((MODEL, checkpoint.model), (OPTIMIZER, checkpoint.optimizer)):
        content = save(_separate(tensors))
        sums[name] = zlib.crc32(content)
        write_through(beside / name, content)
    state = {
        "step": checkpoint.step,
        "train_seconds": checkpoint.train_seconds,
        "final": checkpoint.final,
        "versions": checkpoint.versions,
        "memory_mb": checkpoint.memory_mb,
        "crc32": sums,
        "samplers": [_encode(x) for x in checkpoint.samplers],
        "random": {name: _encode(x) for name, x in checkpoint.random.items()},
    }
    write_through(beside / STATE, json.dumps(state, indent=1).encode())
    sync_folder(beside)


def _separate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous on the CPU, none sharing memory with another: what the format takes."""
    seen: set[int] = set()
    out = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        out[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return out


def _forget(folder: Path) -> None:
    older = [path for _, path in list_checkpoints(folder.parent)[NUM_KEPT:]]
    for path in older:
        try:
            final = json.loads((path / STATE).read_text()).get("final", False)
        except (OSError, ValueError, AttributeError, RecursionError):
            final = False
        if not final:
            shutil.rmtree(path, ignore_errors=True)


def clean_up(run: Path) -> None:
    """Removes what a killed process left half-written."""
    for path in (run / FOLDER).glob(f"{_BESIDE}*"):
        shutil.rmtree(path, ignore_errors=True)


def list_checkpoints(run: Path) -> list[tuple[int, Path]]:
    """(step, folder) of every checkpoint, the newest first."""
    matches = [(_NAME.fullmatch(path.name), path) for path in (run / FOLDER).glob("step-*")]
    return sorted(((int(m.group(1)), path) for m, path in matches if m), reverse=True)


def newest_checkpoint(run: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that can be read, None where there is none at all.

    A damaged one is passed over, and `say` gets a line about it. Raises `UserError` where all are damaged.
    """
    found = list_checkpoints(run)
    for index, (_, path) in enumerate(found):
        try:
            return read_checkpoint(path)
        except UserError as error:
            if index + 1 < len(found):
                say(f"{error} Going on from {found[index + 1][1].name}.")
    if found:
        raise UserError(f"no checkpoint in {run / FOLDER} can be read: restore one, or train into a new folder.")
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads one checkpoint. Raises `UserError` naming the file that is absent or damaged."""
    state = _read_state(path)
    try:
        return Checkpoint(
            step=int(state["step"]),
            train_seconds=float(state["train_seconds"]),
            model=_read_tensors(path / MODEL, state["crc32"][MODEL]),
            optimizer=_read_tensors(path / OPTIMIZER, state["crc32"][OPTIMIZER]),
            samplers=[_decode(x) for x in state["samplers"]],
            random={name: _decode(x) for name, x in state["random"].items()},
            final=bool(state["final"]),
            versions=state["versions"],
            memory_mb={name: float(size) for name, size in dict(state.get("memory_mb", {})).items()},
        )
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise UserError(f"{path / STATE} is damaged ({type(error).__name__}: {error}).") from None


@contextmanager
def check_fits(checkpoint: Checkpoint, run: Path) -> Iterator[None]:
    """Raises `UserError` where a method cannot be what a config and a checkpoint say together."""
    try:
        yield
    except (UserError, RuntimeError, LookupError, TypeError, ValueError) as error:
        words = f"{error} is absent" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise UserError(
            f"the checkpoint of step {checkpoint.step} in {run} does not fit its config.json ({words}): restore both, "
            "or train into a new folder."
        ) from None


def _read_state(path: Path) -> dict[str, Any]:
    try:
        return json.loads((path / STATE).read_text())
    except OSError:
        raise UserError(f"{path / STATE} is absent or cannot be read.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path / STATE} is damaged ({error}).") from None


def _read_tensors(path: Path, crc32: int) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
    except OSError:
        raise UserError(f"{path} is absent or cannot be read.") from None
    if zlib.crc32(content) != crc32:
        raise UserError(f"{path} is damaged ({len(content)} bytes whose check sum is not the one in {STATE}).")
    try:
        return load(content)
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}).") from None


def _encode(state: Tensor) -> str:
    return base64.b64encode(state.cpu().numpy().tobytes()).decode()


def _decode(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype=np.uint8).copy())
