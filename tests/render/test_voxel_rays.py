"""Voxel scenes: the compiled kernel against its definition, and gradients against finite differences."""

import dataclasses

import pytest
import torch

from foreseen.geometry.rays import Rays
from foreseen.geometry.rotations import rotation_matrix
from foreseen.nn.voxels import CHANNELS, VoxelGrids, VoxelTable
from foreseen.render import voxel_rays
from foreseen.render.marching import march_rays
from foreseen.render.voxel_rays import trace_rays
from foreseen.scenes.voxel_scene import VoxelScene


def scene(poses=3, seed=0, dtype=torch.float32, step=0.05, ray_strides=(1, 1, 2), closed=0.3) -> VoxelScene:
    """Two turned parts and surroundings, some of whose cells are closed."""
    g = torch.Generator().manual_seed(seed)
    grid = torch.rand(3, 8, 8, 8, generator=g)
    table = VoxelTable.build([(4, 9), (5, 7), (3, 11)], torch.rand(3, 8, 8, 8, generator=g) > 0.9)
    voxels = VoxelGrids(table, initial=0.15)
    rows = len(voxels.values)
    with torch.no_grad():
        voxels.values[:, 0] = torch.randn(rows, generator=g) * 0.1
        voxels.values[:, 1:] += torch.randn(rows, CHANNELS - 1, generator=g) * 0.1
    voxels.to(dtype)
    rotations = torch.randn(poses, 3, 3, generator=g)
    centres = torch.randn(poses, 3, 3, generator=g) * 0.3
    rotations[:, 2], centres[:, 2] = 0, 0
    return VoxelScene(
        voxels=voxels,
        rotations=rotation_matrix(rotations).to(dtype).requires_grad_(),
        centres=centres.to(dtype).requires_grad_(),
        rows=None,
        half_extents=torch.tensor([[0.5, 0.4, 0.6], [0.3, 0.3, 0.3], [1.0, 1.2, 0.8]], dtype=dtype),
        light=torch.tensor([0.3, -0.2, 0.5], dtype=dtype).requires_grad_(),
        grid=grid.to(dtype),
        threshold=closed,
        step=step,
        ray_strides=torch.tensor(ray_strides),
        near=0.5,
        far=5.0,
        background=(0.2, 0.5, 0.9),
    )


def some_rays(count=60, seed=1, dtype=torch.float32) -> Rays:
    g = torch.Generator().manual_seed(seed)
    origins = torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=-1) * 2.5
    targets = torch.randn(count, 3, generator=g) * 0.3
    directions = torch.nn.functional.normalize(targets - origins, dim=-1)
    return Rays(*(x.to(dtype) for x in (origins, directions * 1.1, directions)))


def with_rows(s: VoxelScene, count: int) -> VoxelScene:
    return dataclasses.replace(s, rows=torch.arange(count) % len(s.rotations))


def leaves(s: VoxelScene):
    return s.voxels.values, s.rotations, s.centres, s.light


def weighed(result, seed=2):
    g = torch.Generator().manual_seed(seed)
    n = len(result.rgb)
    weights = torch.randn(n, 3, generator=g), *torch.randn(2, n, generator=g)
    return sum((w.to(x) * x).sum() for w, x in zip(weights, (result.rgb, result.depth, result.opacity)))


@pytest.fixture
def no_stop(monkeypatch):
    """No ray ends early: the definition's rule for that is another."""
    monkeypatch.setattr(voxel_rays, "MIN_TRANSMITTANCE", 0.0)
    monkeypatch.setattr("foreseen.render.marching.MIN_TRANSMITTANCE", 0.0)


@pytest.fixture
def plain(monkeypatch, no_stop):
    """The definition does without compiled look-ups."""
    monkeypatch.setattr(VoxelGrids, "features", VoxelGrids.features_reference)


