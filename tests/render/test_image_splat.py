"""2D Gaussians in the plane of a picture: kernels against definition, finite differences, closed forms."""

import dataclasses
import math

import pytest
import torch

from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.render import render
from foreseen.render.image_splat import splat_image, splat_image_reference
from foreseen.scenes import ImageGaussians

LEAVES = ("means", "scales", "angles", "weights")


def scene(*leading, count=40, channels=3, seed=0, width=53, height=37, size=3.0) -> ImageGaussians:
    """Inside, across the border and outside; weights of either sign."""
    g = torch.Generator().manual_seed(seed)
    return ImageGaussians(
        means=(torch.rand(*leading, count, 2, generator=g) * 1.4 - 0.2) * torch.tensor([width, height]),
        scales=torch.exp(torch.randn(*leading, count, 2, generator=g) * 0.7) * size,
        angles=torch.randn(*leading, count, generator=g) * 2,
        weights=torch.randn(*leading, count, channels, generator=g),
    )


def leaves(s: ImageGaussians, dtype) -> ImageGaussians:
    return ImageGaussians(**{k: getattr(s, k).detach().to(dtype).clone().requires_grad_() for k in LEAVES})


def assert_parity(s: ImageGaussians, width: int, height: int) -> None:
    g = torch.Generator().manual_seed(5)
    fast, slow = leaves(s, torch.float32), leaves(s, torch.float64)
    a, b = splat_image(fast, width, height), splat_image_reference(slow, width, height)
    assert a.shape == b.shape == (*s.means.shape[:-2], height, width, s.weights.shape[-1])
    torch.testing.assert_close(a.double(), b, rtol=0, atol=3e-5 * max(1.0, float(b.detach().abs().max())))
    weights = torch.randn(a.shape, generator=g)
    (a * weights).sum().backward()
    (b * weights).sum().backward()
    for name in LEAVES:
        found, expected = getattr(fast, name).grad, getattr(slow, name).grad
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=3e-4 * float(expected.abs().max()) + 1e-6)


@pytest.mark.parametrize("leading", [(), (1,), (3,), (2, 2)])
@pytest.mark.parametrize("channels", [1, 3, 7])
def test_kernels_and_definition_agree_forward_and_backward(leading, channels):
    assert_parity(scene(*leading, channels=channels), 53, 37)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 2), (3, 40), (64, 33)])
def test_any_shape_of_picture(size):
    assert_parity(scene(width=size[0], height=size[1]), *size)


@pytest.mark.parametrize("size", [0.05, 40.0])
def test_tiny_and_huge_ones(size):
    assert_parity(scene(size=size), 53, 37)


def test_one_gaussian_is_what_it_should_be():
    """Twice as long as wide, turned by 90 degrees: its long axis runs down."""
    s = ImageGaussians(
        torch.tensor([[10.5, 8.5]]),
        torch.tensor([[4.0, 2.0]]),
        torch.tensor([math.pi / 2]),
        torch.tensor([[0.8, -1.0]]),
    )
    value = splat_image(s, 21, 17)
    for x, y in ((10, 8), (13, 8), (10, 12), (12, 5)):
        expected = math.exp(-(((x - 10) / 2) ** 2) / 2 - ((y - 8) / 4) ** 2 / 2)
        assert value[y, x].tolist() == pytest.approx([0.8 * expected, -expected], rel=1e-4)


def test_the_order_and_the_company_do_not_matter():
    s = scene(2)
    mixed = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    other = ImageGaussians(**{k: getattr(s, k)[:, mixed] for k in LEAVES})
    torch.testing.assert_close(splat_image(s, 53, 37), splat_image(other, 53, 37), rtol=0, atol=1e-5)
    alone = ImageGaussians(**{k: getattr(s, k)[1] for k in LEAVES})
    assert torch.equal(splat_image(s, 53, 37)[1], splat_image(alone, 53, 37))


def test_no_gaussians_and_no_pictures():
    none = ImageGaussians(**{k: getattr(scene(2), k)[:, :0] for k in LEAVES})
    value = splat_image(none, 5, 4)
    assert value.shape == (2, 4, 5, 3) and not value.any()
    assert splat_image(ImageGaussians(**{k: getattr(scene(2), k)[:0] for k in LEAVES}), 5, 4).shape == (0, 4, 5, 3)


def test_gradients_are_those_of_finite_differences():
    s = leaves(scene(count=6, size=2.0, width=14, height=11), torch.float64)
    fields = tuple(getattr(s, k) for k in LEAVES)
    assert torch.autograd.gradcheck(lambda *x: splat_image_reference(ImageGaussians(*x), 14, 11), fields, atol=1e-3)


def test_values_that_are_no_numbers_are_not_drawn():
    s = scene()
    bad = ImageGaussians(**{k: getattr(s, k).clone() for k in LEAVES})
    bad.means[3, 0], bad.scales[5, 1] = float("nan"), float("nan")
    keep = torch.ones(40, dtype=torch.bool)
    keep[[3, 5]] = False
    good = dataclasses.replace(s, **{k: getattr(s, k)[keep] for k in LEAVES})
    torch.testing.assert_close(splat_image(bad, 53, 37), splat_image(good, 53, 37), rtol=0, atol=1e-6)


def test_render_finds_the_renderer():
    view = Camera(torch.eye(4), 9.0, 9.0, 26.5, 18.5, 53, 37, 0.0, 1.0)
    s = ImageGaussians(**{k: getattr(scene(channels=1), k) for k in LEAVES})
    picture, values = render(s, view), splat_image(s, 53, 37)
    assert torch.equal(picture.rgb, values.expand(37, 53, 3)) and bool((picture.opacity == 1).all())
    with pytest.raises(UserError, match=r"weights \[N, 1\] or \[N, 3\], they are \[40, 7\]"):
        render(scene(channels=7), view)


def test_tensors_that_do_not_fit_are_refused():
    s = scene(2)
    for name, cut in (("weights", s.weights[:, :5]), ("angles", s.angles[..., None]), ("scales", s.scales.double())):
        with pytest.raises(UserError, match=f"2D Gaussians: {name} are"):
            splat_image(dataclasses.replace(s, **{name: cut}), 8, 8)
