"""Fixed points of learned dynamics, and their stability."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from foreseen.analysis.jacobians import value_and_jacobian
from foreseen.core.dynamical_system import DynamicalSystem

SEARCH_MARGIN = 0.1
"""Fixed points are searched for and kept in the bounding box of the observed states, enlarged by this share of its
extent on each side."""
STARTS_HIGH_DIM, STARTS_LOW_DIM = 16, 200
"""Starting points of the search, for states of more than and of at most `HIGH_DIM` components; more find more
points."""
HIGH_DIM = 16
ITERATIONS, MAX_DAMPING = 100, 1e7
"""Upper bound of the search's steps; a starting point is given up when its damping reaches MAX_DAMPING."""
RATE_TOLERANCE = 1e-9
"""A rate below this share of the typical rate counts as zero."""
MAX_STEP = 0.3
"""Upper bound of a step's length, in extents of the box."""
SAME_POINT_ENSEMBLE = 0.2
"""A fixed point of sampled dynamics is the same one up to this distance, in extents of the box."""
SAME_POINT = 1e-3
"""Two fixed points are the same up to this distance, in extents of the box."""
ZERO_EIGENVALUE = 2e-3
"""A real or imaginary part below this share of the largest eigenvalue's modulus counts as zero."""
MIN_EXTENT = 1e-3
"""Lower bound of a component's extent, as a share of the largest extent."""


@dataclass(frozen=True)
class FixedPoint:
    """A state that does not change.

    Attributes:
        state: `[D]`.
        jacobian: `[D, D]` of the rate there, per unit of time.
        eigenvalues: `[D]` complex, the largest real part first.
        kind: in words, such as "stable focus".
        stability: "stable", "unstable" or "neutral".
        out_of_range: it lies outside the box of the observed states, within the margin.
    """

    state: Tensor
    jacobian: Tensor
    eigenvalues: Tensor
    kind: str
    stability: str
    out_of_range: bool


def find_fixed_points(system: DynamicalSystem, starts: int | None = None, seed: int = 0) -> list[FixedPoint]:
    """All fixed points that the search finds from `starts` starting points: half are observed states, half are spread
    over the box; for one coordinate they are evenly spaced. In order of the first component."""
    search = _Search.of(system)
    count = starts or (STARTS_LOW_DIM if search.dims <= HIGH_DIM else STARTS_HIGH_DIM)
    observed = torch.cat([one.states for one in system.trajectories])[:, : search.dims]
    roots = search.roots(system.rate, _starts((observed - search.low) / search.extent, count, seed))
    inside = ((roots >= -SEARCH_MARGIN) & (roots <= 1 + SEARCH_MARGIN)).all(-1)
    points = [
        _describe(system, search.full_state(u), bool(((u < 0) | (u > 1)).any())) for u in _distinct(roots[inside])
    ]
    return sorted(points, key=lambda p: p.state.tolist())


def sampled_fixed_points(system: DynamicalSystem, point: FixedPoint) -> Tensor:
    """Fixed points `[L, D]` of the sampled dynamics, searched for from `point`; only those within
    `SAME_POINT_ENSEMBLE` of it."""
    search = _Search.of(system)
    start = ((point.state[: search.dims] - search.low) / search.extent)[None]
    roots = [search.roots(rate, start) for rate in system.sampled_rates]
    near = [u for u in roots if len(u) and bool(((u - start).abs() <= SAME_POINT_ENSEMBLE).all())]
    return search.full_state(torch.cat(near)) if near else point.state.new_zeros(0, len(point.state))


@dataclass(frozen=True)
class _Search:
    """The box in which fixed points are searched for: components scaled to 0..1. Velocities of second-order dynamics,
    which are zero at a fixed point, are left out.

    Attributes:
        low, extent: `[dims]` of the box.
        dims: number of components.
        typical: root mean square of the rates of the observed states.
    """

    low: Tensor
    extent: Tensor
    dims: int
    typical: Tensor
    second_order: bool

    @classmethod
    def of(cls, system: DynamicalSystem) -> _Search:
        dims = len(system.names) // 2 if system.second_order else len(system.names)
        low, extent = scaled_box(system)
        observed = torch.cat([one.states for one in system.trajectories])
        typical = system.rate(observed)[:, -dims:].square().mean().sqrt().clamp_min(1e-300)
        return cls(low[:dims], extent[:dims], dims, typical, system.second_order)

    def full_state(self, u: Tensor) -> Tensor:
        """The state `[..., D]` of scaled components."""
        q = self.low + self.extent * u
        return torch.cat([q, torch.zeros_like(q)], dim=-1) if self.second_order else q

    def roots(self, rate: Callable[[Tensor], Tensor], starts: Tensor) -> Tensor:
        """Scaled zeros of a rate, searched for from `starts` `[N, dims]`; those that converge."""
        return _roots(lambda u: rate(self.full_state(u))[..., -self.dims :] / self.typical, starts)