@pytest.mark.parametrize("poses", [1, 3])
def test_the_kernel_renders_what_the_definition_says(plain, poses):
    rays = some_rays()
    s = scene(poses)
    s = s if poses == 1 else with_rows(s, 60)
    fast, slow = trace_rays(s, rays), march_rays(s.composed(), rays)
    assert fast.samples == slow.samples > 500
    assert fast.opacity.max() > 0.9 and fast.opacity.min() < 0.8
    for name in ("rgb", "depth", "opacity"):
        torch.testing.assert_close(getattr(fast, name), getattr(slow, name), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("poses", [1, 3])
def test_the_kernel_differentiates_what_the_definition_says(plain, poses):
    rays = some_rays()
    found = []
    for render in (trace_rays, lambda s, r: march_rays(s.composed(), r)):
        s = scene(poses)
        s = s if poses == 1 else with_rows(s, 60)
        weighed(render(s, rays)).backward()
        found.append([x.grad for x in leaves(s)])
    for fast, slow in zip(*found):
        assert slow.abs().max() > 1e-3
        torch.testing.assert_close(fast, slow, atol=2e-4 * float(slow.abs().max()), rtol=2e-3)


def test_gradients_are_those_of_finite_differences(no_stop):
    """Of voxels and light, along one random direction each, in the definition's float64. (A pose has no such test: the
    shade does not steer it, and samples come and go at the faces of boxes.)"""
    g = torch.Generator().manual_seed(7)
    s = scene(1, dtype=torch.float64, closed=-1.0)
    rays = some_rays(20, dtype=torch.float64)
    weighed(trace_rays(s, rays)).backward()
    for name, leaf in (("voxels", s.voxels.values), ("light", s.light)):
        direction = torch.randn(leaf.shape, generator=g).to(leaf) * 1e-4
        with torch.no_grad():
            leaf.add_(direction)
            above = weighed(trace_rays(s, rays))
            leaf.sub_(2 * direction)
            below = weighed(trace_rays(s, rays))
            leaf.add_(direction)
        assert float((leaf.grad * direction).sum()) == pytest.approx(float(above - below) / 2, rel=1e-4), name


def test_rays_that_meet_nothing_show_the_background():
    s = scene(1)
    rays = Rays(torch.full((5, 3), 9.0), torch.eye(3)[[0, 1, 2, 0, 1]], torch.eye(3)[[0, 1, 2, 0, 1]])
    result = trace_rays(s, rays)
    assert torch.equal(result.rgb, torch.tensor(s.background).expand(5, 3)) and not result.opacity.any()
    assert result.samples == 0
    (result.rgb.sum() + result.depth.sum()).backward()
    assert not s.voxels.values.grad.any() and not s.centres.grad.any()


def test_no_rays_are_no_problem():
    none = Rays(*(torch.zeros(0, 3),) * 3)
    result = trace_rays(scene(1), none)
    assert result.rgb.shape == (0, 3) and result.samples == 0
    result.rgb.sum().backward()


def test_what_is_opaque_ends_a_ray_and_stays_finite():
    rays = some_rays()
    s = scene(1, closed=-1.0)
    with torch.no_grad():
        s.voxels.values[:, 0] = 50.0
    result = trace_rays(s, rays)
    hit = result.opacity > 0.5
    assert hit.sum() > 30 and result.opacity[hit].min() > 0.999
    assert result.samples < 3 * len(rays.origins), "one or two samples end a ray"
    weighed(result).backward()
    assert all(x.grad.isfinite().all() for x in leaves(s))


def test_closed_cells_are_not_looked_at():
    s = scene(1)
    s = dataclasses.replace(s, grid=torch.full_like(s.grid, -1.0))
    assert trace_rays(s, some_rays()).samples == 0


def test_the_order_of_rays_does_not_matter():
    rays, s = some_rays(), scene(1)
    mixed = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    there = trace_rays(s, rays).rgb[mixed]
    other = trace_rays(s, Rays(rays.origins[mixed], rays.directions[mixed], rays.view_directions[mixed])).rgb
    assert torch.equal(there, other)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_pose_that_is_not_finite_shows_nothing(bad):
    rays, s = some_rays(), scene(1)
    with torch.no_grad():
        s.centres[0, 0, 1] = bad
        s.rotations[0, 1, 0, 0] = bad
    alone = dataclasses.replace(
        s, grid=s.grid.clone().index_fill(0, torch.tensor([0, 1]), -1.0), centres=torch.zeros(1, 3, 3)
    )
    alone = dataclasses.replace(alone, rotations=torch.eye(3).expand(1, 3, 3, 3))
    assert torch.equal(trace_rays(s, rays).rgb, trace_rays(alone, rays).rgb)
