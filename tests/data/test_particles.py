"""Particles with object ids beside pictures: an exact round trip, read when asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from foreseen.data import load_dataset
from foreseen.data.particles import particle_arrays
from foreseen.data.writer import DatasetWriter, WrittenFrame
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera

RNG = np.random.default_rng(0)
ARRAYS = {
    "times": np.array([0.0, 0.1, 1 / 3]),
    "positions": RNG.normal(size=(3, 7, 3)),
    "object_ids": np.array([1, 1, 2, 2, 2, 9, 300]),
    "velocities": RNG.normal(size=(3, 7, 3)).astype(np.float32),
}


def write(out: Path, **arrays: np.ndarray) -> Path:
    camera = Camera(torch.eye(4).double(), 10.0, 10.0, 4.0, 3.0, 8, 6, 0.1, 5.0)
    with DatasetWriter(out, near=1, far=2, bounds=[[0, 0, 0], [1, 1, 1]]) as writer:
        writer.add_sequence("s", particles=arrays)
        writer.add_sequence("empty")
        for sequence in ("s", "empty"):
            writer.add_frame(sequence, WrittenFrame(camera, "c", 0.0, np.zeros((6, 8, 3), np.uint8)))
    return out


def test_the_round_trip_is_exact(tmp_path: Path) -> None:
    sequence, empty = load_dataset(write(tmp_path / "out", **ARRAYS)).sequences
    assert empty.particles is None and sequence.particles is not None
    for name, array in ARRAYS.items():
        read = getattr(sequence.particles, name)
        assert np.array_equal(read, array) and read.dtype == array.dtype, name
    with pytest.raises(ValueError, match="read-only"):
        sequence.particles.positions[0] = 0


def test_velocities_may_be_absent_and_files_are_read_late(tmp_path: Path) -> None:
    arrays = {name: array for name, array in ARRAYS.items() if name != "velocities"}
    sequence = load_dataset(write(tmp_path / "out", **arrays)).sequences[0]
    assert sequence.particles is not None and sequence.particles.velocities is None
    later = load_dataset(write(tmp_path / "later", **arrays)).sequences[0].particles
    assert later is not None
    later.path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be read as particles"):
        _ = later.positions
    later.path.unlink()
    with pytest.raises(UserError, match="is absent: restore it, or remove"):
        load_dataset(tmp_path / "later")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": np.zeros((3, 6, 3))}, r"\[T, P, 3\] = \[3, 7, 3\]"),
        ({"velocities": np.zeros((2, 7, 3))}, r"\[T, P, 3\] = \[3, 7, 3\]"),
        ({"times": np.array([0.0, 0.2, 0.1])}, "times ascend"),
        ({"positions": np.full((3, 7, 3), np.nan)}, "values are finite"),
    ],
)
def test_arrays_that_do_not_belong_together(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        particle_arrays(**(ARRAYS | change))