def scaled_box(system: DynamicalSystem) -> tuple[Tensor, Tensor]:
    """Lowest corner and extents `[D]` of the observed states; no extent is zero."""
    low, high = system.box
    num_halves = 2 if system.second_order else 1
    extents = [(part, part.amax().clamp_min(1e-300)) for part in (high - low).chunk(num_halves)]
    return low, torch.cat([torch.maximum(part, MIN_EXTENT * maximum) for part, maximum in extents])


def _starts(observed: Tensor, count: int, seed: int) -> Tensor:
    dims = observed.shape[-1]
    if dims == 1:
        return torch.linspace(-SEARCH_MARGIN, 1 + SEARCH_MARGIN, max(count, 2), dtype=observed.dtype)[:, None]
    chosen = observed[torch.linspace(0, len(observed) - 1, (count + 1) // 2).round().long()]
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count // 2, dims, generator=generator, dtype=observed.dtype)
    return torch.cat([chosen, uniform * (1 + 2 * SEARCH_MARGIN) - SEARCH_MARGIN])


def _roots(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Zeros of f near the rows of `x` `[N, D]`, by the Levenberg-Marquardt method; those rows that converge."""
    x, damping = x.clone(), torch.full((len(x),), 1e-2, dtype=x.dtype)
    value, slope = value_and_jacobian(f, x)
    for _ in range(ITERATIONS):
        live = ((_size(value) >= RATE_TOLERANCE) & (damping < MAX_DAMPING)).nonzero()[:, 0]
        if len(live) == 0:
            break
        tried = x[live] + _step(value[live], slope[live], damping[live])
        with torch.no_grad():
            new = f(tried)
        better = _size(new) < _size(value[live])
        damping[live] = torch.where(better, damping[live] / 5, damping[live] * 4).clamp_min(1e-15)
        if better.any():
            moved = live[better]
            x[moved] = tried[better]
            value[moved], slope[moved] = value_and_jacobian(f, x[moved])
    return x[_size(value) < RATE_TOLERANCE]


def _step(value: Tensor, slope: Tensor, damping: Tensor) -> Tensor:
    """A damped Gauss-Newton step, no longer than `MAX_STEP`."""
    gram = slope.transpose(-1, -2) @ slope
    trace = gram.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-300)
    eye = torch.eye(slope.shape[-1], dtype=slope.dtype)
    gradient = (slope.transpose(-1, -2) @ value[..., None])[..., 0]
    step = -torch.linalg.solve(gram + ((damping + 1e-14) * trace)[:, None, None] * eye, gradient)
    return step * (MAX_STEP / step.norm(dim=-1, keepdim=True).clamp_min(MAX_STEP))


def _size(value: Tensor) -> Tensor:
    return torch.nan_to_num(value, nan=1e300).abs().amax(-1)


def _distinct(points: Tensor) -> list[Tensor]:
    kept: list[Tensor] = []
    for point in points:
        if all(float((point - other).abs().max()) > SAME_POINT for other in kept):
            kept.append(point)
    return kept


def _describe(system: DynamicalSystem, state: Tensor, out_of_range: bool) -> FixedPoint:
    jacobian = value_and_jacobian(system.rate, state[None])[1][0]
    eigenvalues = torch.linalg.eigvals(jacobian)
    order = sorted(range(len(eigenvalues)), key=lambda i: (-eigenvalues[i].real, -eigenvalues[i].imag))
    eigenvalues = eigenvalues[order]
    kind, stability = classify(eigenvalues)
    return FixedPoint(state, jacobian, eigenvalues, kind, stability, out_of_range)


def classify(eigenvalues: Tensor) -> tuple[str, str]:
    """The kind in words, and "stable", "unstable" or "neutral", of the eigenvalues `[D]` of the Jacobian."""
    scale = float(eigenvalues.abs().max())
    real, imaginary = eigenvalues.real, eigenvalues.imag
    growing = int((real > ZERO_EIGENVALUE * scale).sum())
    decaying = int((real < -ZERO_EIGENVALUE * scale).sum())
    neutral, oscillates = len(eigenvalues) - growing - decaying, bool((imaginary.abs() > ZERO_EIGENVALUE * scale).any())
    if growing and decaying:
        rest = f", {neutral} neutral" if neutral else ""
        return (f"saddle ({growing} of {len(eigenvalues)} directions unstable{rest})", "unstable")
    if neutral == len(eigenvalues):
        zero = bool((eigenvalues.abs() <= ZERO_EIGENVALUE * scale).any()) or scale == 0
        return ("degenerate" if zero else "centre", "neutral")
    shape = "focus" if oscillates else "node"
    if neutral:
        return (
            f"{'unstable' if growing else 'stable'} but for {neutral} neutral directions",
            "unstable" if growing else "neutral",
        )
    return (f"unstable {shape}", "unstable") if growing else (f"stable {shape}", "stable")
