"""The neural ODE of the latent code, and its fit to observed codes."""

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
    """`q'' = f(q) + C(q) q' + q'ᵀ G(q) q'` for a code q of D dimensions; f, C and G are outputs of one network of q.

    In the published Node-RF the right-hand side is a network of the whole state (q, q'). A short window observes it
    only along a curve in this space, and it is undetermined elsewhere. Here the right-hand side is a polynomial in q'
    with coefficients that depend on q, a form that mechanical systems have: an observation at q constrains the
    coefficients for all velocities. The unit of time is the window.

    Attributes:
        fastest: `[]`, limit of the norm of q' in the terms with q', so that no trajectory diverges.
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
        w = self.limited(v)
        velocity_terms = (drag @ w[..., None])[..., 0] + torch.einsum("...kij,...i,...j->...k", christoffel, w, w)
        return torch.cat([v, force + velocity_terms], dim=-1)

    def limited(self, v: Tensor) -> Tensor:
        """Rates `[..., D]` whose norm is smoothly limited to `fastest`."""
        return v / (1 + (v / self.fastest).square().sum(-1, keepdim=True)).sqrt()

    def hidden(self, q: Tensor) -> Tensor:
        """The input of the network's output layer, `[..., width + P]`: hidden units, and all P products of up to
        `polynomial_degree` components of q."""
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
class ObservedCodes:
    """Observed codes of S sequences at up to T times each, padded.

    Attributes:
        codes: `[S, T, D]`.
        times: `[S, T]`, in windows from the first time of each sequence.
        valid: `[S, T]` bool, false for padding.
        rates: `[S, T, D]`, time derivatives of the codes; None if they are not observed.
    """

    codes: Tensor
    times: Tensor
    valid: Tensor
    rates: Tensor | None = None

    def first_times(self, count: int) -> ObservedCodes:
        """The first `count` times."""
        rates = None if self.rates is None else self.rates[:, :count]
        return ObservedCodes(self.codes[:, :count], self.times[:, :count], self.valid[:, :count], rates)

    def double(self) -> ObservedCodes:
        """In float64."""
        rates = None if self.rates is None else self.rates.double()
        return ObservedCodes(self.codes.double(), self.times.double(), self.valid, rates)


def trajectories(ode: SecondOrderODE, first: Tensor, times: Tensor) -> Tensor:
    """States `[S, T, 2 D]` at `times` `[S, T]` from `first` `[S, 2 D]` at time 0. All sequences are solved as one
    batch, at the union of their times."""
    all_times, time_indices = times.unique(return_inverse=True)
    path = ode.flow(first, 0.0, all_times)
    return path[time_indices, torch.arange(len(times), device=time_indices.device)[:, None]]


def smooth_states(observed: ObservedCodes, config: LatentODEConfig) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q, q' and q'' `[N, D]` at N times of all sequences, and the first state of each sequence `[S, 2 D]`: from a
    smoothing spline for each sequence, or from the observed rates if there are any."""
    if observed.rates is not None:
        return (*_hermite_midpoints(observed), torch.cat([observed.codes[:, 0], observed.rates[:, 0]], dim=-1))
    derivatives, firsts = [], []
    for codes, times, valid in zip(observed.codes, observed.times, observed.valid):
        codes, times = codes[valid], times[valid]
        end = times[-1].clamp_min(1e-9)
        spline = UniformBSpline(max(4, int(config.controls * len(times))))
        jerk = torch.eye(spline.controls, dtype=codes.dtype).diff(n=3, dim=0) * config.stiffness
        rows = torch.cat([spline.basis(times / end), jerk])
        controls = torch.linalg.pinv(rows)[:, : len(times)] @ codes
        samples = torch.linspace(0, 1, config.rates_seen, dtype=codes.dtype)
        derivatives.append([spline.basis(samples, k) @ controls / end**k for k in range(3)])
        firsts.append(torch.cat([derivatives[-1][0][0], derivatives[-1][1][0]]))
    q, v, a = (torch.cat([of_sequence[k] for of_sequence in derivatives]) for k in range(3))
    return q, v, a, torch.stack(firsts)


