"""Multilayer perceptrons."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

LinearFactory = Callable[[int, int], nn.Linear]
"""(inputs, outputs) -> layer: `nn.Linear` or `LipschitzLinear`."""


class MLP(nn.Module):
    """`layers` hidden layers of `width` units, each followed by `activation`, and a linear output layer.

    Args:
        skip: index of the hidden layer whose output is joined with the input again (NeRF: 4 of 8), or None.
        linear: makes the layers.
        normal_init: standard deviation of normally distributed weights, with zero biases; None keeps the
            layers' own.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int,
        layers: int,
        skip: int | None = None,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        linear: LinearFactory = nn.Linear,
        normal_init: float | None = None,
    ) -> None:
        super().__init__()
        self.skip, self.activation = skip, activation
        ins = [inputs if i == 0 else width + (inputs if skip == i - 1 else 0) for i in range(layers + 1)]
        self.hidden = nn.ModuleList(linear(n, width) for n in ins[:-1])
        self.output = linear(ins[-1], outputs)
        if normal_init is not None:
            init_normal(self, normal_init)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., inputs]` -> `[..., outputs]`."""
        h = x
        for i, layer in enumerate(self.hidden):
            h = self.activation(layer(h))
            if i == self.skip:
                h = torch.cat([x, h], dim=-1)
        return self.output(h)


class ResidualMLP(nn.Module):
    """As `MLP`, but each of the n hidden layers after the first adds to what came before it:
    `h + activation(layer(h)) / n`. However many there are, they begin near the identity."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int,
        layers: int,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        normal_init: float | None = None,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.hidden = nn.ModuleList(nn.Linear(inputs if i == 0 else width, width) for i in range(layers))
        self.output = nn.Linear(width, outputs)
        if normal_init is not None:
            init_normal(self, normal_init)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., inputs]` -> `[..., outputs]`."""
        first, *others = self.hidden
        h = self.activation(first(x))
        for layer in others:
            h = h + self.activation(layer(h)) / len(others)
        return self.output(h)


def init_normal(module: nn.Module, std: float) -> None:
    """Draws the weights of all linear layers in `module` from N(0, std^2) and zeroes their biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)


def scatter_units(net: MLP, std: float, reach: float) -> None:
    """Draws the first layer's weights from N(0, std^2) and its biases evenly from -reach to reach, so that its units
    are active all over inputs of about that size and a fit of the output layer alone is flexible."""
    first = net.hidden[0]
    assert isinstance(first, nn.Linear)
    nn.init.normal_(first.weight, std=std)
    nn.init.uniform_(first.bias, -reach, reach)
