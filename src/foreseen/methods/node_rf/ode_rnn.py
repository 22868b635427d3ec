"""The encoder: observations, read backward in time by a recurrent unit whose state moves by an ODE between
them.

Source: Rubanova et al. 2019 (Latent ODEs), section 3.1, with the sizes of Node-RF.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from foreseen.errors import UserError
from foreseen.nn.mlp import MLP, ResidualMLP, init_normal
from foreseen.ode import integrate

BACKWARD_LEAD = 0.01
"""How long before (that is, later than) the last observation the backward run starts, in window lengths."""

STEPS_OVER_OBSERVATIONS = 50
"""Euler steps from the first observation to the last."""

INIT_STD = 0.1
"""Standard deviation of the weights of every layer around an ODE at the start; biases begin at zero."""

MAX_PLAIN_LAYERS = 3
"""A law of more linear layers than the paper's has its inner ones residual. A plain stack of seven neither loses nor
blows up its signal, but squeezes it into few directions: it learns slowly, and the paper's failed."""


class AutonomousODE(nn.Module):
    """`dy/dt = f(y)`: `layers` linear layers with Tanh between them. Time is not an input, so that the law is the same
    in the forecast."""

    def __init__(self, dims: int, width: int, layers: int = MAX_PLAIN_LAYERS) -> None:
        super().__init__()
        if layers < 2:
            raise UserError(f"a law of {layers} linear layers (law_layers): give 2 or more.")
        kind = MLP if layers <= MAX_PLAIN_LAYERS else ResidualMLP
        self.net = kind(dims, dims, width=width, layers=layers - 1, activation=torch.tanh, normal_init=INIT_STD)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """`[..., dims]` -> `[..., dims]`."""
        del t
        return self.net(y)


class GaussianGRU(nn.Module):
    """A gated recurrent unit whose state is a mean and a deviation (Rubanova et al. 2019, their code's GRU
    unit)."""

    def __init__(self, dims: int, inputs: int, hidden: int) -> None:
        super().__init__()
        self.update = MLP(2 * dims + inputs, dims, width=hidden, layers=1, activation=torch.tanh)
        self.reset = MLP(2 * dims + inputs, dims, width=hidden, layers=1, activation=torch.tanh)
        self.new = MLP(2 * dims + inputs, 2 * dims, width=hidden, layers=1, activation=torch.tanh)

    def forward(self, mean: Tensor, deviation: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation `[..., dims]`, observation `[..., inputs]` -> the next mean and deviation."""
        joint = torch.cat([mean, deviation, x], dim=-1)
        update, reset = self.update(joint).sigmoid(), self.reset(joint).sigmoid()
        new = self.new(torch.cat([reset * mean, reset * deviation, x], dim=-1))
        new_mean, new_deviation = new.chunk(2, dim=-1)
        return (
            (1 - update) * new_mean + update * mean,
            ((1 - update) * new_deviation.abs() + update * deviation).abs(),
        )


class OdeRnnEncoder(nn.Module):
    """K observations -> a Gaussian over the state at the first of them."""

    def __init__(self, inputs: int, outputs: int, *, dims: int, hidden: int) -> None:
        super().__init__()
        self.dims = dims
        self.ode = AutonomousODE(dims, hidden)
        self.unit = GaussianGRU(dims, inputs, hidden)
        self.head = MLP(2 * dims, 2 * outputs, width=hidden, layers=1, activation=torch.tanh)
        init_normal(self, INIT_STD)

    def forward(self, observations: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation `[outputs]` at `times[0]`.

        Args:
            observations: `[K, inputs]`, K > 1.
            times: `[K]` ascending, in window lengths.
        """
        mean = deviation = observations.new_zeros(self.dims)
        step = float(times[-1] - times[0]) / STEPS_OVER_OBSERVATIONS
        now = float(times[-1]) + BACKWARD_LEAD
        for observation, time in zip(observations.flip(0), times.flip(0).tolist(), strict=True):
            mean = self._drift(mean, now, time, step)
            mean, deviation = self.unit(mean, deviation, observation)
            now = time
        mean, deviation = self.head(torch.cat([mean, deviation])).chunk(2)
        return mean, deviation.abs()

    def _drift(self, y: Tensor, start: float, end: float, step: float) -> Tensor:
        """The recurrent mean from `start` back to `end`; one Euler step where the gap is shorter than
        `step`."""
        steps = max(1, math.floor((start - end) / step + 1e-3))
        return integrate(self.ode, y, torch.linspace(start, end, steps + 1), solver="euler")[-1]
