"""Few numbers q that tell where the parts are: coordinates on the curve or surface that their poses lie on."""

from __future__ import annotations

import itertools
from functools import cache

import torch
from torch import Tensor

from foreseen.errors import UserError
from foreseen.nn.checked_module import CheckedModule, check_range

TOLERANCE = 0.08
"""Poses count as told by q when this share of their motion (root mean square) is left: more than the noise of learned
poses, less than a motion of its own."""
PLANE_TOLERANCE = 0.02
"""A surface is a plane where this leaves no larger share: bends would be those of noise, and forces on them, too."""
STATIC_TOLERANCE = 1e-9
"""Poses that vary by no more than this share of their size do not move: no coordinate is needed."""
EXTRAPOLATION_SHARE = 0.15
"""The surface is known where the parts were. From this share of its extent beyond that it goes straight on, where a
polynomial would soon run away."""
CURVE_NODES = 801
"""Of the table that holds a curve."""
DEGREES = {1: 12, 2: 6, 3: 3}
"""Highest degree of the polynomials from q to the poses, by the number of coordinates; more of those: 1."""
MIN_BIC_GAIN = 10.0
"""A higher degree must improve Bayes' information criterion by so much."""


class Manifold(CheckedModule):
    """Coordinates q `[..., d]` of poses p `[..., P]`; both float64.

    Where one number tells the poses (a swing, a bead on a wire), q is the length of the curve that they trace: in it
    the law of a body without drag is a force alone, whatever the curve's shape. Else q are principal components, and
    the poses polynomials of them. q has about unit variance over the fitted poses.

    The surface is embedded in the space of poses, so it has a metric M = J J^T (J = dp/dq, `[d, P]`), and a free body
    on it follows q'' = -`christoffel`(q, q').
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

    def __init__(self, poses: int, maximum: int) -> None:
        super().__init__()
        self.maximum = min(maximum, poses)
        double = torch.float64
        self.register_buffer("mean", torch.zeros(poses, dtype=double))
        self.register_buffer("project", torch.zeros(poses, self.maximum, dtype=double))
        most_terms = max(len(_powers(d, k)) for d, k in [*DEGREES.items(), (self.maximum, 1)])
        self.register_buffer("powers", torch.zeros(most_terms, self.maximum, dtype=torch.int64))
        self.register_buffer("weights", torch.zeros(most_terms, poses, dtype=double))
        self.register_buffer("low", torch.zeros(self.maximum, dtype=double))
        self.register_buffer("high", torch.zeros(self.maximum, dtype=double))
        self.register_buffer("line", torch.zeros(CURVE_NODES, dtype=double))
        self.register_buffer("lengths", torch.linspace(0, 1, CURVE_NODES, dtype=double))
        self.register_buffer("curve", torch.zeros(CURVE_NODES, poses, dtype=double))
        self.register_buffer("used", torch.tensor(0))
        self.register_buffer("terms", torch.tensor(1))
        self.register_buffer("residual", torch.tensor(0.0, dtype=double))

    def check(self) -> None:
        """The polynomials are those of a degree: derivatives are looked up by how many there are."""
        check_range("manifold: used", self.used, 0, self.maximum)
        check_range("manifold: terms", self.terms, 1, len(self.powers))
        powers = [tuple(row) for row in self._exponents.tolist()]
        degrees = range(1, DEGREES.get(self.size, 1) + 1)
        if self.size and powers not in [_powers(self.size, degree) for degree in degrees]:
            raise UserError(f"manifold: powers: these {len(powers)} are of no polynomial of {self.size} variables")

    @property
    def size(self) -> int:
        """d."""
        return int(self.used)

    @torch.no_grad()
    def fit(self, poses: Tensor, is_curved: bool = True, tolerance: float = TOLERANCE) -> None:
        """Chooses the fewest coordinates that tell `poses` `[N, P]`, and the surface; a plane, if not `is_curved`.
        `left` is the share of the motion that they do not tell, which is to be `tolerance` at most."""
        self.mean.copy_(poses.mean(0))
        centred = poses - self.mean
        _, sizes, directions = torch.linalg.svd(centred, full_matrices=False)
        scale = sizes[0] / len(poses) ** 0.5
        for left_over in (self.used, self.project, self.powers, self.weights, self.low, self.high):
            left_over.zero_()
        if scale <= STATIC_TOLERANCE * (1 + poses.abs().max()):
            return
        for size in range(1, min(self.maximum, len(sizes)) + 1):
            # One scale for all: what hardly moves must not be blown up to weigh as much as what does.
            self.project[:, size - 1] = directions[size - 1] / scale
            self.used.fill_(size)
            for degree, maximum in _tries(size, is_curved, tolerance):
                self._fit_surface(centred, degree)
                error = (self.decode(self.encode(poses)) - poses).square().mean().sqrt()
                self.residual.copy_(error / centred.square().mean().sqrt())
                if self.residual <= maximum:
                    return

    def _fit_surface(self, centred: Tensor, maximum: int) -> None:
        """The polynomials from principal components to poses, of the degree up to `maximum` that Bayes' criterion
        prefers."""
        size = self.size
        q = centred @ self.project[:, :size]
        reach = EXTRAPOLATION_SHARE * (q.amax(0) - q.amin(0))
        self.low[:size], self.high[:size] = q.amin(0) - reach, q.amax(0) + reach
        best = float("inf")
        for degree in range(1, maximum + 1):
            powers = torch.tensor(_powers(size, degree))
            terms = _monomials(q, powers)
            # Not torch's default driver: its last digits differ from call to call, and a resumed run must be the same.
            weights = torch.linalg.lstsq(terms, centred, driver="gelsd").solution
            left = (terms @ weights - centred).square().mean().clamp_min(1e-24)
            count = centred.numel()
            worth = float(count * left.log() + weights.numel() * torch.tensor(float(count)).log())
            if worth < best - MIN_BIC_GAIN:
                best = worth
                self.terms.fill_(len(powers))
                self.powers[: len(powers), :size] = powers
                self.weights[: len(powers)] = weights
        if size == 1:
            self._measure_curve(q)

    def _measure_curve(self, q: Tensor) -> None:
        """A table of the curve by its length, which becomes the coordinate."""
        line = torch.linspace(float(self.low[0]), float(self.high[0]), CURVE_NODES, dtype=q.dtype)
        points = self._polynomial(line[:, None])
        lengths = torch.cat([line[:1] * 0, points.diff(dim=0).norm(dim=-1).cumsum(0)])
        own = _interpolated(q[:, 0], line, lengths[:, None])[:, 0]
        self.line.copy_(line)
        self.lengths.copy_((lengths - own.mean()) / own.std())
        self.curve.copy_(points)

    @property
    def _exponents(self) -> Tensor:
        """Of the polynomials, `[terms, d]`."""
        return self.powers[: int(self.terms), : self.size]

    def _polynomial(self, q: Tensor) -> Tensor:
        """Poses without their mean, of principal components."""
        return _monomials(q, self._exponents) @ self.weights[: int(self.terms)]

    def encode(self, poses: Tensor) -> Tensor:
        """q `[..., d]`: of the nearest point, roughly, for poses off the surface."""
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
        ahead = ((q - inside)[..., None, :] @ self.slopes(inside))[..., 0, :]
        return self.mean + self._polynomial(inside) + ahead

    def encode_velocities(self, q: Tensor, rates: Tensor) -> Tensor:
        """q' `[..., d]` that comes nearest to the poses' rates of change `[..., P]`."""
        slopes = self.slopes(q)
        gram = slopes @ slopes.transpose(-1, -2)
        return torch.linalg.solve(gram, (slopes @ rates[..., None]))[..., 0]

    def metric(self, q: Tensor) -> Tensor:
        """M `[..., d, d]`."""
        slopes = self.slopes(q)
        return slopes @ slopes.transpose(-1, -2)

    def christoffel(self, q: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """What the surface's own bending adds, `[..., d]`: M^-1 J (v^T d2p/dq2 v); and M^-1 `[..., d, d]`."""
        if self.size == 1:
            step = (self.curve[-1] - self.curve[-2]).norm() / (self.lengths[-1] - self.lengths[-2])
            return torch.zeros_like(q), (1 / step.square()).expand(*q.shape, 1)
        if self._flat:
            inverse = torch.linalg.inv(self._plane @ self._plane.T)
            return torch.zeros_like(q), inverse.expand(*q.shape, self.size)
        inside = self._clamped(q)
        terms, (slope, second) = _monomials(inside, self._exponents), _derivatives(self.size, int(self.terms))
        weights = self.weights[: int(self.terms)]
        slopes = torch.einsum("...t,dtp->...dp", terms, slope @ weights)
        inverse = torch.linalg.inv(slopes @ slopes.transpose(-1, -2))
        v = v * (inside == q)
        curved = torch.einsum("...i,...j,...t,ijtp->...p", v, v, terms, second @ weights)
        return (inverse @ (slopes @ curved[..., None]))[..., 0], inverse

    @property
    def _flat(self) -> bool:
        """The surface is a plane."""
        return int(self.terms) == self.size + 1

    @property
    def _plane(self) -> Tensor:
        """J `[d, P]` of a plane."""
        return self.weights[1 : self.size + 1]

    def _clamped(self, q: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(q, self.low[: self.size]), self.high[: self.size])

    def slopes(self, q: Tensor) -> Tensor:
        """J `[..., d, P]`; beyond the surface that of its edge."""
        if self.size == 0:
            return self.mean.new_zeros(*q.shape, len(self.mean))
        if self.size == 1:
            place = _place(q[..., 0], self.lengths)
            rise = self.curve[place + 1] - self.curve[place]
            return (rise / (self.lengths[place + 1] - self.lengths[place])[..., None])[..., None, :]
        if self._flat:
            return self._plane.expand(*q.shape, -1)
        slope, _ = _derivatives(self.size, int(self.terms))
        terms = _monomials(self._clamped(q), self._exponents)
        return torch.einsum("...t,dtp->...dp", terms, slope @ self.weights[: int(self.terms)])


