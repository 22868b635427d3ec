"""Batches of whole pictures, and parameters whose rows begin anew between steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_rays import INFO, frames, noise
from torch import nn

from foreseen.batches.images import ImageSampler, ImageSpec
from foreseen.core.optimizer import reset_rows
from foreseen.data.types import Frame


@pytest.fixture
def seen(tmp_path: Path) -> list[Frame]:
    return frames(tmp_path, [noise(10, 14, seed=0), noise(8, 6, seed=1), noise(10, 14, seed=2)])


@pytest.mark.parametrize("memory_mb", [1024, 0])
def test_pictures_come_whole_with_their_cameras_and_times(seen: list[Frame], memory_mb: int) -> None:
    sampler = ImageSampler(seen, ["one"], INFO, 3, memory_mb)
    batch = sampler.batch(ImageSpec(12), 0)
    assert len(batch.images) == len(batch.cameras) == len(batch.alphas) == len(batch.times) == 12
    assert set(batch.times.tolist()) == {0.0, 0.5, 1.0}
    assert batch.pixels == sum(c.width * c.height for c in batch.cameras)
    for image, alpha, camera, time, index in zip(
        batch.images, batch.alphas, batch.cameras, batch.times.tolist(), batch.time_indices.tolist()
    ):
        frame = next(f for f in seen if f.time == time)
        assert camera is frame.camera and INFO.times[0][index] == time
        rgba = torch.from_numpy(np.asarray(frame.rgba()))
        expected = rgba[..., :3] * rgba[..., 3:] + (1 - rgba[..., 3:]) * torch.tensor(INFO.background)
        assert torch.allclose(image, expected, atol=1e-6) and torch.allclose(alpha, rgba[..., 3], atol=1e-6)


def test_the_state_goes_on_with_the_same_pictures(seen: list[Frame]) -> None:
    sampler = ImageSampler(seen, ["one"], INFO, 3)
    spec = ImageSpec(5)
    first = sampler.batch(spec, 0).times
    state = sampler.state()
    after = sampler.batch(spec, 1).times
    again = ImageSampler(seen, ["one"], INFO, 99)
    again.set_state(state)
    assert torch.equal(again.batch(spec, 1).times, after)
    assert torch.equal(ImageSampler(seen, ["one"], INFO, 3).batch(spec, 0).times, first)


def test_what_is_forgotten_begins_anew_and_the_rest_goes_on() -> None:
    weight, other = nn.Parameter(torch.ones(4, 2)), nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight, other], lr=0.1)
    (weight.square().sum() + other.sum()).backward()
    optimizer.step()
    before = {k: v.clone() for k, v in optimizer.state[weight].items()}
    reset_rows(optimizer, [(weight, torch.tensor([1, 3]))])
    for key in ("exp_avg", "exp_avg_sq"):
        now = optimizer.state[weight][key]
        assert (now[[1, 3]] == 0).all() and torch.equal(now[[0, 2]], before[key][[0, 2]]) and (now[0] != 0).all()
        assert (optimizer.state[other][key] != 0).all()
    assert optimizer.state[weight]["step"] == before["step"]
    reset_rows(optimizer, [(nn.Parameter(torch.ones(2)), torch.tensor([0]))])  # never had a gradient
