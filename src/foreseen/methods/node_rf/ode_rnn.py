"""The ODE-RNN encoder: it reads observations backward in time, and its recurrent state follows an ODE between them.

Source: Rubanova et al. 2019 (Latent ODEs), section 3.1, with the sizes of Node-RF.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from foreseen.errors import UserError
from foreseen.methods.node_rf.config import NodeRFPaperConfig
from foreseen.nn.mlp import MLP, ResidualMLP, init_normal
from foreseen.ode import integrate


class AutonomousODE(nn.Module):
    """`dy/dt = f(y)`: `layers` linear layers with Tanh between them. Time is not an input, so the dynamics are the same
    in the forecast.

    Args:
        max_plain_layers: with more layers the inner ones are residual.
        init_std: standard deviation of the initial weights.
    """

    def __init__(
        self,
        dims: int,
        width: int,
        layers: int = NodeRFPaperConfig.ode_layers,
        max_plain_layers: int = NodeRFPaperConfig.max_plain_layers,
        init_std: float = NodeRFPaperConfig.ode_init_std,
    ) -> None:
        super().__init__()
        if layers < 2:
            raise UserError(f"an ODE of {layers} linear layers (ode_layers): give 2 or more.")
        kind = MLP if layers <= max_plain_layers else ResidualMLP
        self.net = kind(dims, dims, width=width, layers=layers - 1, activation=torch.tanh, normal_init=init_std)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """`[..., dims]` -> `[..., dims]`."""
        del t
        return self.net(y)


class GaussianGRU(nn.Module):
    """A gated recurrent unit whose state is a mean and a standard deviation (Rubanova et al. 2019, their code's GRU
    unit)."""

    def __init__(self, dims: int, inputs: int, hidden: int) -> None:
        super().__init__()
        self.update = MLP(2 * dims + inputs, dims, width=hidden, layers=1, activation=torch.tanh)
        self.reset = MLP(2 * dims + inputs, dims, width=hidden, layers=1, activation=torch.tanh)
        self.new = MLP(2 * dims + inputs, 2 * dims, width=hidden, layers=1, activation=torch.tanh)

    def forward(self, mean: Tensor, deviation: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation `[..., dims]`, observation `[..., inputs]` -> the next ones."""
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

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        dims: int,
        hidden: int,
        steps: int = NodeRFPaperConfig.encoder_steps,
        backward_lead: float = NodeRFPaperConfig.backward_lead,
        init_std: float = NodeRFPaperConfig.ode_init_std,
    ) -> None:
        super().__init__()
        self.dims, self.steps, self.backward_lead = dims, steps, backward_lead
        self.ode = AutonomousODE(dims, hidden, init_std=init_std)
        self.unit = GaussianGRU(dims, inputs, hidden)
        self.head = MLP(2 * dims, 2 * outputs, width=hidden, layers=1, activation=torch.tanh)
        init_normal(self, init_std)

    def forward(self, observations: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation `[outputs]` at `times[0]`.

        Args:
            observations: `[K, inputs]`, K > 1.
            times: `[K]` ascending, in window lengths.
        """
        mean = deviation = observations.new_zeros(self.dims)
        step = float(times[-1] - times[0]) / self.steps
        current_time = float(times[-1]) + self.backward_lead
        for observation, time in zip(observations.flip(0), times.flip(0).tolist(), strict=True):
            mean = self._drift(mean, current_time, time, step)
            mean, deviation = self.unit(mean, deviation, observation)
            current_time = time
        mean, deviation = self.head(torch.cat([mean, deviation])).chunk(2)
        return mean, deviation.abs()

    def _drift(self, y: Tensor, start: float, end: float, step: float) -> Tensor:
        """The recurrent mean, integrated from `start` back to `end`; one Euler step if the gap is below `step`."""
        steps = max(1, math.floor((start - end) / step + 1e-3))
        return integrate(self.ode, y, torch.linspace(start, end, steps + 1), solver="euler")[-1]
