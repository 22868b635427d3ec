"""Batches that carry named layers and the neighbours of their frames, within the same memory budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_rays import INFO, camera, frames, noise

from foreseen.batches.images import ImageSampler, ImageSpec
from foreseen.batches.rays import RaySampler, RaySpec
from foreseen.data.layers import standard_layers
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.geometry.ndc import NDC

H, W = 8, 10


def film(folder: Path) -> list[Frame]:
    """Three frames of one moving camera; the last has no flow."""
    given = frames(folder, [noise(H, W, seed=i) for i in range(3)], [camera(i, width=W, height=H) for i in range(3)])
    filmed = []
    for index, one in enumerate(given):
        mask, flow = folder / f"m{index}.npy", folder / f"f{index}.npy"
        np.save(mask, np.random.default_rng(index).random((H, W)) > 0.5)
        np.save(flow, np.random.default_rng(index).random((H, W, 2), np.float32))
        layers = standard_layers(motion_mask=mask, flow_forward=flow if index < 2 else None)
        filmed.append(replace(one, layers=layers, track="moving", track_index=(0, 1, 3)[index]))
    return filmed


@pytest.mark.parametrize("memory_mb", [64, 0])
def test_rays_carry_the_layers_of_their_pixels(tmp_path: Path, memory_mb: int) -> None:
    given = film(tmp_path)
    sampler = RaySampler(given, ("one",), INFO, 0, memory_mb)
    batch = sampler.batch(RaySpec(rays=60, layers=("motion_mask", "flow_forward"), neighbours=True), 0)
    assert batch.neighbours is not None
    pixels = batch.neighbours.own_pixels.long()
    for n in range(60):
        own, (x, y) = given[int(batch.time_indices[n])], pixels[n].tolist()
        mask, flow = own.layer("motion_mask"), own.layer("flow_forward")
        assert mask is not None and batch.layers["motion_mask"][n] == mask[y, x]
        if flow is None:
            assert bool(batch.layers["flow_forward"][n].isnan().all())
        else:
            assert torch.equal(batch.layers["flow_forward"][n], flow[y, x])
        assert torch.allclose(batch.colors[n], replace(own, background=INFO.background).image()[y, x], atol=1e-6)


def test_layers_and_neighbours_change_no_draw(tmp_path: Path) -> None:
    given = film(tmp_path)
    for fields in ({}, {"frames": 1, "foreground": 0.5}, {"background_only": True}):
        plain, rich = (RaySampler(given, ("one",), INFO, 5) for _ in range(2))
        for step in range(2):
            a = plain.batch(RaySpec(rays=30, **fields), step)
            b = rich.batch(RaySpec(rays=30, layers=("motion_mask",), neighbours=True, **fields), step)
            assert torch.equal(a.colors, b.colors) and torch.equal(a.rays.directions, b.rays.directions)
            assert not a.layers and a.neighbours is None


def test_layers_share_the_budget_of_the_pictures(tmp_path: Path) -> None:
    said: list[str] = []
    big = frames(tmp_path, [noise(400, 500, seed=i) for i in range(3)])  # 2.3 MB as 8 bit
    for index, _ in enumerate(big):
        np.save(tmp_path / f"d{index}.npy", np.zeros((400, 500), np.float32))  # as much again
    layers = [standard_layers(depth=tmp_path / f"d{i}.npy", disparity=tmp_path / f"d{i}.npy") for i in range(3)]
    given = [replace(one, layers=own) for one, own in zip(big, layers, strict=True)]
    sampler = RaySampler(given, ("one",), INFO, 0, memory_mb=5, say=said.append)
    sampler.prepare(RaySpec(layers=("depth", "disparity")))
    assert sampler.store.resident and sampler.layer("depth").resident and not sampler.layer("disparity").resident
    assert said == ["layer 'disparity' does not fit into memory: it is read when drawn; a larger --memory-mb helps."]
    assert (sampler.batch(RaySpec(rays=9, layers=("depth", "disparity")), 0).layers["disparity"] == 0).all()


def test_images_carry_whole_layers(tmp_path: Path) -> None:
    given = film(tmp_path)
    batch = ImageSampler(given, ["one"], INFO, 0).batch(ImageSpec(4, layers=("flow_forward",)), 0)
    for index, flow in zip(batch.time_indices.tolist(), batch.layers["flow_forward"], strict=True):
        expected = given[index].layer("flow_forward")
        assert flow.shape == (H, W, 2)
        assert flow.isnan().all() if expected is None else torch.equal(flow, expected)
    assert batch.to(torch.device("cpu")).layers["flow_forward"][0].shape == (H, W, 2)


def test_a_layer_that_no_frame_has_is_named(tmp_path: Path) -> None:
    sampler = RaySampler(film(tmp_path), ("one",), INFO, 0)
    with pytest.raises(UserError, match="no layer 'flow_forwards': did you mean 'flow_forward'"):
        sampler.batch(RaySpec(layers=("flow_forwards",)), 0)


def test_neighbours_are_the_tracks_frames_and_project_like_their_cameras(tmp_path: Path) -> None:
    given = film(tmp_path)
    batch = RaySampler(given, ("one",), INFO, 0).batch(RaySpec(rays=40, neighbours=True), 0)
    around = batch.neighbours
    assert around is not None
    points = torch.randn(40, 2, 5, 3)
    pixels, depths = around.project(points)
    for n, index in enumerate(batch.time_indices.tolist()):
        assert around.exists[n].tolist() == [index > 0, index < 2]
        # The data set has a frame between the last two, which is held out: flow leads to that one.
        assert around.flow_leads_there[n].tolist() == [index == 1, index == 0]
        for side in (0, 1):
            neighbour = given[min(max(index + 2 * side - 1, 0), 2)] if around.exists[n, side] else given[index]
            assert around.times[n, side] == neighbour.time
            expected, depth = neighbour.camera.project(points[n, side])
            torch.testing.assert_close(depths[n, side], depth, rtol=1e-4, atol=1e-4)
            near = depth.abs() > 0.1
            torch.testing.assert_close(pixels[n, side][near], expected[near], rtol=1e-3, atol=1e-2)
    assert torch.equal(around.to(torch.device("cpu")).times, around.times)


def test_data_sets_with_coordinates_of_their_own(tmp_path: Path) -> None:
    """Rays of several data sets in normalised device coordinates, each with its own reference camera."""
    spaces = [NDC(torch.eye(4), 1.0, 1.0, 0.5), NDC(torch.eye(4), 1.2, 0.9, 0.7), None]
    cameras = [Camera(torch.eye(4), 30.0, 30.0, 5.0, 4.0, W, H, 0.0, 1.0, ndc) for ndc in spaces]
    given = frames(tmp_path, [noise(H, W, seed=i) for i in range(3)], cameras)
    batch = RaySampler(given, ("one",), INFO, 0).batch(RaySpec(rays=50, neighbours=True), 0)
    assert batch.neighbours is not None
    for index, own in enumerate(cameras):
        mine = batch.time_indices == index
        expected = own.rays(batch.neighbours.own_pixels[mine])
        torch.testing.assert_close(batch.rays.origins[mine], expected.origins)
        torch.testing.assert_close(batch.rays.directions[mine], expected.directions)


def test_each_sequence_lies_on_its_own_background(tmp_path: Path) -> None:
    clear = np.zeros((H, W, 4), np.uint8)
    given = frames(tmp_path, [clear, clear])
    given = [replace(given[0], sequence="a"), replace(given[1], sequence="b", time=0.0)]
    (one,) = INFO.sequences
    both = tuple(replace(one, name=n, times=(0.0,), background=b) for n, b in (("a", (1.0, 0, 0)), ("b", (0, 0, 1.0))))
    sampler = RaySampler(given, ("a", "b"), replace(INFO, sequences=both), 0)
    batch = sampler.batch(RaySpec(rays=40), 0)
    assert torch.equal(batch.colors, torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])[batch.sequences])
