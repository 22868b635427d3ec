"""An encoder from positions and velocities to a latent state, and its decoder."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from foreseen.methods.node_rf.fast_config import Coordinates, EncoderConfig
from foreseen.methods.node_rf.latent_embedding import isomap, leading_codes, principal_axes
from foreseen.nn.mlp import MLP, scatter_units


class StateEncoder(nn.Module):
    """A network from positions to the code q, and one from q back to positions. Velocities are mapped by the Jacobians
    of the networks, so that q' is the time derivative of q, as the second-order ODE requires. (The published Node-RF
    encodes positions only and uses velocities directly.)"""

    def __init__(self, width: int, dims: int, config: EncoderConfig) -> None:
        super().__init__()
        self.dims = dims
        self.encoder = MLP(width, dims, width=config.width, layers=1, activation=torch.tanh)
        self.decoder = MLP(dims, width, width=config.width, layers=1, activation=torch.tanh)
        for net in (self.encoder, self.decoder):
            scatter_units(net, config.gain, config.gain)

    def forward(self, positions: Tensor, velocities: Tensor) -> Tensor:
        """`[..., width]` each -> `[..., 2 D]`."""
        return torch.cat(torch.func.jvp(self.encoder, (positions,), (velocities,)), dim=-1)

    def decode(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """States `[..., 2 D]` -> positions and velocities `[..., width]`."""
        q, v = states.split(self.dims, dim=-1)
        decoded = torch.func.jvp(self.decoder, (q.contiguous(),), (v.contiguous(),))  # positions, velocities
        return decoded[0], decoded[1]

    def double_decoder(self) -> Callable[[Tensor], Tensor]:
        """The decoder as it is now, in float64."""
        return copy.deepcopy(self.decoder).double()


@torch.no_grad()
def fitting_encoder(positions: Tensor, config: EncoderConfig, kind: Coordinates = "surface") -> StateEncoder:
    """An encoder and decoder for the `positions` `[N, width]` of all sequences. Their codes are coordinates
    of that `kind`, scaled to [-1, 1]: distances along the manifold of positions (Isomap), or their projection on
    principal axes. Only the output layers are fitted, in closed form; the hidden layers are random and are trained
    later."""
    sample = positions[torch.linspace(0, len(positions) - 1, min(config.max_points, len(positions))).long()].double()
    scores, sizes = isomap(sample.numpy(), config.neighbours) if kind == "surface" else principal_axes(sample.numpy())
    codes = leading_codes(scores, sizes, config)
    encoder = StateEncoder(positions.shape[1], codes.shape[1], config)
    fit_output_layer(encoder.encoder, sample, codes, config.ridge)
    all_positions = positions.double()
    all_codes = copy.deepcopy(encoder.encoder).double()(all_positions)
    fit_output_layer(encoder.decoder, all_codes, all_positions, config.ridge)
    return encoder


@torch.no_grad()
def fit_output_layer(net: MLP, inputs: Tensor, targets: Tensor, ridge: float) -> None:
    """Sets the output layer of `net` by ridge regression to `targets` `[N, outputs]` at `inputs` `[N, inputs]`, both
    float64."""
    h, exact = inputs, copy.deepcopy(net).double()
    for layer in exact.hidden:
        h = exact.activation(layer(h))
    rows = torch.cat([h, torch.ones_like(h[:, :1])], dim=-1)
    gram = rows.T @ rows / len(rows) + ridge * torch.eye(rows.shape[1], dtype=rows.dtype)
    solution = torch.linalg.solve(gram, rows.T @ targets / len(rows))
    net.output.weight.copy_(solution[:-1].T)
    net.output.bias.copy_(solution[-1])
