"""The device that a user names."""

from __future__ import annotations

import torch

from foreseen.errors import UserError, suggest

DEVICES = ("auto", "cpu", "cuda")


def find_device(name: str) -> str:
    """ "cpu" or "cuda"; "auto" is cuda where there is one. Raises `UserError`."""
    if name not in DEVICES:
        raise UserError(f"unknown device '{name}': {suggest(name, DEVICES)}")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device is available here: give --device cpu, or install a torch with CUDA.")
    return name