def _hermite_midpoints(observed: ObservedCodes) -> tuple[Tensor, Tensor, Tensor]:
    """q, q' and q'' `[N, D]` in the middle between consecutive times, by cubic Hermite splines of codes and rates."""
    assert observed.rates is not None
    both_valid = observed.valid[:, 1:] & observed.valid[:, :-1]
    (q, q_next), (v, v_next) = ((x[:, :-1][both_valid], x[:, 1:][both_valid]) for x in (observed.codes, observed.rates))
    h = observed.times.diff(dim=1)[both_valid][:, None]
    middle = (q + q_next) / 2 + h * (v - v_next) / 8
    return middle, 1.5 * (q_next - q) / h - (v + v_next) / 4, (v_next - v) / h


def cut_segments(states: Tensor, times: Tensor, valid: Tensor, share: float) -> tuple[ObservedCodes, Tensor]:
    """Cuts trajectories into P segments as long as a `share` of the longest one; and the segments' first states
    `[P, 2 D]`. Segments of fewer than 4 times are left out.

    Args:
        states: `[S, T, 2 D]`, known.
        times: `[S, T]`, in windows.
        valid: `[S, T]` bool.
    """
    length = max(4, round(share * times.shape[1]))
    slices = [slice(i, i + length) for i in range(0, max(1, times.shape[1] - 3), length)]
    columns: list[list[Tensor]] = [[], [], [], []]
    for path, path_times, path_valid in zip(states, times, valid):
        for segment in slices:
            if int(path_valid[segment].sum()) >= 4:
                padding = length - len(path[segment])
                values = (path[segment], path_times[segment] - path_times[segment][0], path_valid[segment])
                padded = [torch.cat([x, x.new_zeros(padding, *x.shape[1:])]) for x in values]
                for column, value in zip(columns, (*padded, path[segment][0])):
                    column.append(value)
    segments, segment_times, segment_valid, first = map(torch.stack, columns)
    codes, rates = segments.chunk(2, dim=-1)
    return ObservedCodes(codes, segment_times * segment_valid, segment_valid, rates), first


def fit_ode(
    ode: SecondOrderODE,
    observed: ObservedCodes,
    config: LatentODEConfig,
    first: Tensor | None = None,
    *,
    initialize: bool = True,
    ridge: float | None = None,
    shares: tuple[float, ...] | None = None,
) -> Tensor:
    """Fits `ode` in place, and returns the first state of each sequence `[S, 2 D]`.

    Args:
        first: `[S, 2 D]`, first states that are known and stay fixed; None: they are fitted, too.
        initialize: starts with a regression of the accelerations of smooth curves; False: from the current weights.
        ridge: of the regression; None: `config.ridge`.
        shares: shares of the times that the rounds of the trajectory fit use; none: the regression alone;
            None: `config.shooting_shares`.
    """
    exact, observed = copy.deepcopy(ode).double(), observed.double()
    with one_thread(), torch.enable_grad():
        q, v, a, smooth_first = smooth_states(observed, config)
        if initialize:
            exact.fastest.copy_(config.fastest * v.norm(dim=-1).max().clamp_min(1e-6))
        priors = _Priors(q, v.std().clamp_min(1e-9), a.std().clamp_min(1e-9), config)
        if initialize:
            _regress(exact, q, v, a, priors, config, config.ridge if ridge is None else ridge)
        start = smooth_first.requires_grad_() if first is None else first.double()
        _fit_trajectories(exact, start, observed, priors, config, config.shooting_shares if shares is None else shares)
    ode.load_state_dict({name: value.to(ode.net.output.weight) for name, value in exact.state_dict().items()})
    return start.detach().to(ode.net.output.weight)


