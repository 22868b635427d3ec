"""Where a law rests, and of which kind that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from foreseen.analysis.jacobians import value_and_jacobian
from foreseen.core.dynamical_system import DynamicalSystem

SEARCH_MARGIN = 0.1
"""Fixed points are sought and kept in the box of the seen states, widened by this share of its extent."""
STARTS_HIGH_DIM, STARTS_LOW_DIM = 16, 200
"""Starts of the search: of states of more, and of at most `HIGH_DIM` components."""
HIGH_DIM = 16
ITERATIONS, MAX_DAMPING = 100, 1e7
"""Steps of the search at most; a start is given up when its damping has grown to this."""
RATE_TOLERANCE = 1e-9
"""A rate counts as none at this share of the usual one."""
MAX_STEP = 0.3
"""A step goes at most so far, in extents of the box."""
SAME_POINT_ENSEMBLE = 0.2
"""A drawn law's fixed point is the same one when it is this near, in extents of the box."""
SAME_POINT = 1e-3
"""Two fixed points are one when they are this near, in extents of the box."""
ZERO_EIGENVALUE = 2e-3
"""A part of an eigenvalue counts as none below this share of the largest eigenvalue's size."""
MIN_EXTENT = 1e-3
"""A component whose extent is below this share of the largest one's is given that."""


@dataclass(frozen=True)
class FixedPoint:
    """A state that does not change.

    Attributes:
        state: `[D]`.
        jacobian: `[D, D]` of the rate there, per unit of time.
        eigenvalues: `[D]` complex, the largest real part first.
        kind: in words.
        stability: "stable", "unstable" or "neutral".
        beyond: it lies outside of what was seen, within the margin.
    """

    state: Tensor
    jacobian: Tensor
    eigenvalues: Tensor
    kind: str
    stability: str
    out_of_range: bool


def find_fixed_points(system: DynamicalSystem, starts: int | None = None, seed: int = 0) -> list[FixedPoint]:
    """All that the search finds from so many starts: half seen states, half spread over the box; on a line evenly.
    In order of the first component."""
    search = _Search.of(system)
    count = starts or (STARTS_LOW_DIM if search.dims <= HIGH_DIM else STARTS_HIGH_DIM)
    seen = torch.cat([one.states for one in system.trajectories])[:, : search.dims]
    found = search.roots(system.rate, _starts((seen - search.low) / search.extent, count, seed))
    inside = ((found >= -SEARCH_MARGIN) & (found <= 1 + SEARCH_MARGIN)).all(-1)
    points = [_describe(system, search.whole(u), bool(((u < 0) | (u > 1)).any())) for u in _distinct(found[inside])]
    return sorted(points, key=lambda p: p.state.tolist())


def sampled_fixed_points(system: DynamicalSystem, point: FixedPoint) -> Tensor:
    """`[L, D]`: where the drawn laws rest, each from the point on: of those that rest within `SAME_POINT_ENSEMBLE` of
    it."""
    search = _Search.of(system)
    start = ((point.state[: search.dims] - search.low) / search.extent)[None]
    found = [search.roots(rate, start) for rate in system.sampled_rates]
    near = [u for u in found if len(u) and bool(((u - start).abs() <= SAME_POINT_ENSEMBLE).all())]
    return search.whole(torch.cat(near)) if near else point.state.new_zeros(0, len(point.state))


