"""Packed rendering: the kernels against their twins, the twins against the dense quadrature and by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from foreseen.geometry.rays import Rays
from foreseen.geometry.rotations import rotation_matrix
from foreseen.render import render_rays
from foreseen.render.marching import (
    MIN_TRANSMITTANCE,
    PackedSamples,
    composite,
    composite_reference,
    march_rays,
    query_samples,
    sample,
    sample_reference,
)
from foreseen.render.occupancy import OccupancyGrid
from foreseen.scenes import ComposedField, RadianceField

BACKGROUND = (0.2, 0.4, 0.6)


def fog(local: Tensor, part: Tensor, ray: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
    """Smooth, and next to nothing at the border of the box."""
    density = 6 * torch.exp(-8 * local.square().sum(-1)) * (1 + 0.5 * part)
    return density, 0.5 + 0.4 * torch.sin(3 * local + part[:, None])


def scene(parts: int = 1, **changes: object) -> ComposedField:
    """Boxes of half size 1 at the origin, open everywhere, on rays of length 6."""
    start = ComposedField(
        query=fog,
        rotations=torch.eye(3).expand(1, parts, 3, 3),
        centres=torch.zeros(1, parts, 3),
        half_extents=torch.ones(parts, 3),
        cells=torch.arange(parts)[None],
        grid=torch.ones(parts, 4, 4, 4),
        threshold=0.5,
        step=0.1,
        ray_strides=torch.ones(parts, dtype=torch.int64),
        near=0.0,
        far=6.0,
        background=BACKGROUND,
    )
    return replace(start, **changes)  # type: ignore[arg-type]


def rays_at_the_origin(count: int, seed: int = 0, distance: float = 3.0, spread: float = 1.0) -> Rays:
    """From a sphere around the origin to points near it; those with a large spread miss."""
    g = torch.Generator().manual_seed(seed)
    origins = distance * normalize(torch.randn(count, 3, generator=g), dim=-1)
    directions = normalize(spread * torch.randn(count, 3, generator=g) - origins, dim=-1)
    return Rays(origins, directions, directions)


def middle(rays: Rays) -> Tensor:
    return torch.full((len(rays.origins),), 0.5)


# Compositing.


def packed(counts: list[int], seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[PackedSamples, Tensor]:
    """Samples of rays with the given counts, and their lengths."""
    g = torch.Generator().manual_seed(seed)
    starts = torch.tensor([0, *counts]).cumsum(0)
    ray = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts, dtype=torch.int64))
    total = len(ray)
    distances = torch.rand(total, generator=g, dtype=dtype).sort().values
    lengths = torch.rand(total, generator=g, dtype=dtype) * 0.3
    return PackedSamples(ray, torch.zeros_like(ray), distances, starts), lengths


COUNTS = [[5], [0], [], [0, 0], [0, 7, 0, 1, 30, 0], [1] * 20, [200, 0, 3]]


@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("dense", [1.0, 1000.0])
def test_the_composite_kernel_is_the_reference(counts: list[int], dense: float) -> None:
    samples, lengths = packed(counts)
    n, m = len(counts), sum(counts)
    torch.manual_seed(0)
    density, color = torch.rand(m) * dense, torch.rand(m, 3)
    background, grads = torch.rand(n, 3), (torch.randn(n, 3), torch.randn(n), torch.randn(n))
    found = []
    for function in (composite, composite_reference):
        inputs = density.clone().requires_grad_(), color.clone().requires_grad_()
        out = function(*inputs, samples, lengths, background)
        torch.autograd.backward(out, grads)
        found.append([*(x.detach() for x in out), *(x.grad for x in inputs)])
    for fast, plain in zip(*found):
        assert fast.shape == plain.shape and fast.isfinite().all()
        torch.testing.assert_close(fast, plain, atol=2e-5, rtol=1e-4)


def test_gradients_of_the_composite_reference_agree_with_finite_differences() -> None:
    samples, lengths = packed([3, 0, 6, 1], dtype=torch.float64)
    torch.manual_seed(1)
    density = (2 * torch.rand(10).double()).requires_grad_()
    color = torch.rand(10, 3).double().requires_grad_()
    background = torch.rand(4, 3).double()
    assert torch.autograd.gradcheck(
        lambda d, c: composite_reference(d, c, samples, lengths, background), (density, color)
    )


def test_rays_without_samples_show_exactly_the_background() -> None:
    samples, lengths = packed([0, 2, 0])
    background = torch.rand(3, 3)
    rgb, depth, opacity = composite(torch.ones(2), torch.ones(2, 3), samples, lengths, background)
    assert torch.equal(rgb[[0, 2]], background[[0, 2]])
    assert depth[0] == opacity[0] == 0 and opacity[1] > 0


def test_a_wall_hides_what_is_behind_it() -> None:
    samples = PackedSamples(
        torch.zeros(3).long(), torch.zeros(3).long(), torch.tensor([1.0, 2, 3]), torch.tensor([0, 3])
    )
    color = torch.eye(3)
    rgb, depth, opacity = composite(torch.tensor([0.0, 1e6, 1e6]), color, samples, torch.ones(3), torch.ones(1, 3))
    torch.testing.assert_close(rgb, torch.tensor([[0.0, 1.0, 0.0]]))
    assert depth.item() == 2 and opacity.item() == 1


# Where the samples are.


def busy_scene(rows: int, seed: int) -> ComposedField:
    """Three turned boxes at random places, half of their cells empty, one of them absent at times."""
    torch.manual_seed(seed)
    grid = torch.where(torch.rand(4, 5, 5, 5) < 0.5, 0.02, 0.3)
    grid[1] *= 100  # rays end in it
    grid[2, :2] = -1.0
    cells = torch.randint(-1, 4, (rows, 3))
    return scene(
        3,
        rotations=rotation_matrix(2 * torch.randn(rows, 3, 3)),
        centres=0.3 * torch.randn(rows, 3, 3),
        half_extents=0.6 + torch.rand(3, 3),
        cells=cells,
        grid=grid,
        threshold=0.1,
        step=0.07,
        ray_strides=torch.tensor([1, 2, 5]),
        near=0.4,
        far=5.3,
    )


def near_an_edge(field: ComposedField, rays: Rays, point: tuple[int, int, float]) -> bool:
    """Whether rounding may decide in which cell a point lies, or whether it lies in the box."""
    r, k, distance = point
    row = r if len(field.centres) > 1 else 0
    offset = rays.origins[r] + distance * rays.directions[r] - field.centres[row, k]
    place = (field.rotations[row, k].T @ offset / field.half_extents[k] + 1) / 2 * field.grid.shape[1]
    return bool(((place - place.round()).abs() < 1e-4).any())


def points_of(samples: PackedSamples, field: ComposedField, jitter: Tensor) -> dict[tuple[int, int, int], float]:
    """(ray, part, point of the ladder) -> distance."""
    point = ((samples.distances - field.near) / field.step - jitter[samples.ray_index]).round().int()
    keys = zip(samples.ray_index.tolist(), samples.component.tolist(), point.tolist())
    return dict(zip(keys, samples.distances.tolist()))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("own_times", [False, True])
@pytest.mark.parametrize("stratified", [False, True])
def test_the_samples_are_those_of_the_reference(seed: int, own_times: bool, stratified: bool) -> None:
    rays = rays_at_the_origin(12, seed, distance=2.5)
    field = busy_scene(12 if own_times else 1, seed)
    jitter = torch.rand(12) if stratified else middle(rays)
    fast, plain = sample(field, rays, jitter), sample_reference(field, rays, jitter)
    a, b = points_of(fast, field, jitter), points_of(plain, field, jitter)
    rounded = [(r, k, (a | b)[r, k, i]) for r, k, i in a.keys() ^ b.keys()]
    assert len(a) == len(fast.distances), "a point is there twice"
    assert all(near_an_edge(field, rays, p) for p in rounded), rounded
    assert len(rounded) <= 2 and len(b) > 20
    if not rounded:
        for name in ("ray_index", "component", "starts"):
            assert torch.equal(getattr(fast, name), getattr(plain, name))


def test_samples_stand_ray_after_ray_near_to_far() -> None:
    rays = rays_at_the_origin(50)
    found = sample(busy_scene(50, 3), rays, torch.rand(50))
    assert found.starts[0] == 0 and found.starts[-1] == len(found.distances)
    assert torch.equal(found.ray_index.bincount(minlength=50), found.starts.diff())
    assert (found.ray_index.diff() >= 0).all()
    same_ray = found.ray_index.diff() == 0
    assert (found.distances.diff()[same_ray] >= 0).all()


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_a_ladder_with_a_stride_is_a_coarser_ladder(stride: int) -> None:
    """Even strides have no middle point: theirs is half a fine step behind it."""
    rays = rays_at_the_origin(4, spread=0.2)
    field = scene(half_extents=torch.full((1, 3), 10.0), ray_strides=torch.tensor([stride]))
    expected = torch.arange(60 // stride) * 0.1 * stride + 0.1 * (stride // 2 + 0.5)
    found = sample(field, rays, middle(rays))
    assert len(found.distances) == 4 * len(expected)
    torch.testing.assert_close(found.distances[: len(expected)], expected)


def test_jitter_moves_a_strided_ladder_over_its_whole_stride() -> None:
    rays = rays_at_the_origin(2000, spread=0.2)
    field = scene(half_extents=torch.full((1, 3), 10.0), ray_strides=torch.tensor([5]))
    jitter = torch.linspace(0, 0.9999, 2000)
    found = sample(field, rays, jitter)
    first = found.distances[found.starts[:-1]] / 0.5
    assert first.min() < 0.01 and first.max() > 0.99
    assert first.mean().item() == pytest.approx(0.5, abs=0.01)


def test_a_strided_part_is_seen_as_without_a_stride() -> None:
    """The same integral: the picture differs by the quadrature's error, and that is one of second order."""
    rays = rays_at_the_origin(200, spread=0.3)
    exact = render_rays(scene(step=0.002), rays)
    errors = []
    for stride in (15, 5):
        coarse = render_rays(scene(step=0.02, ray_strides=torch.tensor([stride])), rays)
        errors.append((coarse.depth - exact.depth).abs().max().item())
    assert errors[0] < 0.02 and errors[1] < errors[0] / 3