@dataclass(frozen=True)
class _Priors:
    """Regularisation of the terms with q': penalties on changes of C(q) and on G(q).

    Attributes:
        q: `[N, D]`, codes at which the penalties are evaluated.
        rate, acceleration: `[]`, standard deviations of q' and q'': the units of the penalties.
    """

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


def _regress(
    ode: SecondOrderODE, q: Tensor, v: Tensor, a: Tensor, priors: _Priors, config: LatentODEConfig, ridge: float
) -> None:
    """Fits the output layer to accelerations `a` `[N, D]`, which are linear in it, by ridge regression. The hidden
    layers stay random."""
    d, w = ode.dims, ode.limited(v) / priors.rate
    pairs = (w[:, :, None] * w[:, None, :]).flatten(1)
    monomials = torch.cat([torch.ones_like(w[:, :1]), w, pairs], dim=-1)
    hidden = torch.cat([ode.hidden(q), torch.ones_like(w[:, :1])], dim=-1)
    rows = (monomials[:, :, None] * hidden[:, None, :]).flatten(1)
    ridges = torch.full((monomials.shape[1], hidden.shape[1]), ridge, dtype=q.dtype)
    ridges[:, config.width : -1] *= config.polynomial_ridge
    ridges[1 : 1 + d, :-1] *= config.drag_ridge
    ridges[1 + d :] *= config.drag_ridge
    if config.polynomial_degree:  # in bent coordinates the quadratic terms are linear in q to first order
        ridges[1 + d :, config.width : config.width + d] /= config.drag_ridge
    gram = rows.T @ rows / len(rows) + torch.diag(ridges.flatten())
    solution = torch.linalg.solve(gram, rows.T @ (a / priors.acceleration) / len(rows)) * priors.acceleration
    terms = solution.T.reshape(d, monomials.shape[1], hidden.shape[1])
    blocks = [terms[:, :1], terms[:, 1 : 1 + d] / priors.rate, terms[:, 1 + d :] / priors.rate**2]
    layer = torch.cat([block.flatten(0, 1) for block in blocks])
    with torch.no_grad():
        ode.net.output.weight.copy_(layer[:, :-1])
        ode.net.output.bias.copy_(layer[:, -1])


def _fit_trajectories(
    ode: SecondOrderODE,
    first: Tensor,
    observed: ObservedCodes,
    priors: _Priors,
    config: LatentODEConfig,
    shares: tuple[float, ...],
) -> None:
    """L-BFGS on trajectories, in one round for each of `shares`: the share of the times that a round uses. A round that
    increases the loss is undone."""
    parameters = list(ode.parameters()) + ([first] if first.requires_grad else [])
    for share in shares:
        prefix = observed.first_times(max(3, round(share * observed.times.shape[1])))
        backup = [x.detach().clone() for x in parameters]
        loss_before = float(_loss(ode, first, prefix, priors).detach())
        _minimize(parameters, partial(_loss, ode, first, prefix, priors), config)
        if not float(_loss(ode, first, prefix, priors).detach()) <= loss_before:  # also true for NaN
            with torch.no_grad():
                for x, old in zip(parameters, backup):
                    x.copy_(old)


def _loss(ode: SecondOrderODE, first: Tensor, observed: ObservedCodes, priors: _Priors) -> Tensor:
    """Squared errors of the trajectories' codes (and rates, if they are observed), plus the priors."""
    q, v = trajectories(ode, first, observed.times).chunk(2, dim=-1)
    misfit = (q - observed.codes)[observed.valid].square().mean()
    if observed.rates is not None:
        misfit = misfit + ((v - observed.rates)[observed.valid] / priors.rate).square().mean()
    return priors.config.misfit_weight * misfit + priors(ode)


def _minimize(parameters: list[Tensor], loss_of: Callable[[], Tensor], config: LatentODEConfig) -> None:
    """One run of L-BFGS."""
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=config.shooting_steps, history_size=config.shooting_history, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss

    optimizer.step(closure)
