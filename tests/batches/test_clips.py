"""Clips: frames in a row of one camera track, with or without known cameras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foreseen.batches.clips import ClipBatch, ClipSampler, ClipSpec, clip_indices
from foreseen.core.batch import sampler_of
from foreseen.core.scene_info import scene_info, training_frames
from foreseen.data import load_dataset, make_splits
from foreseen.errors import UserError


def sampler(folder: Path, until: float | None = None) -> tuple[ClipSampler, np.ndarray]:
    """Of an array of two sequences of twelve frames; time 4 is held out."""
    values = np.random.default_rng(0).normal(size=(2, 12, 2, 5, 6)).astype(np.float32)
    np.save(folder / "a.npy", values)
    data = load_dataset(folder / "a.npy")
    splits = make_splits(data, until)
    info = scene_info(data, splits)
    made = ClipSampler.of(data, training_frames(splits), info, 0)
    assert isinstance(made, ClipSampler) and sampler_of(ClipSpec()) is ClipSampler
    return made, values


def test_clips_are_frames_in_a_row(tmp_path: Path) -> None:
    made, values = sampler(tmp_path)
    spec = ClipSpec(clips=40, frames=3)
    batch = made.batch(spec, 0)
    assert batch.images.shape == (40, 3, 2, 5, 6) and batch.pixels == 40 * 3 * 5 * 6
    starts = set()
    for clip in range(40):
        sequence, times = int(batch.sequences[clip]), (batch.times[clip] * 11).round().int().tolist()
        assert times == list(range(times[0], times[0] + 3)) and 4 not in times
        assert np.array_equal(batch.images[clip].numpy(), values[sequence, times])
        starts.add((sequence, times[0]))
    assert {start for _, start in starts} == {0, 1, 5, 6, 7, 8, 9}
    assert batch.cameras[0] == (None, None, None)
    assert isinstance(batch.to(torch.device("cpu")), ClipBatch)


def test_strides_and_the_saved_state(tmp_path: Path) -> None:
    made, _ = sampler(tmp_path)
    state = made.state()
    first = made.batch(ClipSpec(clips=9, frames=3, stride=3), 0)
    steps = (first.times * 11).round().diff(dim=1)
    assert (steps == 3).all()
    made.set_state(state)
    assert torch.equal(made.batch(ClipSpec(clips=9, frames=3, stride=3), 1).images, first.images)


def test_nothing_after_the_observed_window_and_no_clip_that_long(tmp_path: Path) -> None:
    made, _ = sampler(tmp_path, until=0.5)
    assert float(made.batch(ClipSpec(clips=30, frames=2), 0).times.max()) <= 0.5
    with pytest.raises(UserError, match=r"no camera track has 8 training frames in a row \(stride 1\): ask"):
        made.batch(ClipSpec(frames=8), 0)


def test_frames_without_numbers_follow_by_time(tmp_path: Path) -> None:
    made, _ = sampler(tmp_path)
    bare = [replace(f, track_index=-1) for f in made.frames if f.sequence == "sequence-0"]
    assert clip_indices(bare[::-1], 3, 1).tolist()[0] == [10, 9, 8]
