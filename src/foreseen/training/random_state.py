"""The global random generators: seeded, saved, restored."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def seed_everything(seed: int) -> None:
    """Seeds torch on every device, and NumPy's global generator."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)


def global_random_state() -> dict[str, Tensor]:
    """The states by name, uint8."""
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    packed = np.array([float(position), float(has_gauss), float(gauss)]).tobytes() + np.asarray(keys).tobytes()
    states = {"torch": torch.get_rng_state(), "numpy": torch.frombuffer(bytearray(packed), dtype=torch.uint8)}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_global_random_state(states: dict[str, Tensor]) -> None:
    """Goes on from saved states; a state of a device that is not here is passed over."""
    torch.set_rng_state(states["torch"])
    packed = states["numpy"].numpy().tobytes()
    position, has_gauss, gauss = np.frombuffer(packed[:24], dtype=np.float64)
    keys = np.frombuffer(packed[24:], dtype=np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(has_gauss), float(gauss)))
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