def test_every_part_has_its_own_stride() -> None:
    rays = rays_at_the_origin(30)
    both = sample(scene(2, ray_strides=torch.tensor([1, 4])), rays, middle(rays))
    for k, stride in enumerate((1, 4)):
        alone = sample(scene(ray_strides=torch.tensor([stride])), rays, middle(rays))
        assert torch.equal(both.distances[both.component == k], alone.distances)


def test_rays_that_miss_have_no_samples_and_show_the_background() -> None:
    rays = rays_at_the_origin(20)
    away = Rays(rays.origins, -rays.directions, -rays.directions)
    result = render_rays(scene(), away)
    assert result.samples == 0
    assert torch.equal(result.rgb, torch.tensor(BACKGROUND).expand(20, 3))
    assert not result.opacity.any() and not result.depth.any()


def test_rays_that_start_inside_see_what_is_before_them() -> None:
    """From the centre of a box of fog of constant density the thickness is that of half the box."""
    directions = torch.eye(3)
    rays = Rays(torch.zeros(3, 3), directions, directions)
    field = scene(query=lambda x, p, r, v: (torch.full((len(x),), 0.8), torch.ones(len(x), 3)))
    torch.testing.assert_close(render_rays(field, rays).opacity, 1 - torch.exp(torch.tensor(-0.8)).expand(3))


