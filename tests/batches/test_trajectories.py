"""Windows of particle trajectories, inside of the observed window of time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from foreseen.batches.trajectories import TrajectorySampler, TrajectorySpec
from foreseen.core.scene_info import scene_info, training_frames
from foreseen.data import load_dataset, make_splits
from foreseen.data.writer import DatasetWriter, WrittenFrame
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera

TIMES = np.arange(10) * 0.1


def write(out: Path, counts: tuple[int, ...] = (6, 6), velocities: bool = True) -> Path:
    """A sequence for each number of particles; 0: without any. x is 100 * sequence + particle, y is the time."""
    camera = Camera(torch.eye(4).double(), 10.0, 10.0, 4.0, 3.0, 8, 6, 0.1, 5.0)
    with DatasetWriter(out, near=1, far=2, bounds=[[0, 0, 0], [1, 1, 1]]) as writer:
        for index, count in enumerate(counts):
            positions = np.zeros((len(TIMES), count, 3))
            positions[..., 0], positions[..., 1] = 100 * index + np.arange(count), TIMES[:, None]
            particles = {"times": TIMES, "positions": positions, "object_ids": np.arange(count) // 2}
            if velocities:
                particles["velocities"] = positions + 0.5
            writer.add_sequence(f"s{index}", particles=particles if count else None)
            for time in TIMES:
                writer.add_frame(f"s{index}", WrittenFrame(camera, "c", time, np.zeros((6, 8, 3), np.uint8), "train"))
    return out


def sampler(folder: Path, until: float = 0.5) -> TrajectorySampler:
    data = load_dataset(folder)
    splits = make_splits(data, until)
    made = TrajectorySampler.of(data, training_frames(splits), scene_info(data, splits), 0)
    assert isinstance(made, TrajectorySampler)
    return made


def test_windows_are_what_the_file_holds(tmp_path: Path) -> None:
    made = sampler(write(tmp_path / "d"))
    batch = made.batch(TrajectorySpec(windows=50, steps=3, particles=4), 0)
    assert batch.positions.shape == (50, 3, 4, 3) and batch.pixels == 600
    assert batch.velocities is not None and torch.equal(batch.velocities, batch.positions + 0.5)
    assert torch.equal(batch.positions[..., 1], batch.times[:, :, None].expand(50, 3, 4))
    index = batch.positions[:, 0, :, 0] - 100 * batch.sequences[:, None]
    assert torch.equal(batch.object_ids, (index // 2).long())
    assert all(len(row.unique()) == 4 for row in index)
    assert float(batch.times.max()) == pytest.approx(0.4)  # 0.45 is the end of the window
    assert set(batch.sequences.tolist()) == {0, 1} and len(batch.times[:, 0].unique()) == 3
    everything = made.batch(TrajectorySpec(windows=2, steps=2, stride=3), 0)
    assert everything.positions.shape == (2, 2, 6, 3)
    assert torch.allclose(everything.times.diff(), torch.tensor(0.3))


def test_sequences_without_particles_or_velocities(tmp_path: Path) -> None:
    made = sampler(write(tmp_path / "d", (0, 3), velocities=False))
    batch = made.batch(TrajectorySpec(windows=4, steps=2), 0)
    assert batch.velocities is None and batch.sequences.tolist() == [1] * 4
    assert batch.to(torch.device("cpu")).velocities is None
    with pytest.raises(UserError, match="the training sequences have no particles"):
        sampler(write(tmp_path / "e", (0,)))


def test_what_cannot_be_drawn_is_named(tmp_path: Path) -> None:
    made = sampler(write(tmp_path / "d", (3, 6)))
    with pytest.raises(UserError, match="differ in their number of particles"):
        made.batch(TrajectorySpec(windows=40, steps=2), 0)
    with pytest.raises(UserError, match="a sequence has 3 particles, fewer than 5"):
        made.batch(TrajectorySpec(windows=40, steps=2, particles=5), 0)
    with pytest.raises(UserError, match=r"no sequence has 9 observed times in a row \(stride 1\)"):
        made.batch(TrajectorySpec(steps=9), 0)
