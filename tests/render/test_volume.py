"""The quadrature against closed forms, its sampling, and its gradients."""

import math

import pytest
import torch
from torch import Tensor

from foreseen.geometry.ndc import NDC
from foreseen.geometry.rays import Rays
from foreseen.render import render_rays
from foreseen.render.volume import composite, even_edges, importance_edges, place_samples
from foreseen.scenes import RadianceField
from foreseen.scenes.radiance_field import FieldQuery

BACKGROUND = (0.2, 0.4, 0.6)


def rays_along_z(count: int = 1, dtype: torch.dtype = torch.float64) -> Rays:
    directions = torch.tensor([0.0, 0.0, 1.0], dtype=dtype).expand(count, 3)
    return Rays(torch.zeros(count, 3, dtype=dtype), directions, directions)


def slabs(*parts: tuple[float, float, float, tuple[float, float, float]]) -> FieldQuery:
    """A field of slabs (from z, to z, density, colour), black and empty elsewhere."""

    def query(x: Tensor, directions: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
        density, color = torch.zeros_like(x[:, 0]), torch.zeros_like(x)
        for start, end, value, tint in parts:
            inside = (x[:, 2] >= start) & (x[:, 2] < end)
            density = torch.where(inside, value, density)
            color = torch.where(inside[:, None], color.new_tensor(tint), color)
        return density, color

    return query


def field(query: FieldQuery, near: float = 0.0, far: float = 4.0, **options: int) -> RadianceField:
    return RadianceField(query, near, far, BACKGROUND, options=options)


@pytest.mark.parametrize("samples", [1, 7, 64])
def test_constant_slab_is_exact_at_any_sample_count(samples: int) -> None:
    result = render_rays(field(slabs((0, 4, 0.7, (1.0, 0.5, 0.0))), samples=samples), rays_along_z())
    opacity = 1 - math.exp(-0.7 * 4)
    expected = [opacity * c + (1 - opacity) * b for c, b in zip((1.0, 0.5, 0.0), BACKGROUND)]
    assert result.opacity.item() == pytest.approx(opacity, abs=1e-12)
    assert result.rgb[0].tolist() == pytest.approx(expected, abs=1e-12)


def test_two_slabs_hide_one_another_in_order() -> None:
    front, back = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
    query = slabs((1, 2, 0.8, front), (3, 4, 1.5, back))
    result = render_rays(field(query, samples=64), rays_along_z())
    a, b = 1 - math.exp(-0.8), 1 - math.exp(-1.5)
    through = (1 - a) * (1 - b)
    expected = [a * f + (1 - a) * b * g + through * c for f, g, c in zip(front, back, BACKGROUND)]
    assert result.rgb[0].tolist() == pytest.approx(expected, abs=1e-12)
    assert result.opacity.item() == pytest.approx(1 - through, abs=1e-12)


def test_depth_of_a_thin_opaque_shell_and_of_nothing() -> None:
    query = slabs((2.5, 2.6, 1e4, (1.0, 1.0, 1.0)))
    shell = render_rays(field(query, samples=400), rays_along_z())
    assert shell.depth.item() == pytest.approx(2.5, abs=0.01)
    nothing = render_rays(field(slabs(), samples=8), rays_along_z())
    assert nothing.depth.item() == 0 and nothing.opacity.item() == 0


def test_mean_depth_of_a_fog_is_that_of_the_exponential_law() -> None:
    sigma, far = 0.9, 4.0
    result = render_rays(field(slabs((0, far, sigma, (1.0, 1.0, 1.0))), samples=2000), rays_along_z())
    expected = (1 - math.exp(-sigma * far) * (1 + sigma * far)) / sigma
    assert result.depth.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("background", [(1.0, 1.0, 1.0), (0.25, 0.5, 0.125)])
@pytest.mark.parametrize("stratified", [False, True])
def test_an_empty_field_shows_exactly_its_background(background: tuple[float, ...], stratified: bool) -> None:
    scene = RadianceField(slabs(), 2.0, 6.0, background, options={"samples": 9, "importance_samples": 5})
    result = render_rays(scene, rays_along_z(3, torch.float32), stratified=stratified)
    assert torch.equal(result.rgb, torch.tensor(background).expand(3, 3))


def test_a_wall_of_infinite_density_leaves_no_background_and_no_nan() -> None:
    result = render_rays(field(slabs((1, 4, 1e30, (0.5, 0.5, 0.5))), samples=16), rays_along_z(1, torch.float32))
    assert torch.equal(result.rgb, torch.full((1, 3), 0.5)) and result.opacity.item() == 1


def smooth(x: Tensor, directions: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
    """Density 1 + sin(3 z), colour (z / 4, 0, 0)."""
    color = torch.zeros_like(x)
    color[:, 0] = x[:, 2] / 4
    return 1 + torch.sin(3 * x[:, 2]), color


def test_error_falls_with_the_square_of_the_interval() -> None:
    exact = render_rays(field(smooth, samples=20000), rays_along_z()).rgb[0, 0]
    errors = [abs(render_rays(field(smooth, samples=n), rays_along_z()).rgb[0, 0] - exact) for n in (40, 80, 160)]
    assert 3.5 < errors[0] / errors[1] < 4.5 and 3.5 < errors[1] / errors[2] < 4.5


def test_stratified_thickness_is_unbiased() -> None:
    """Each sample is uniform in its interval, so the mean of the summed density is the integral."""
    torch.manual_seed(0)
    rays = rays_along_z(20000)
    edges = even_edges(rays, 0, 4, 6)
    density = smooth(rays.at(place_samples(edges, True)).reshape(-1, 3), edges, edges)[0].reshape(-1, 6)
    thickness = (density * (edges[:, 1:] - edges[:, :-1])).sum(-1)
    exact = 4 + (1 - math.cos(12)) / 3
    assert abs(thickness.mean().item() - exact) < 4 * thickness.std().item() / math.sqrt(20000)


def test_stratified_samples_stay_in_their_intervals_and_differ() -> None:
    edges = even_edges(rays_along_z(50), 1, 3, 8)
    first, second = place_samples(edges, True), place_samples(edges, True)
    assert ((first >= edges[:, :-1]) & (first <= edges[:, 1:])).all()
    assert not torch.equal(first, second)


def test_importance_samples_gather_where_the_weights_are() -> None:
    edges = even_edges(rays_along_z(), 0, 10, 10)
    weights = torch.zeros(1, 10, dtype=torch.float64)
    weights[0, 3], weights[0, 7] = 0.75, 0.25
    for stratified in (False, True):
        merged = importance_edges(edges, weights, 100, stratified)
        assert merged.shape == (1, 111) and (merged.diff() >= 0).all()
        inside = [((merged > low) & (merged < high)).sum().item() for low, high in ((3, 4), (2, 5), (7, 8), (6, 9))]
        assert inside[0] == pytest.approx(37.5, abs=1) and inside[2] == pytest.approx(12.5, abs=1)
        # The neighbours' samples, and the two edges of the given interval.
        assert inside[1] == pytest.approx(75 + 2, abs=1) and inside[3] == pytest.approx(25 + 2, abs=1)


def test_importance_samples_of_an_empty_ray_are_even() -> None:
    merged = importance_edges(even_edges(rays_along_z(), 0, 1, 4), torch.zeros(1, 4).double(), 4, False)
    new = [0.125, 0.375, 0.625, 0.875]
    assert merged[0].tolist() == pytest.approx(sorted([0, 0.25, 0.5, 0.75, 1, *new]))


def test_importance_samples_find_a_surface() -> None:
    """The same number of evaluations, better spent: where a solid begins, at many places."""
    places = torch.linspace(1.0, 3.0, 101, dtype=torch.float64)

    def query(x: Tensor, directions: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
        return 300.0 * (x[:, 2] > places[ray]), torch.ones_like(x)

    def error(**options: int) -> float:
        depth = render_rays(field(query, **options), rays_along_z(101)).depth
        return (depth - places).square().mean().sqrt().item()

    assert error(samples=32, importance_samples=32) < 0.3 * error(samples=64)


def test_a_pair_gives_both_pictures_and_its_edges_carry_no_gradient() -> None:
    scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)

    def coarse(x: Tensor, directions: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
        return scale * (1 + x[:, 2]), torch.full_like(x, 0.5)

    scene = RadianceField(smooth, 0, 4, BACKGROUND, coarse, {"samples": 8, "importance_samples": 8})
    result = render_rays(scene, rays_along_z(), stratified=True)
    assert not result.rgb.requires_grad
    assert result.coarse_rgb is not None and result.coarse_rgb.requires_grad
    alone = RadianceField(coarse, 0, 4, BACKGROUND, options={"samples": 8, "importance_samples": 8})
    assert render_rays(alone, rays_along_z()).coarse_rgb is None
    assert render_rays(alone, rays_along_z()).samples == 8 + 16
    assert render_rays(field(smooth, samples=8), rays_along_z()).samples == 8


@pytest.mark.parametrize("count", [0, 1])
def test_no_rays_and_one_ray(count: int) -> None:
    scene = RadianceField(smooth, 0, 4, BACKGROUND, smooth, {"samples": 4, "importance_samples": 3})
    for stratified in (False, True):
        result = render_rays(scene, rays_along_z(count), stratified=stratified)
        assert result.rgb.shape == (count, 3) and result.depth.shape == result.opacity.shape == (count,)
        assert result.coarse_rgb is not None and result.coarse_rgb.shape == (count, 3)
        assert result.samples == count * (4 + 7)


def test_gradients_agree_with_finite_differences() -> None:
    torch.manual_seed(1)
    density = torch.rand(3, 5, dtype=torch.float64, requires_grad=True)
    color = torch.rand(3, 5, 3, dtype=torch.float64, requires_grad=True)
    lengths = torch.rand(3, 5, dtype=torch.float64)
    distances = torch.cumsum(lengths, -1)
    background = torch.rand(3, dtype=torch.float64, requires_grad=True)

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(composite(inputs[0], inputs[1], lengths, distances, inputs[2]))

    assert torch.autograd.gradcheck(run, (density, color, background))


def test_the_query_gets_the_rays_of_its_points() -> None:
    seen: dict[str, Tensor] = {}

    def query(x: Tensor, directions: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
        seen.update(x=x, directions=directions, ray=ray)
        return torch.ones_like(x[:, 0]), torch.ones_like(x)

    origins = torch.tensor([[0.0, 0, 0], [5.0, 0, 0]])
    directions = torch.tensor([[0.0, 0, 1], [0.0, 1, 0]])
    render_rays(field(query, samples=3), Rays(origins, directions, -directions))
    assert seen["ray"].tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(seen["directions"], -directions[seen["ray"]])
    assert (seen["x"][3:, 0] == 5).all() and (seen["x"][:3, 1] == 0).all()


def test_ndc_rays_measure_length_in_their_own_space() -> None:
    """A fog that is constant in NDC: its thickness is density times the length of the NDC ray."""
    ndc = NDC(torch.eye(4), sx=1.2, sy=1.5, near=0.5)
    directions = torch.nn.functional.normalize(torch.tensor([[0.1, -0.2, 1.0], [0.0, 0.0, 1.0]]), dim=-1)
    rays = ndc.rays(Rays(torch.tensor([[0.3, 0.1, 0.2], [0.0, 0.0, 0.0]]), directions, directions))
    scene = RadianceField(slabs((-9, 9, 0.7, (1.0, 1.0, 1.0))), 0.0, 1.0, BACKGROUND, options={"samples": 5})
    length = (rays.at(torch.ones(2, 1)) - rays.at(torch.zeros(2, 1))).norm(dim=-1)[:, 0]
    assert length[1].item() == pytest.approx(2)
    torch.testing.assert_close(render_rays(scene, rays).opacity, 1 - torch.exp(-0.7 * length))


def test_evaluation_is_deterministic_and_training_follows_the_seed() -> None:
    scene = field(smooth, samples=8, importance_samples=8)
    rays = rays_along_z(4)
    state = torch.get_rng_state()
    assert torch.equal(render_rays(scene, rays).rgb, render_rays(scene, rays).rgb)
    assert torch.equal(state, torch.get_rng_state()), "evaluation draws random numbers"
    draws = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        draws.append(render_rays(scene, rays, stratified=True).rgb)
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def with_channels(level: Tensor) -> FieldQuery:
    """`smooth`, with a channel that is `level` everywhere and one that is the position."""

    def query(x: Tensor, directions: Tensor, ray: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        density, color = smooth(x, directions, ray)
        return density, color, {"level": level.expand(len(x)), "position": x}

    return query


@pytest.mark.parametrize("options", [{"samples": 12}, {"samples": 6, "importance_samples": 6}])
def test_extra_channels_are_weighted_as_the_colour_is(options: dict[str, int]) -> None:
    level = torch.tensor(0.7, dtype=torch.float64)
    result = render_rays(field(with_channels(level), **options), rays_along_z(3), keep_samples=True)
    plain = render_rays(field(smooth, **options), rays_along_z(3))
    assert torch.equal(result.rgb, plain.rgb) and plain.channels == {} and plain.sample_weights is None
    assert result.channels["level"].shape == (3, 1) and result.channels["position"].shape == (3, 3)
    torch.testing.assert_close(result.channels["level"][:, 0], 0.7 * result.opacity)
    torch.testing.assert_close(result.channels["position"][:, 2], result.depth)
    assert result.sample_weights is not None and result.sample_distances is not None
    assert result.sample_weights.shape == result.sample_distances.shape == (3, 12)
    torch.testing.assert_close(result.sample_weights.sum(-1), result.opacity)
    torch.testing.assert_close((result.sample_weights * result.sample_distances).sum(-1), result.depth)


def test_gradients_of_channels_and_weights_agree_with_finite_differences() -> None:
    def seen(level: Tensor, strength: Tensor) -> tuple[Tensor, ...]:
        def query(x: Tensor, directions: Tensor, ray: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
            density, color = smooth(x, directions, ray)
            return strength * density, color, {"level": level * x[:, 2:]}

        result = render_rays(field(query, samples=5), rays_along_z(2), keep_samples=True)
        assert result.sample_weights is not None
        return result.channels["level"], result.sample_weights

    inputs = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.7, 1.3)]
    assert torch.autograd.gradcheck(seen, inputs)