def test_near_and_far_bound_the_samples() -> None:
    rays = rays_at_the_origin(10, spread=0.1)
    found = sample(scene(near=2.5, far=3.2), rays, torch.rand(10))
    assert len(found.distances) == 70
    assert found.distances.min() >= 2.5 and found.distances.max() <= 3.2


def test_rays_along_the_faces_of_a_box() -> None:
    """A direction with zeros, inside and outside the slab that it runs along."""
    directions = torch.tensor([[0.0, 0.0, 1.0]]).expand(3, 3)
    rays = Rays(torch.tensor([[0.0, 0.0, -3], [0.99, -0.99, -3], [1.01, 0.0, -3]]), directions, directions)
    assert sample(scene(), rays, middle(rays)).starts.diff().tolist() == [20, 20, 0]


def test_no_parts_no_rays_and_absent_parts() -> None:
    rays = rays_at_the_origin(5)
    empty = scene(0, grid=torch.ones(1, 4, 4, 4))
    assert torch.equal(render_rays(empty, rays).rgb, torch.tensor(BACKGROUND).expand(5, 3))
    assert render_rays(scene(), rays[:0]).rgb.shape == (0, 3)
    absent = scene(2, cells=torch.tensor([[-1, 0]]))
    assert set(sample(absent, rays, middle(rays)).component.tolist()) == {1}