def _tries(size: int, is_curved: bool, tolerance: float) -> list[tuple[int, float]]:
    """Highest degrees of the polynomials of `size` coordinates, and the share that they may leave."""
    if not is_curved:
        return [(1, tolerance)]
    curved = (DEGREES.get(size, 1), tolerance)
    return [curved] if size == 1 else [(1, min(PLANE_TOLERANCE, tolerance)), curved]


def _powers(size: int, degree: int) -> list[tuple[int, ...]]:
    """Exponents of all monomials up to a degree."""
    found = []
    for total in range(degree + 1):
        for axes in itertools.combinations_with_replacement(range(size), total):
            found.append(tuple(axes.count(axis) for axis in range(size)))
    return found


def _monomials(q: Tensor, powers: Tensor) -> Tensor:
    """`[..., terms]` of exponents `[terms, d]`."""
    table = [torch.ones_like(q)]
    for _ in range(int(powers.max())):
        table.append(table[-1] * q)
    steps, found = torch.stack(table, dim=-1), q.new_ones(())
    for axis in range(q.shape[-1]):
        found = found * steps[..., axis, :][..., powers[:, axis]]
    return found


@cache
def _derivatives(size: int, terms: int) -> tuple[Tensor, Tensor]:
    """What makes the weights of polynomials, `terms` of them in the order of `_powers`, those of their derivatives:
    `[d, terms, terms]`, and `[d, d, terms, terms]` for the second ones."""
    degree = next(k for k in itertools.count() if len(_powers(size, k)) == terms)
    powers = _powers(size, degree)
    slopes = torch.zeros(size, terms, terms, dtype=torch.float64)
    for term, exponents in enumerate(powers):
        for axis, power in enumerate(exponents):
            if power:
                lower = tuple(p - (a == axis) for a, p in enumerate(exponents))
                slopes[axis, powers.index(lower), term] = power
    return slopes, torch.einsum("iab,jbc->ijac", slopes, slopes)


def _place(x: Tensor, line: Tensor) -> Tensor:
    """Index of the stretch of an ascending `line` that each x lies in, or is nearest to."""
    return (torch.searchsorted(line, x.detach().contiguous()) - 1).clamp(0, len(line) - 2)


def _interpolated(x: Tensor, line: Tensor, values: Tensor) -> Tensor:
    """Values `[..., D]` at x between nodes `line` `[N]` with `values` `[N, D]`; straight on beyond them."""
    place = _place(x, line)
    share = (x - line[place]) / (line[place + 1] - line[place])
    return values[place] + share[..., None] * (values[place + 1] - values[place])
