"""Coordinates q of poses: few numbers that give a position on the curve or surface that the poses lie on."""

from __future__ import annotations

import itertools
from functools import cache

import torch
from torch import Tensor

from foreseen.dynamics.config import ManifoldConfig
from foreseen.errors import UserError
from foreseen.nn.checked_module import CheckedModule, check_range


class Manifold(CheckedModule):
    """Coordinates q `[..., d]` of poses p `[..., P]`; both float64.

    With one coordinate (a pendulum, a bead on a wire), q is the arc length of the curve of the poses: a body without
    drag then accelerates by the force alone, whatever the shape of the curve. With several, q are principal components,
    and the poses are polynomials of them. q has about unit variance over the fitted poses.

    The surface is embedded in the space of poses, so it has a metric M = J J^T (J = dp/dq, `[d, P]`), and a free body
    on it follows q'' = -`christoffel`(q, q').

    Args:
        pose_size: P.
        maximum: largest number of coordinates d.
    """

    mean: Tensor
    project: Tensor
    powers: Tensor
    weights: Tensor
    low: Tensor
    high: Tensor
    line: Tensor
    lengths: Tensor
    curve: Tensor
    used: Tensor
    terms: Tensor
    residual: Tensor

    def __init__(self, pose_size: int, maximum: int, config: ManifoldConfig) -> None:
        super().__init__()
        self.maximum, self.config = min(maximum, pose_size), config
        double = torch.float64
        self.register_buffer("mean", torch.zeros(pose_size, dtype=double))
        self.register_buffer("project", torch.zeros(pose_size, self.maximum, dtype=double))
        degrees = [*enumerate(config.degrees, start=1), (self.maximum, 1)]
        max_terms = max(len(_powers(size, degree)) for size, degree in degrees)
        self.register_buffer("powers", torch.zeros(max_terms, self.maximum, dtype=torch.int64))
        self.register_buffer("weights", torch.zeros(max_terms, pose_size, dtype=double))
        self.register_buffer("low", torch.zeros(self.maximum, dtype=double))
        self.register_buffer("high", torch.zeros(self.maximum, dtype=double))
        self.register_buffer("line", torch.zeros(config.curve_nodes, dtype=double))
        self.register_buffer("lengths", torch.linspace(0, 1, config.curve_nodes, dtype=double))
        self.register_buffer("curve", torch.zeros(config.curve_nodes, pose_size, dtype=double))
        self.register_buffer("used", torch.tensor(0))
        self.register_buffer("terms", torch.tensor(1))
        self.register_buffer("residual", torch.tensor(0.0, dtype=double))

    def check(self) -> None:
        """Checks loaded buffers: the monomials must be all those up to some degree, as derivatives are looked up by
        their number."""
        check_range("manifold: used", self.used, 0, self.maximum)
        check_range("manifold: terms", self.terms, 1, len(self.powers))
        powers = [tuple(row) for row in self._exponents.tolist()]
        degrees = range(1, self._max_degree(self.size) + 1)
        if self.size and powers not in [_powers(self.size, degree) for degree in degrees]:
            raise UserError(
                f"manifold: powers: these {len(powers)} are of no polynomial of {self.size} variables: the checkpoint "
                "is damaged, or of other settings of the manifold; take another one"
            )

    @property
    def size(self) -> int:
        """d."""
        return int(self.used)

    @torch.no_grad()
    def fit(self, poses: Tensor, is_curved: bool = True, max_error: float | None = None) -> None:
        """Chooses the fewest coordinates that represent `poses` `[N, P]`, and fits the surface.

        `residual` becomes the error of the poses as a share of their motion.

        Args:
            is_curved: False: the surface is flat.
            max_error: largest `residual`; None: the config's.
        """
        max_error = self.config.max_error if max_error is None else max_error
        self.mean.copy_(poses.mean(0))
        centred = poses - self.mean
        _, sizes, directions = torch.linalg.svd(centred, full_matrices=False)
        scale = sizes[0] / len(poses) ** 0.5
        for buffer in (self.used, self.project, self.powers, self.weights, self.low, self.high):
            buffer.zero_()
        if scale <= self.config.static_tolerance * (1 + poses.abs().max()):
            return
        for size in range(1, min(self.maximum, len(sizes)) + 1):
            # One scale for all: a small motion must not be scaled up to the size of a large one.
            self.project[:, size - 1] = directions[size - 1] / scale
            self.used.fill_(size)
            for degree, largest in self._candidates(size, is_curved, max_error):
                self._fit_surface(centred, degree)
                error = (self.decode(self.encode(poses)) - poses).square().mean().sqrt()
                self.residual.copy_(error / centred.square().mean().sqrt())
                if self.residual <= largest:
                    return

    def _max_degree(self, size: int) -> int:
        return self.config.degrees[size - 1] if 1 <= size <= len(self.config.degrees) else 1

    def _candidates(self, size: int, is_curved: bool, max_error: float) -> list[tuple[int, float]]:
        """Highest degrees of the polynomials of `size` coordinates to be tried, each with the largest accepted
        error."""
        if not is_curved:
            return [(1, max_error)]
        curved = (self._max_degree(size), max_error)
        return [curved] if size == 1 else [(1, min(self.config.max_plane_error, max_error)), curved]

    def _fit_surface(self, centred: Tensor, maximum: int) -> None:
        """Fits the polynomials from principal components to poses. The Bayesian information criterion picks the degree,
        `maximum` at most."""
        size = self.size
        q = centred @ self.project[:, :size]
        margin = self.config.extrapolation_margin * (q.amax(0) - q.amin(0))
        self.low[:size], self.high[:size] = q.amin(0) - margin, q.amax(0) + margin
        best = float("inf")
        for degree in range(1, maximum + 1):
            powers = torch.tensor(_powers(size, degree))
            terms = _monomials(q, powers)
            # Not torch's default driver: its last digits differ between calls, and a resumed run must not differ.
            weights = torch.linalg.lstsq(terms, centred, driver="gelsd").solution
            error = (terms @ weights - centred).square().mean().clamp_min(1e-24)
            count = centred.numel()
            criterion = float(count * error.log() + weights.numel() * torch.tensor(float(count)).log())
            if criterion < best - self.config.min_bic_gain:
                best = criterion
                self.terms.fill_(len(powers))
                self.powers[: len(powers), :size] = powers
                self.weights[: len(powers)] = weights
        if size == 1:
            self._measure_curve(q)

    def _measure_curve(self, q: Tensor) -> None:
        """Tabulates the curve by its arc length, which becomes the coordinate."""
        line = torch.linspace(float(self.low[0]), float(self.high[0]), self.config.curve_nodes, dtype=q.dtype)
        points = self._polynomial(line[:, None])
        lengths = torch.cat([line[:1] * 0, points.diff(dim=0).norm(dim=-1).cumsum(0)])
        observed = _interpolated(q[:, 0], line, lengths[:, None])[:, 0]
        self.line.copy_(line)
        self.lengths.copy_((lengths - observed.mean()) / observed.std())
        self.curve.copy_(points)

    @property
    def _exponents(self) -> Tensor:
        """Exponents of the monomials, `[terms, d]`."""
        return self.powers[: int(self.terms), : self.size]

    def _polynomial(self, q: Tensor) -> Tensor:
        """Poses less their mean `[..., P]`, from principal components."""
        return _monomials(q, self._exponents) @ self.weights[: int(self.terms)]

    def encode(self, poses: Tensor) -> Tensor:
        """q `[..., d]`; of poses off the surface, that of the nearest point, approximately."""
        q = (poses - self.mean) @ self.project[:, : self.size]
        if self.size == 1:
            return _interpolated(q[..., 0], self.line, self.lengths[:, None])
        return q

    def decode(self, q: Tensor) -> Tensor:
        """Poses `[..., P]`."""
        if self.size == 0:
            return self.mean.expand(*q.shape[:-1], -1)
        if self.size == 1:
            return self.mean + _interpolated(q[..., 0], self.lengths, self.curve)
        inside = self._clamped(q)
        ahead = ((q - inside)[..., None, :] @ self.jacobian(inside))[..., 0, :]
        return self.mean + self._polynomial(inside) + ahead

    def encode_velocities(self, q: Tensor, rates: Tensor) -> Tensor:
        """q' `[..., d]` of the poses' rates of change `[..., P]`, in the least-squares sense."""
        jacobian = self.jacobian(q)
        gram = jacobian @ jacobian.transpose(-1, -2)
        return torch.linalg.solve(gram, (jacobian @ rates[..., None]))[..., 0]

    def metric(self, q: Tensor) -> Tensor:
        """M `[..., d, d]`."""
        jacobian = self.jacobian(q)
        return jacobian @ jacobian.transpose(-1, -2)

    def christoffel(self, q: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The Christoffel term of the surface's curvature, M^-1 J (v^T d2p/dq2 v) `[..., d]`; and M^-1 `[..., d,
        d]`."""
        if self.size == 1:
            step = (self.curve[-1] - self.curve[-2]).norm() / (self.lengths[-1] - self.lengths[-2])
            return torch.zeros_like(q), (1 / step.square()).expand(*q.shape, 1)
        if self._flat:
            inverse = torch.linalg.inv(self._plane @ self._plane.T)
            return torch.zeros_like(q), inverse.expand(*q.shape, self.size)
        inside = self._clamped(q)
        terms, (slope, second) = _monomials(inside, self._exponents), _derivatives(self.size, int(self.terms))
        weights = self.weights[: int(self.terms)]
        jacobian = torch.einsum("...t,dtp->...dp", terms, slope @ weights)
        inverse = torch.linalg.inv(jacobian @ jacobian.transpose(-1, -2))
        v = v * (inside == q)
        curved = torch.einsum("...i,...j,...t,ijtp->...p", v, v, terms, second @ weights)
        return (inverse @ (jacobian @ curved[..., None]))[..., 0], inverse

    @property
    def _flat(self) -> bool:
        """Whether the surface is flat."""
        return int(self.terms) == self.size + 1

    @property
    def _plane(self) -> Tensor:
        """J `[d, P]` of a flat surface."""
        return self.weights[1 : self.size + 1]

    def _clamped(self, q: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(q, self.low[: self.size]), self.high[: self.size])

    def jacobian(self, q: Tensor) -> Tensor:
        """J `[..., d, P]`; beyond the fitted range, that at its edge."""
        if self.size == 0:
            return self.mean.new_zeros(*q.shape, len(self.mean))
        if self.size == 1:
            index = _interval(q[..., 0], self.lengths)
            rise = self.curve[index + 1] - self.curve[index]
            return (rise / (self.lengths[index + 1] - self.lengths[index])[..., None])[..., None, :]
        if self._flat:
            return self._plane.expand(*q.shape, -1)
        slope, _ = _derivatives(self.size, int(self.terms))
        terms = _monomials(self._clamped(q), self._exponents)
        return torch.einsum("...t,dtp->...dp", terms, slope @ self.weights[: int(self.terms)])


def _powers(size: int, degree: int) -> list[tuple[int, ...]]:
    """Exponents of all monomials of `size` variables up to a degree."""
    powers = []
    for total in range(degree + 1):
        for axes in itertools.combinations_with_replacement(range(size), total):
            powers.append(tuple(axes.count(axis) for axis in range(size)))
    return powers


def _monomials(q: Tensor, powers: Tensor) -> Tensor:
    """Values `[..., terms]` of the monomials with exponents `[terms, d]`."""
    table = [torch.ones_like(q)]
    for _ in range(int(powers.max())):
        table.append(table[-1] * q)
    axis_powers, values = torch.stack(table, dim=-1), q.new_ones(())
    for axis in range(q.shape[-1]):
        values = values * axis_powers[..., axis, :][..., powers[:, axis]]
    return values


@cache
def _derivatives(size: int, terms: int) -> tuple[Tensor, Tensor]:
    """Matrices from the weights of a polynomial of `terms` monomials, in the order of `_powers`, to those of its first
    derivatives `[d, terms, terms]` and its second ones `[d, d, terms, terms]`."""
    degree = next(k for k in itertools.count() if len(_powers(size, k)) == terms)
    powers = _powers(size, degree)
    slopes = torch.zeros(size, terms, terms, dtype=torch.float64)
    for term, exponents in enumerate(powers):
        for axis, power in enumerate(exponents):
            if power:
                lower = tuple(p - (a == axis) for a, p in enumerate(exponents))
                slopes[axis, powers.index(lower), term] = power
    return slopes, torch.einsum("iab,jbc->ijac", slopes, slopes)


def _interval(x: Tensor, line: Tensor) -> Tensor:
    """Index of the interval of an ascending `line` that each x lies in, or is nearest to."""
    return (torch.searchsorted(line, x.detach().contiguous()) - 1).clamp(0, len(line) - 2)


def _interpolated(x: Tensor, line: Tensor, values: Tensor) -> Tensor:
    """Values `[..., D]` at x, interpolated linearly between nodes `line` `[N]` with `values` `[N, D]`; extrapolated
    linearly beyond them."""
    index = _interval(x, line)
    share = (x - line[index]) / (line[index + 1] - line[index])
    return values[index] + share[..., None] * (values[index + 1] - values[index])