@dataclass(frozen=True)
class _Search:
    """The box in which fixed points are sought: components scaled to 0..1, without the rates of a law of second order,
    which are none at a fixed point.

    Attributes:
        low, extent: `[dims]` of the box.
        usual: size of the rates of what was seen.
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
        seen = torch.cat([one.states for one in system.trajectories])
        typical = system.rate(seen)[:, -dims:].square().mean().sqrt().clamp_min(1e-300)
        return cls(low[:dims], extent[:dims], dims, typical, system.second_order)

    def whole(self, u: Tensor) -> Tensor:
        """The state `[..., D]` of scaled components."""
        place = self.low + self.extent * u
        return torch.cat([place, torch.zeros_like(place)], dim=-1) if self.second_order else place

    def roots(self, rate: Callable[[Tensor], Tensor], starts: Tensor) -> Tensor:
        """Where a law rests, scaled, from starts `[N, dims]` on: those that get there."""
        return _roots(lambda u: rate(self.whole(u))[..., -self.dims :] / self.typical, starts)


def scaled_box(system: DynamicalSystem) -> tuple[Tensor, Tensor]:
    """Lowest corner and extents `[D]` of the seen states; no extent is zero."""
    low, high = system.box
    num_halves = 2 if system.second_order else 1
    extents = [(part, part.amax().clamp_min(1e-300)) for part in (high - low).chunk(num_halves)]
    return low, torch.cat([torch.maximum(part, MIN_EXTENT * maximum) for part, maximum in extents])


def _starts(seen: Tensor, count: int, seed: int) -> Tensor:
    dims = seen.shape[-1]
    if dims == 1:
        return torch.linspace(-SEARCH_MARGIN, 1 + SEARCH_MARGIN, max(count, 2), dtype=seen.dtype)[:, None]
    chosen = seen[torch.linspace(0, len(seen) - 1, (count + 1) // 2).round().long()]
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(count // 2, dims, generator=generator, dtype=seen.dtype)
    return torch.cat([chosen, spread * (1 + 2 * SEARCH_MARGIN) - SEARCH_MARGIN])


def _roots(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Zeros of f near rows of `x` `[N, D]`, by Levenberg and Marquardt's method: those rows that get there."""
    x, damping = x.clone(), torch.full((len(x),), 1e-2, dtype=x.dtype)
    value, slope = value_and_jacobian(f, x)
    for _ in range(ITERATIONS):
        live = ((_size(value) >= RATE_TOLERANCE) & (damping < MAX_DAMPING)).nonzero()[:, 0]
        if len(live) == 0:
            break
        tried = x[live] + _step(value[live], slope[live], damping[live])
        with torch.no_grad():
            found = f(tried)
        better = _size(found) < _size(value[live])
        damping[live] = torch.where(better, damping[live] / 5, damping[live] * 4).clamp_min(1e-15)
        if better.any():
            moved = live[better]
            x[moved] = tried[better]
            value[moved], slope[moved] = value_and_jacobian(f, x[moved])
    return x[_size(value) < RATE_TOLERANCE]


def _step(value: Tensor, slope: Tensor, damping: Tensor) -> Tensor:
    """Downhill, no farther than `MAX_STEP`."""
    gram = slope.transpose(-1, -2) @ slope
    trace = gram.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-300)
    eye = torch.eye(slope.shape[-1], dtype=slope.dtype)
    pulled = (slope.transpose(-1, -2) @ value[..., None])[..., 0]
    step = -torch.linalg.solve(gram + ((damping + 1e-14) * trace)[:, None, None] * eye, pulled)
    return step * (MAX_STEP / step.norm(dim=-1, keepdim=True).clamp_min(MAX_STEP))


def _size(value: Tensor) -> Tensor:
    return torch.nan_to_num(value, nan=1e300).abs().amax(-1)


def _distinct(found: Tensor) -> list[Tensor]:
    kept: list[Tensor] = []
    for one in found:
        if all(float((one - other).abs().max()) > SAME_POINT for other in kept):
            kept.append(one)
    return kept


def _describe(system: DynamicalSystem, state: Tensor, beyond: bool) -> FixedPoint:
    jacobian = value_and_jacobian(system.rate, state[None])[1][0]
    eigenvalues = torch.linalg.eigvals(jacobian)
    order = sorted(range(len(eigenvalues)), key=lambda i: (-eigenvalues[i].real, -eigenvalues[i].imag))
    eigenvalues = eigenvalues[order]
    kind, stability = classify(eigenvalues)
    return FixedPoint(state, jacobian, eigenvalues, kind, stability, beyond)


def classify(eigenvalues: Tensor) -> tuple[str, str]:
    """The kind in words, and "stable", "unstable" or "neutral", of the eigenvalues `[D]` of the Jacobian."""
    scale = float(eigenvalues.abs().max())
    real, imaginary = eigenvalues.real, eigenvalues.imag
    grows = int((real > ZERO_EIGENVALUE * scale).sum())
    falls = int((real < -ZERO_EIGENVALUE * scale).sum())
    level, oscillates = len(eigenvalues) - grows - falls, bool((imaginary.abs() > ZERO_EIGENVALUE * scale).any())
    if grows and falls:
        neutral = f", {level} neutral" if level else ""
        return (f"saddle ({grows} of {len(eigenvalues)} directions unstable{neutral})", "unstable")
    if level == len(eigenvalues):
        still = bool((eigenvalues.abs() <= ZERO_EIGENVALUE * scale).any()) or scale == 0
        return ("degenerate" if still else "centre", "neutral")
    shape = "focus" if oscillates else "node"
    if level:
        return (
            f"{'unstable' if grows else 'stable'} but for {level} neutral directions",
            "unstable" if grows else "neutral",
        )
    return (f"unstable {shape}", "unstable") if grows else (f"stable {shape}", "stable")
