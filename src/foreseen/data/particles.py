"""Moving points with object ids, beside the pictures of a sequence: simulated matter, or tracked points."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from foreseen.errors import UserError


@dataclass(frozen=True)
class Particles:
    """P particles at T times, in a file that is read when asked for.

    The file is an .npz with `positions` `[T, P, 3]` in scene units, `object_ids` `[P]` whole numbers, `times` `[T]` in
    the data set's unit and, where they are known, `velocities` `[T, P, 3]` in scene units per time unit.
    """

    path: Path

    @property
    def positions(self) -> np.ndarray:
        """`[T, P, 3]`, in scene units."""
        return _read(self.path)["positions"]

    @property
    def object_ids(self) -> np.ndarray:
        """`[P]` int64: which object a particle belongs to; the ids of the masks where the data set has masks."""
        return _read(self.path)["object_ids"]

    @property
    def times(self) -> np.ndarray:
        """`[T]` ascending, in the data set's time unit."""
        return _read(self.path)["times"]

    @property
    def velocities(self) -> np.ndarray | None:
        """`[T, P, 3]`, in scene units per time unit; None where the file has none."""
        return _read(self.path).get("velocities")


def particle_arrays(
    times: np.ndarray, positions: np.ndarray, object_ids: np.ndarray, velocities: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The arrays of a file of particles.

    Raises:
        ValueError: shapes that do not belong together, values that are not finite, times that do not ascend.
    """
    arrays = {"times": np.asarray(times, np.float64), "positions": np.asarray(positions)}
    arrays["object_ids"] = np.asarray(object_ids, np.int64)
    if velocities is not None:
        arrays["velocities"] = np.asarray(velocities)
    shape = (len(arrays["times"]), len(arrays["object_ids"]), 3)
    if any(arrays[name].shape != shape for name in ("positions", "velocities") if name in arrays):
        raise ValueError(f"positions and velocities are [T, P, 3] = {list(shape)} for these times and object ids")
    if not all(np.isfinite(array).all() for array in arrays.values()) or (np.diff(arrays["times"]) <= 0).any():
        raise ValueError("values are finite, and times ascend")
    return arrays


@lru_cache(maxsize=4)
def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        read = particle_arrays(arrays["times"], arrays["positions"], arrays["object_ids"], arrays.get("velocities"))
    except FileNotFoundError:
        raise UserError(f"{path} is absent: restore it, or remove 'particles' of its sequence") from None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, AttributeError, TypeError) as error:
        raise UserError(f"{path} cannot be read as particles ({error}): replace the file") from None
    for array in read.values():
        array.flags.writeable = False  # all who ask share them
    return read