def test_a_ray_ends_where_it_is_opaque() -> None:
    rays = rays_at_the_origin(50, spread=0.1)

    def wall(x: Tensor, part: Tensor, ray: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full((len(x),), 20.0), 0.5 + 0.5 * x

    is_cached = scene(query=wall, grid=torch.full((1, 32, 32, 32), 20.0))
    expects_little = scene(query=wall, grid=torch.full((1, 32, 32, 32), 0.6))
    short, whole = render_rays(is_cached, rays), render_rays(expects_little, rays)
    assert short.samples < 0.3 * whole.samples
    assert (short.rgb - whole.rgb).abs().max() < MIN_TRANSMITTANCE


@pytest.mark.parametrize("step", [0.05, 0.01])
@pytest.mark.parametrize("solid", [50.0, 1000.0])
def test_a_ray_goes_on_beside_what_is_opaque_in_a_cell(
    solid: float, step: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell's cached density is its largest: a ray that ended in the first such cell would miss the surface in it."""

    def ball(x: Tensor, part: Tensor, ray: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        return solid * (x.norm(dim=-1) < 0.7), 0.5 + 0.5 * x

    torch.manual_seed(0)
    occupancy = OccupancyGrid(1, 48, threshold=0.2)
    for _ in range(30):
        occupancy.refresh(lambda x, box: ball(x, box, box, x)[0])
    rays = rays_at_the_origin(2000, spread=0.5)
    field = scene(query=ball, grid=occupancy.density, threshold=0.2, step=step)
    found = render_rays(field, rays)
    monkeypatch.setattr("foreseen.render.marching.MIN_TRANSMITTANCE", 0.0)
    whole = render_rays(field, rays)
    assert found.samples < 0.4 * whole.samples
    assert (whole.opacity - found.opacity).mean() < 3e-3
    assert (whole.rgb - found.rgb).square().mean() < 1e-3


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["centres", "rotations"])
def test_poses_that_are_not_finite_show_nothing(bad: float, name: str) -> None:
    field = scene(2)
    broken = replace(field, **{name: torch.full_like(getattr(field, name), bad)})
    assert torch.equal(render_rays(broken, rays_at_the_origin(50)).rgb, torch.tensor(BACKGROUND).expand(50, 3))


# Against the dense quadrature.


def dense_twin(field: ComposedField, samples: int) -> RadianceField:
    """The same boxes as one radiance field."""

    def query(x: Tensor, view: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
        total, mixed = torch.zeros(len(x)), torch.zeros(len(x), 3)
        for k in range(field.centres.shape[1]):
            local = (x - field.centres[0, k]) @ field.rotations[0, k] / field.half_extents[k]
            density, color = field.query(local, torch.full((len(x),), k), ray, view)
            density = density * (local.abs() <= 1).all(-1)
            total, mixed = total + density, mixed + density[:, None] * color
        return total, mixed / total.clamp_min(1e-9)[:, None]

    return RadianceField(query, field.near, field.far, field.background, options={"samples": samples})


@pytest.mark.parametrize("length", [1.0, 2.0])
def test_one_part_is_the_dense_quadrature(length: float) -> None:
    """With directions of any length, as in normalised device coordinates."""
    rays = rays_at_the_origin(100, spread=0.5)
    rays = Rays(rays.origins, length * rays.directions, rays.view_directions)
    rotated = rotation_matrix(torch.tensor([[[0.3, -1.0, 0.5]]]))
    field = scene(
        rotations=rotated, centres=torch.tensor([[[0.2, -0.1, 0.3]]]), half_extents=torch.tensor([[0.8, 1.0, 1.2]])
    )
    fast, dense = render_rays(field, rays), render_rays(dense_twin(field, 60), rays)
    for name in ("rgb", "depth", "opacity"):
        torch.testing.assert_close(getattr(fast, name), getattr(dense, name), atol=2e-4, rtol=1e-4)
    assert fast.samples < 0.5 * dense.samples


def test_two_overlapping_parts_add_up() -> None:
    rays = rays_at_the_origin(100, spread=0.5)
    field = scene(2, centres=torch.tensor([[[0.0, 0, 0], [0.5, 0.2, 0]]]), step=0.01)
    fast, dense = render_rays(field, rays), render_rays(dense_twin(field, 600), rays)
    torch.testing.assert_close(fast.opacity, dense.opacity, atol=1e-4, rtol=0)
    torch.testing.assert_close(fast.rgb, dense.rgb, atol=0.02, rtol=0)


def test_skipping_empty_cells_changes_nothing() -> None:
    def ball(x: Tensor, part: Tensor, ray: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        return 5.0 * (x.norm(dim=-1) < 0.5), 0.5 + 0.5 * x

    line = (torch.arange(16) + 0.5) / 8 - 1
    centres = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1)
    touched = centres.norm(dim=-1) < 0.5 + 3**0.5 / 16
    rays = rays_at_the_origin(100, spread=0.6)
    everywhere = scene(query=ball, grid=torch.ones(1, 16, 16, 16))
    skipping = scene(query=ball, grid=touched.float()[None])
    whole, short = render_rays(everywhere, rays), render_rays(skipping, rays)
    assert short.samples < 0.6 * whole.samples
    torch.testing.assert_close(short.rgb, whole.rgb, atol=1e-6, rtol=0)


# Gradients of poses.


def colour_of_poses(centres: Tensor, rotations: Tensor, rays: Rays, samples: PackedSamples) -> Tensor:
    field = replace(scene(2), centres=centres, rotations=rotation_matrix(rotations))
    field = replace(field, half_extents=field.half_extents.to(centres.dtype))
    density, color = query_samples(field, rays, samples)
    lengths = torch.full_like(density, field.step)
    background = torch.tensor(BACKGROUND, dtype=density.dtype).expand(len(rays.origins), 3)
    return torch.cat([x.reshape(-1) for x in composite(density, color, samples, lengths, background)])


def poses(rows: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(5)
    return 0.3 * torch.randn(rows, 2, 3, generator=g), 0.5 * torch.randn(rows, 2, 3, generator=g)


@pytest.mark.parametrize("rows", [1, 3])
def test_gradients_of_poses_agree_with_finite_differences_on_fixed_samples(rows: int) -> None:
    rays = rays_at_the_origin(3, spread=0.2)
    centres, rotations = poses(rows)
    field = replace(scene(2, step=0.3), centres=centres, rotations=rotation_matrix(rotations))
    samples = sample(field, rays, middle(rays))
    double = Rays(rays.origins.double(), rays.directions.double(), rays.view_directions.double())
    assert len(samples.distances) > 20
    inputs = centres.double().requires_grad_(), rotations.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda c, t: colour_of_poses(c, t, double, samples), inputs)


@pytest.mark.parametrize("which", [0, 1])
def test_gradients_of_poses_agree_with_the_moved_picture(which: int) -> None:
    """Through the whole renderer, samples included: the field vanishes where samples come and go."""
    rays = rays_at_the_origin(200, spread=0.3)
    inputs = list(poses(1))

    def loss(values: list[Tensor]) -> Tensor:
        field = replace(scene(2, step=0.05), centres=values[0], rotations=rotation_matrix(values[1]))
        return march_rays(field, rays).rgb[:, 0].double().square().sum()

    inputs[which] = inputs[which].requires_grad_()
    slope = torch.autograd.grad(loss(inputs), inputs[which])[0]
    for k in range(2):
        for a in range(3):
            moved = []
            for sign in (1, -1):
                shifted = [x.detach().clone() for x in inputs]
                shifted[which][0, k, a] += sign * 0.01
                moved.append(loss(shifted).item())
            expected = (moved[0] - moved[1]) / 0.02
            assert slope[0, k, a].item() == pytest.approx(expected, rel=0.02, abs=0.02 * slope.abs().max().item())


def test_evaluation_is_deterministic_and_training_follows_the_seed() -> None:
    rays = rays_at_the_origin(50)
    state = torch.get_rng_state()
    assert torch.equal(render_rays(scene(), rays).rgb, render_rays(scene(), rays).rgb)
    assert torch.equal(state, torch.get_rng_state()), "evaluation draws random numbers"
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(render_rays(scene(), rays, stratified=True).rgb)
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
