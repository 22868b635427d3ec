"""Dynamics as a second-order neural ODE on the surface that the poses lie on."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from foreseen.dynamics.config import LagrangianConfig, Structure
from foreseen.dynamics.manifold import Manifold

LAST_LAYER = ("output", "linear", "square", "drag")
"""Names of the parameters in which the acceleration is linear."""


class LagrangianODE(nn.Module):
    """M(q) (q'' + C) = -grad V(q) - M(q) B q' [structure "potential"], or q'' + C = f(q) - B q' ["free"].

    These are Lagrange's equations of a body that slides on the manifold against a drag. V (or f) is a network whose
    last layer is linear, B a matrix of drags; the metric M and the Christoffel term C are those of the manifold. The
    velocity acts by drag and geometry alone: a network of q and q' fits the observed states as well, but cannot
    extrapolate to pairs of q and q' that were not observed together.

    State `[..., 2 d]`: q and q'. The unit of time is the observed window.

    Args:
        widths: units of the hidden layers.
    """

    velocity_scale: Tensor

    def __init__(
        self, manifold: Manifold, widths: tuple[int, ...], structure: Structure, config: LagrangianConfig
    ) -> None:
        super().__init__()
        self.manifold = (manifold,)  # in a tuple, so that its buffers are not registered here as well
        self.structure, self.config = structure, config
        maximum, double = manifold.maximum, torch.float64
        sizes = (maximum, *widths)
        self.hidden = nn.ParameterList(torch.zeros(b, a, dtype=double) for a, b in itertools.pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(b, dtype=double) for b in widths)
        outputs = 1 if structure == "potential" else maximum
        self.output = nn.Parameter(torch.zeros(outputs, widths[-1], dtype=double))
        self.linear = nn.Parameter(torch.zeros(maximum, dtype=double))
        self.square = nn.Parameter(torch.zeros(maximum, maximum, dtype=double))
        self.drag = nn.Parameter(torch.zeros(maximum, maximum, dtype=double))
        # The usual speed: forces are in units of its square, drags in units of itself.
        self.register_buffer("velocity_scale", torch.ones((), dtype=double))

    @torch.no_grad()
    def draw_hidden_layers(self, low: Tensor, high: Tensor, generator: torch.Generator) -> None:
        """Draws the hidden layers at random. The units of the first one have their centres spread over `low..high`
        `[d]` and slopes from flat to sharp; deeper layers keep the variance of their inputs, however many there are."""
        size, c = len(low), self.config
        for layer, (weight, bias) in enumerate(zip(self.hidden, self.biases)):
            count, inputs = weight.shape
            drawn = torch.randn(count, inputs, generator=generator, dtype=weight.dtype)
            if layer == 0:
                drawn[:, size:] = 0
                share = torch.rand(count, 1, generator=generator, dtype=weight.dtype)
                sharpness = c.sharpness[0] * (c.sharpness[1] / c.sharpness[0]) ** share
                drawn = drawn * sharpness / size**0.5
                centres = low + torch.rand(count, size, generator=generator, dtype=weight.dtype) * (high - low)
                bias.copy_(-(drawn[:, :size] * centres).sum(-1))
            else:
                drawn = drawn * (c.deep_weight_scale / inputs**0.5)
                bias.copy_(c.deep_bias_scale * torch.randn(count, generator=generator, dtype=weight.dtype))
            weight.copy_(drawn)

    @torch.no_grad()
    def zero_hidden_layers(self) -> None:
        """Turns the hidden units off: what is left is a quadratic potential (or a linear force), and drag."""
        for parameter in (*self.hidden, *self.biases):
            parameter.zero_()

    @torch.no_grad()
    def set_constant_force(self, acceleration: Tensor) -> None:
        """Sets the force, on a flat surface, under which a body at rest has the `acceleration` `[d]` everywhere."""
        size = len(acceleration)
        force = acceleration / self.velocity_scale.square()
        if self.structure == "potential":
            force = -self.manifold[0].metric(torch.zeros_like(acceleration)) @ force
        self.linear[:size] = force

    def _hidden_activations(self, q: Tensor) -> list[Tensor]:
        """Activations of every hidden layer."""
        activations, x = [], q
        for layer, bias in enumerate(self.biases):
            x = torch.tanh(x @ self._hidden_weights(layer, q.shape[-1]).T + bias)
            activations.append(x)
        return activations

    def _hidden_weights(self, layer: int, size: int) -> Tensor:
        """The layer's weights; the first layer has `size` inputs."""
        return self.hidden[layer][:, :size] if layer == 0 else self.hidden[layer]

    def _backpropagate(self, units: list[Tensor], upper: Tensor, size: int) -> Tensor:
        """The gradient with respect to q of a quantity with the gradient `upper` with respect to the last hidden
        layer."""
        for layer in range(len(units) - 1, -1, -1):
            upper = (upper * (1 - units[layer].square())) @ self._hidden_weights(layer, size)
        return upper

    def _hidden_jacobian(self, units: list[Tensor], size: int) -> Tensor:
        """`[..., units, d]`: the gradient of each unit of the last layer with respect to q."""
        slopes = self.hidden[0][:, :size] * (1 - units[0].square())[..., None]
        for unit, weight in zip(units[1:], self.hidden[1:]):
            slopes = (weight @ slopes) * (1 - unit.square())[..., None]
        return slopes

    def force(self, q: Tensor) -> Tensor:
        """-grad V, or f: `[..., d]`, in units of the squared velocity scale."""
        size = q.shape[-1]
        units = self._hidden_activations(q)
        if self.structure == "potential":
            pull = self._backpropagate(units, self.output[0].expand_as(units[-1]), size)
            square = self.square[:size, :size]
            return -(pull + self.linear[:size] + q @ (square + square.T))
        return units[-1] @ self.output[:size].T + self.linear[:size] + q @ self.square[:size, :size].T

    def potential(self, q: Tensor) -> Tensor:
        """V `[...]`, in units of the squared velocity scale; for the structure "potential"."""
        size = q.shape[-1]
        network = self._hidden_activations(q)[-1] @ self.output[0]
        return network + q @ self.linear[:size] + ((q @ self.square[:size, :size]) * q).sum(-1)

    def energy(self, q: Tensor, v: Tensor) -> Tensor:
        """Kinetic plus potential energy, `[...]`, in units of the squared velocity scale."""
        metric = self.manifold[0].metric(q)
        kinetic = 0.5 * (v[..., None, :] @ metric @ v[..., None])[..., 0, 0]
        return kinetic / self.velocity_scale.square() + self.potential(q)

    def forward(self, time: Tensor, state: Tensor) -> Tensor:
        """The state's rate of change `[..., 2 d]`; it does not depend on the time."""
        del time
        size = state.shape[-1] // 2
        q, v = state[..., :size], state[..., size:]
        force = self.force(q)
        christoffel_term, inverse = self.manifold[0].christoffel(q, v)
        if self.structure == "potential":
            force = (inverse @ force[..., None])[..., 0] if size > 1 else inverse[..., 0] * force
        drag = v @ self.drag[:size, :size].T
        return torch.cat(
            [v, self.velocity_scale.square() * force - christoffel_term - self.velocity_scale * drag], dim=-1
        )

    def penalties(self, size: int) -> Tensor:
        """`[C]`: the penalty of each squared weight of `columns`. Sharp hidden units cost more, so that the force stays
        smooth where no path was observed. Drags are free."""
        flattest = self.config.sharpness[0]
        units = self.hidden[0].norm(dim=-1).clamp_min(flattest) if len(self.hidden) == 1 else torch.ones(1)
        units = (units.to(self.output) / flattest).pow(self.config.sharpness_power).expand(self.output.shape[1])
        if self.structure == "potential":
            forces = torch.cat([units, units.new_ones(size + len(self._pairs(size)))])
        else:
            forces = torch.cat([units, units.new_ones(1 + size)]).repeat(size)
        return torch.cat([forces, forces.new_zeros(size * size)])

    # The acceleration is linear in all weights behind the hidden layers, so they can be solved for.

    def columns(self, q: Tensor, v: Tensor) -> Tensor:
        """`[..., d, C]`: the derivative of q'' with respect to each of the C linear weights."""
        size = q.shape[-1]
        units = self._hidden_activations(q)
        eye = torch.eye(size, dtype=q.dtype)
        if self.structure == "potential":
            _, inverse = self.manifold[0].christoffel(q, v)
            pulls = [self._hidden_jacobian(units, size).transpose(-1, -2), eye.expand(*q.shape[:-1], size, size)]
            for i, j in self._pairs(size):
                pulls.append((q[..., i, None] * eye[j] + q[..., j, None] * eye[i])[..., None])
            forces = -(inverse @ torch.cat(pulls, dim=-1))
        else:
            last = torch.cat([units[-1], torch.ones_like(q[..., :1]), q], dim=-1)
            forces = _blocks(last, size)
        drags = _blocks(v / self.velocity_scale, size)
        return torch.cat([forces, -drags], dim=-1) * self.velocity_scale.square()

    @torch.no_grad()
    def set_weights(self, weights: Tensor, size: int) -> None:
        """Sets the weights `[C]` of `columns`."""
        last = self.output.shape[1]
        forces, drags = weights.split([len(weights) - size * size, size * size])
        for parameter in self.last_layer():
            parameter.zero_()
        if self.structure == "potential":
            pairs = self._pairs(size)
            self.output[0], self.linear[:size], squares = forces.split([last, size, len(pairs)])
            for (i, j), value in zip(pairs, squares):
                self.square[i, j] = value
        else:
            rows = forces.view(size, last + 1 + size)
            self.output[:size], self.linear[:size] = rows[:, :last], rows[:, last]
            self.square[:size, :size] = rows[:, last + 1 :]
        self.drag[:size, :size] = drags.view(size, size)

    def last_layer(self) -> list[nn.Parameter]:
        """The parameters that `set_weights` sets, in the order of `LAST_LAYER`."""
        return [self.output, self.linear, self.square, self.drag]

    @torch.no_grad()
    def set_last_layer(self, values: Tensor) -> None:
        """Sets the parameters of `last_layer` from all their values in one row."""
        for parameter, part in zip(self.last_layer(), values.split([p.numel() for p in self.last_layer()])):
            parameter.copy_(part.view_as(parameter))

    @staticmethod
    def _pairs(size: int) -> list[tuple[int, int]]:
        return [(i, j) for i in range(size) for j in range(i, size)]


def _blocks(x: Tensor, size: int) -> Tensor:
    """`[..., K]` -> `[..., size, size K]`: row i holds x in block i, and 0 elsewhere."""
    rows = torch.zeros(*x.shape[:-1], size, size, x.shape[-1], dtype=x.dtype)
    for i in range(size):
        rows[..., i, i, :] = x
    return rows.flatten(-2)
