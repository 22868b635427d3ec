"""The radiance field on planes, and its truncated exponential."""

import torch

from foreseen.nn.plane_field import PlaneField, TruncatedExp
from foreseen.nn.planes import FeaturePlanes

TRIPLANE = ((0, 1), (0, 2), (1, 2))


def field(groups: int = 1, initial: float = 0.3) -> PlaneField:
    torch.manual_seed(0)
    planes = FeaturePlanes(TRIPLANE, ((6, 6, 6),), 4, groups)
    return PlaneField(planes, condition=3, width=16, initial=initial)


def test_densities_start_near_the_stated_one_and_colours_lie_in_range() -> None:
    f, coords = field(initial=0.3), torch.rand(500, 3) * 2 - 1
    density, color = f(coords, None, torch.randn(500, 3))
    assert density.shape == (500,) and color.shape == (500, 3)
    assert 0.1 < density.median().item() < 0.9 and (density > 0).all()
    assert (color > 0).all() and (color < 1).all()


def test_density_alone_is_the_density_of_both() -> None:
    f, coords, group = field(groups=2), torch.rand(50, 3) * 2 - 1, torch.randint(2, (50,))
    density, color = f(coords, group, torch.zeros(50, 3))
    torch.testing.assert_close(f.density(coords, group)[0], density)
    other = f(coords, group, torch.ones(50, 3))
    assert torch.equal(other[0], density), "density depends on where one looks from"
    assert not torch.allclose(other[1], color)


def test_no_samples() -> None:
    density, color = field()(torch.empty(0, 3), None, torch.empty(0, 3))
    assert density.shape == (0,) and color.shape == (0, 3)


def test_gradients_reach_every_parameter_and_the_coordinates() -> None:
    f, coords = field(), (torch.rand(200, 3) * 2 - 1).requires_grad_()
    density, color = f(coords, None, torch.randn(200, 3))
    (density.sum() + color.sum()).backward()
    assert all(p.grad is not None and p.grad.any() for p in f.parameters())
    assert coords.grad is not None and (coords.grad != 0).any(-1).float().mean() > 0.9


def test_planes_and_networks_share_no_parameter() -> None:
    f = field()
    networks = {id(p) for p in f.network_parameters()}
    assert id(f.planes.data) not in networks
    assert len(networks) + 1 == len(list(f.parameters()))


def test_truncated_exponential_is_exp_below_its_limit() -> None:
    x = torch.linspace(-8, 8.9, 20, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(TruncatedExp.apply, x)
    torch.testing.assert_close(TruncatedExp.apply(x), x.exp())


def test_a_density_at_the_limit_can_fall_and_one_near_zero_can_rise() -> None:
    x = torch.tensor([50.0, -50.0], requires_grad=True)
    y = TruncatedExp.apply(x)
    assert y[0].item() == torch.tensor(9.0).exp().item() and y.isfinite().all()
    y.sum().backward()
    assert x.grad[0].item() > 1000 and 0 < x.grad[1].item() < 1e-3
