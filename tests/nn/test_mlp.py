"""Multilayer perceptrons."""

import torch
from torch import nn

from foreseen.nn.lipschitz import LipschitzLinear
from foreseen.nn.mlp import MLP


def shapes(net: MLP) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]


def test_shapes_with_skip() -> None:
    net = MLP(42, 8, width=16, layers=8, skip=4)
    assert shapes(net) == [(42, 16), *[(16, 16)] * 4, (58, 16), *[(16, 16)] * 2, (16, 8)]
    assert net(torch.zeros(3, 2, 42)).shape == (3, 2, 8)


def test_skip_carries_the_input() -> None:
    """With the first layers silenced, the input still arrives through the skip."""
    net = MLP(3, 1, width=8, layers=3, skip=1)
    nn.init.zeros_(net.hidden[0].weight)
    x = torch.randn(1, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x).sum(), x)
    assert gradient.abs().max() > 1e-4


def test_it_is_the_written_out_composition() -> None:
    net = MLP(6, 6, width=10, layers=2, activation=torch.tanh, normal_init=0.1)
    x = torch.randn(7, 6)
    a, b, c = (m for m in net.modules() if isinstance(m, nn.Linear))
    assert torch.allclose(net(x), c(torch.tanh(b(torch.tanh(a(x))))))


def test_normal_init() -> None:
    torch.manual_seed(0)
    net = MLP(200, 200, width=200, layers=1, normal_init=0.1)
    for layer in (net.hidden[0], net.output):
        assert abs(float(layer.weight.detach().std()) - 0.1) < 0.003
        assert not layer.bias.any()


def test_other_layers() -> None:
    net = MLP(4, 2, width=8, layers=2, linear=LipschitzLinear)
    assert sum(isinstance(m, LipschitzLinear) for m in net.modules()) == 3
