"""The neural ODE that moves a latent code, and how it is fitted to codes that were seen."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from foreseen.methods.node_rf.fast_config import LatentODEConfig
from foreseen.nn.mlp import MLP, scatter_units
from foreseen.nn.splines import UniformBSpline
from foreseen.nn.threads import one_thread
from foreseen.ode import integrate_from


class SecondOrderODE(nn.Module):
    """`q'' = f(q) + C(q) q' + q'ᵀ G(q) q'` for a code q of D dimensions; one network of q says f, C and G.

    Node-RF's own right-hand side is a network of the whole state. In a short window the states lie on a thin line in
    (q, q'), and such a network may say anything beside it. A polynomial in q' whose coefficients depend on q is told
    by every passage through q, whatever its speed. Every mechanical system has this form. Time is counted in windows.

    Attributes:
        fastest: `[]`, rates well above this count as this in the terms in q', so that no trajectory leaves to infinity.
    """

    fastest: Tensor

    def __init__(self, dims: int, config: LatentODEConfig) -> None:
        super().__init__()
        self.dims, self.step, self.gain = dims, config.step, config.gain
        self.register_buffer("fastest", torch.ones(()))
        outputs = dims * (1 + dims + dims * dims)
        self.net = MLP(dims, outputs, width=config.width, layers=config.layers, activation=torch.tanh)
        self.degree = config.polynomial_degree
        monomials = sum(dims**k for k in range(1, self.degree + 1))
        self.net.output = nn.Linear(config.width + monomials, outputs)
        with torch.no_grad():
            scatter_units(self.net, 1.0, config.gain)
            self.net.output.weight.mul_(config.initial)
            self.net.output.bias.zero_()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """`(q, q')` `[..., 2 D]` -> `(q', q'')`."""
        del t
        q, v = y.split(self.dims, dim=-1)
        force, drag, christoffel = self.coefficients(q)
        w = self.slowed(v)
        pull = (drag @ w[..., None])[..., 0] + torch.einsum("...kij,...i,...j->...k", christoffel, w, w)
        return torch.cat([v, force + pull], dim=-1)

    def slowed(self, v: Tensor) -> Tensor:
        """Rates that do not grow beyond `fastest`."""
        return v / (1 + (v / self.fastest).square().sum(-1, keepdim=True)).sqrt()

    def hidden(self, q: Tensor) -> Tensor:
        """What the network's output layer sees, `[..., width + monomials]`: hidden units, and all products of up to
        `polynomial_degree` components of q, by which forces go on beyond the codes that were seen."""
        h = self.gain * q
        for layer in self.net.hidden:
            h = torch.tanh(layer(h))
        inputs, products = [h], torch.ones_like(q[..., :1])
        for _ in range(self.degree):
            products = (products[..., :, None] * q[..., None, :]).flatten(-2)
            inputs.append(products)
        return torch.cat(inputs, dim=-1)

    def coefficients(self, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f `[..., D]`, C `[..., D, D]` and G `[..., D, D, D]` at codes `[..., D]`."""
        d = self.dims
        force, drag, christoffel = self.net.output(self.hidden(q)).split([d, d * d, d**3], dim=-1)
        return force, drag.unflatten(-1, (d, d)), christoffel.unflatten(-1, (d, d, d))

    def flow(self, y: Tensor, start: float, times: Tensor) -> Tensor:
        """States `[T, ..., 2 D]` at `times` `[T]` of the solution from `y` `[..., 2 D]` at `start`, in windows."""
        return integrate_from(self, y, start, times, solver="rk4", step=self.step)


@dataclass(frozen=True)
class SeenCodes:
    """Codes of S sequences at up to T times each, padded; times in windows from each sequence's first.

    Attributes:
        codes: `[S, T, D]`.
        times: `[S, T]`.
        valid: `[S, T]` bool.
        rates: `[S, T, D]` of the codes, where they are known.
    """

    codes: Tensor
    times: Tensor
    valid: Tensor
    rates: Tensor | None = None

    def until(self, count: int) -> SeenCodes:
        """The first `count` times."""
        rates = None if self.rates is None else self.rates[:, :count]
        return SeenCodes(self.codes[:, :count], self.times[:, :count], self.valid[:, :count], rates)

    def double(self) -> SeenCodes:
        """In float64."""
        rates = None if self.rates is None else self.rates.double()
        return SeenCodes(self.codes.double(), self.times.double(), self.valid, rates)


def trajectories(ode: SecondOrderODE, first: Tensor, times: Tensor) -> Tensor:
    """States `[S, T, 2 D]` at `times` `[S, T]` from `first` `[S, 2 D]` at 0. All sequences are solved together at all
    times that any of them has."""
    knots, place = times.unique(return_inverse=True)
    path = ode.flow(first, 0.0, knots)
    return path[place, torch.arange(len(times), device=place.device)[:, None]]


def smooth_states(seen: SeenCodes, config: LatentODEConfig) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q, q' and q'' `[N, D]` all over the sequences, by a smoothing spline through each; and their first states
    `[S, 2 D]`."""
    if seen.rates is not None:
        return (*_between(seen), torch.cat([seen.codes[:, 0], seen.rates[:, 0]], dim=-1))
    parts, firsts = [], []
    for codes, times, valid in zip(seen.codes, seen.times, seen.valid):
        codes, times = codes[valid], times[valid]
        end = times[-1].clamp_min(1e-9)
        spline = UniformBSpline(max(4, int(config.controls * len(times))))
        jerk = torch.eye(spline.controls, dtype=codes.dtype).diff(n=3, dim=0) * config.stiffness
        rows = torch.cat([spline.basis(times / end), jerk])
        controls = torch.linalg.pinv(rows)[:, : len(times)] @ codes
        at = torch.linspace(0, 1, config.rates_seen, dtype=codes.dtype)
        own = [spline.basis(at, k) @ controls / end**k for k in range(3)]
        parts.append(own)
        firsts.append(torch.cat([own[0][0], own[1][0]]))
    q, v, a = (torch.cat([own[k] for own in parts]) for k in range(3))
    return q, v, a, torch.stack(firsts)


def _between(seen: SeenCodes) -> tuple[Tensor, Tensor, Tensor]:
    """q, q' and q'' `[N, D]` in the middle between times, by Hermite's cubics through codes and rates."""
    assert seen.rates is not None
    both = seen.valid[:, 1:] & seen.valid[:, :-1]
    (q, q_next), (v, v_next) = ((x[:, :-1][both], x[:, 1:][both]) for x in (seen.codes, seen.rates))
    h = seen.times.diff(dim=1)[both][:, None]
    middle = (q + q_next) / 2 + h * (v - v_next) / 8
    return middle, 1.5 * (q_next - q) / h - (v + v_next) / 4, (v_next - v) / h


def pieces(states: Tensor, times: Tensor, valid: Tensor, share: float) -> tuple[SeenCodes, Tensor]:
    """Trajectories cut into pieces of `share` of the longest, and the first state `[P, 2 D]` of each.

    Args:
        states: `[S, T, 2 D]`, known.
        times: `[S, T]`, in windows.
        valid: `[S, T]` bool.
    """
    length = max(4, round(share * times.shape[1]))
    cut = [slice(i, i + length) for i in range(0, max(1, times.shape[1] - 3), length)]
    rows: list[list[Tensor]] = [[], [], [], []]
    for own, when, there in zip(states, times, valid):
        for part in cut:
            if int(there[part].sum()) >= 4:
                room = length - len(own[part])
                pad = (own[part], (when[part] - when[part][0]), there[part])
                padded = [torch.cat([x, x.new_zeros(room, *x.shape[1:])]) for x in pad]
                for row, value in zip(rows, (*padded, own[part][0])):
                    row.append(value)
    path, when, there, first = map(torch.stack, rows)
    codes, rates = path.chunk(2, dim=-1)
    return SeenCodes(codes, when * there, there, rates), first


def fit_ode(
    ode: SecondOrderODE,
    seen: SeenCodes,
    config: LatentODEConfig,
    first: Tensor | None = None,
    *,
    anew: bool = True,
    shares: tuple[float, ...] | None = None,
) -> Tensor:
    """Fits `ode` in place and returns the first states `[S, 2 D]`; where these are known they are given as `first` and
    kept. Accelerations of smooth curves first (if it begins `anew`), then whole trajectories."""
    exact, seen = copy.deepcopy(ode).double(), seen.double()
    with one_thread(), torch.enable_grad():
        q, v, a, guessed = smooth_states(seen, config)
        if anew:
            exact.fastest.copy_(config.fastest * v.norm(dim=-1).max().clamp_min(1e-6))
        priors = _Priors(q, v.std().clamp_min(1e-9), a.std().clamp_min(1e-9), config)
        if anew:
            _regress(exact, q, v, a, priors, config)
        start = guessed.requires_grad_() if first is None else first.double()
        _shoot(exact, start, seen, priors, config, shares or config.shooting_shares)
    ode.load_state_dict({name: value.to(ode.net.output.weight) for name, value in exact.state_dict().items()})
    return start.detach().to(ode.net.output.weight)


@dataclass(frozen=True)
class _Priors:
    """What keeps the terms in q' simple, at codes `q` `[N, D]`, in units of usual rates and accelerations."""

    q: Tensor
    rate: Tensor
    acceleration: Tensor
    config: LatentODEConfig

    def __call__(self, ode: SecondOrderODE) -> Tensor:
        _, drag, christoffel = ode.coefficients(self.q)
        changes = (drag - drag.mean(0)) * self.rate / self.acceleration
        quadratic = christoffel * self.rate**2 / self.acceleration
        c = self.config
        return c.drag_weight * changes.square().mean() + c.quadratic_weight * quadratic.square().mean()


def _regress(ode: SecondOrderODE, q: Tensor, v: Tensor, a: Tensor, priors: _Priors, config: LatentODEConfig) -> None:
    """The output layer in closed form: accelerations `a` `[N, D]` are linear in it. The hidden layers stay random."""
    d, w = ode.dims, ode.slowed(v) / priors.rate
    pairs = (w[:, :, None] * w[:, None, :]).flatten(1)
    speeds = torch.cat([torch.ones_like(w[:, :1]), w, pairs], dim=-1)
    hidden = torch.cat([ode.hidden(q), torch.ones_like(w[:, :1])], dim=-1)
    rows = (speeds[:, :, None] * hidden[:, None, :]).flatten(1)
    ridge = torch.full((speeds.shape[1], hidden.shape[1]), config.ridge, dtype=q.dtype)
    ridge[:, config.width : -1] *= config.polynomial_ridge
    ridge[1 : 1 + d, :-1] *= config.drag_ridge
    ridge[1 + d :] *= config.drag_ridge
    if config.polynomial_degree:  # in bent coordinates the quadratic terms are linear in q to first order
        ridge[1 + d :, config.width : config.width + d] /= config.drag_ridge
    gram = rows.T @ rows / len(rows) + torch.diag(ridge.flatten())
    found = torch.linalg.solve(gram, rows.T @ (a / priors.acceleration) / len(rows)) * priors.acceleration
    terms = found.T.reshape(d, speeds.shape[1], hidden.shape[1])
    blocks = [terms[:, :1], terms[:, 1 : 1 + d] / priors.rate, terms[:, 1 + d :] / priors.rate**2]
    layer = torch.cat([block.flatten(0, 1) for block in blocks])
    with torch.no_grad():
        ode.net.output.weight.copy_(layer[:, :-1])
        ode.net.output.bias.copy_(layer[:, -1])


def _shoot(
    ode: SecondOrderODE,
    first: Tensor,
    seen: SeenCodes,
    priors: _Priors,
    config: LatentODEConfig,
    shares: tuple[float, ...],
) -> None:
    """L-BFGS on trajectories, which grow from round to round. A round that made it worse is taken back."""
    known = list(ode.parameters()) + ([first] if first.requires_grad else [])
    for share in shares:
        some = seen.until(max(3, round(share * seen.times.shape[1])))
        kept, before = [x.detach().clone() for x in known], float(_misfit(ode, first, some, priors).detach())
        _round(known, partial(_misfit, ode, first, some, priors), config)
        if not float(_misfit(ode, first, some, priors).detach()) <= before:  # what is not a number is worse, too
            with torch.no_grad():
                for x, old in zip(known, kept):
                    x.copy_(old)


def _misfit(ode: SecondOrderODE, first: Tensor, seen: SeenCodes, priors: _Priors) -> Tensor:
    """Of the trajectories from the codes (and rates, where they are known), and the priors."""
    q, v = trajectories(ode, first, seen.times).chunk(2, dim=-1)
    misfit = (q - seen.codes)[seen.valid].square().mean()
    if seen.rates is not None:
        misfit = misfit + ((v - seen.rates)[seen.valid] / priors.rate).square().mean()
    return priors.config.misfit_weight * misfit + priors(ode)


def _round(known: list[Tensor], loss_of: Callable[[], Tensor], config: LatentODEConfig) -> None:
    optimizer = torch.optim.LBFGS(
        known, max_iter=config.shooting_steps, history_size=config.shooting_history, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss

    optimizer.step(closure)
