"""Layers with a learned bound."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from foreseen.nn.lipschitz import LipschitzLinear, applied_weight, lipschitz_product


@pytest.mark.parametrize("seed", range(5))
def test_operator_norm_is_bounded(seed: int) -> None:
    """In the infinity norm, for weights far above and below the bound, on random and on the worst inputs."""
    torch.manual_seed(seed)
    layer = LipschitzLinear(7, 5)
    with torch.no_grad():
        layer.weight.mul_(torch.tensor([0.0, 0.01, 1.0, 30.0, 1e4])[:, None])
        layer.c.copy_(torch.randn(()))
    worst = layer.normalised_weight().sign()
    x, y = torch.cat([torch.randn(20, 7), worst]), torch.zeros(7)
    with torch.no_grad():
        segment = (layer(x) - layer(y)).abs().amax(-1) / x.abs().amax(-1).clamp_min(1e-9)
    bound = float(F.softplus(layer.c.detach()))
    assert float(segment.max()) <= bound * (1 + 1e-5)
    assert float(segment.max()) == pytest.approx(bound, rel=1e-4), "the bound is reached"


def test_rows_below_the_bound_are_left_alone() -> None:
    layer = LipschitzLinear(6, 4)
    assert torch.equal(layer.normalised_weight(), layer.weight), "at the start no row is above the bound"
    assert layer.c.item() == pytest.approx(layer.weight.abs().sum(1).max().item())
    with torch.no_grad():
        layer.weight[2] *= 100
    changed = (layer.normalised_weight() != layer.weight).any(dim=1)
    assert changed.tolist() == [False, False, True, False]


def test_gradients_are_finite_where_a_row_is_zero() -> None:
    layer = LipschitzLinear(3, 2)
    nn.init.zeros_(layer.weight)
    layer(torch.ones(1, 3)).sum().backward()
    assert torch.isfinite(layer.weight.grad).all()


def test_gradients_by_finite_differences() -> None:
    layer = LipschitzLinear(4, 3).double()
    x = torch.randn(2, 4, dtype=torch.float64)

    def apply(weight: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "c": c}, (x,))

    weight = (10 * layer.weight).detach().requires_grad_()
    assert torch.autograd.gradcheck(apply, (weight, layer.c.detach().clone().requires_grad_()))


def test_product_of_bounds() -> None:
    net = nn.Sequential(LipschitzLinear(2, 3), nn.ReLU(), LipschitzLinear(3, 1), nn.Linear(1, 1))
    bounds = [F.softplus(net[0].c), F.softplus(net[2].c)]
    assert torch.allclose(lipschitz_product(net), bounds[0] * bounds[1])
    gradient = torch.autograd.grad(lipschitz_product(net), net[0].c)[0]
    assert torch.allclose(gradient, torch.sigmoid(net[0].c) * bounds[1])
    x, y = torch.randn(50, 2), torch.randn(50, 2)
    chain = (net[:3](x) - net[:3](y)).abs().amax(-1) / (x - y).abs().amax(-1)
    assert float(chain.max()) <= float(lipschitz_product(net)), "the product bounds the chain"
    assert float(lipschitz_product(nn.Linear(2, 2))) == 1.0


def test_applied_weight() -> None:
    plain, bounded = nn.Linear(2, 2), LipschitzLinear(2, 2)
    assert applied_weight(plain) is plain.weight
    with torch.no_grad():
        bounded.c.fill_(-3.0)
    assert torch.equal(applied_weight(bounded), bounded.normalised_weight())
