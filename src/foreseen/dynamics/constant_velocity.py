"""What goes straight on: by which drag or steady force, and since when."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

DRAGS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0)
"""Drags that are tried, per window."""
SEGMENT_LENGTHS = (0.0, 0.25, 0.5, 0.75)
"""Lengths of the stretches that tell a state, from the shortest (0) to all of the path (1), by its logarithm."""
FORCE_SEGMENT_LENGTHS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
"""The same, of the stretches that may have been under one steady force."""
FIRST_FORECAST, FIRST_COMPARISON = 0.3, 0.6
"""Paths are foretold from every moment after this share; drag and steady force compete after the second one."""
FORCE_ERROR_SHARE = 0.75
"""A steady force counts where its error is less than this share of that of a drag."""
MAX_RESIDUAL_GROWTH = 3.0
"""A stretch is under one force where a parabola leaves so many times what it usually leaves of the shortest, ..."""
MIN_RESIDUAL = 2e-3
"""(of q of unit variance at least: no path is better known)"""
MAX_LENGTHENING_GROWTH = 1.5
"""... or so many times what it leaves of the next shorter one: of a changing force it would leave 2.5 times as much."""


@dataclass(frozen=True)
class ConstantVelocityModel:
    """`drag` per window, `acceleration` `[d]` per window squared, and the steps of the `segment` that tells the last
    state."""

    drag: float
    acceleration: Tensor
    segment: int


def fit_constant_velocity(q: Tensor, spacing: float, minimum: int) -> ConstantVelocityModel:
    """What foretells the later moments of a path `q` `[N, d]` from the earlier ones best: one drag, and stretches of
    one length, or steady forces, each since when there was no other.

    Args:
        spacing: of its times.
        least: steps of the shortest stretch.
    """
    minimum = min(minimum, len(q) - 1)
    moments = torch.arange(max(minimum, round(FIRST_FORECAST * len(q))), len(q) - 1)
    tries = itertools.product(DRAGS, _lengths(SEGMENT_LENGTHS, minimum, len(q)))
    found = [(_error(q, spacing, *one, moments), one) for one in tries]
    _, (drag, segment) = min(found)
    late = moments[moments >= FIRST_COMPARISON * len(q)]
    if len(late):
        fits, steps = _under_forces(q, spacing, minimum, torch.cat([late, torch.tensor([len(q) - 1])]))
        if _forecast_error(q, spacing, fits[:-1], late, 0.0) < FORCE_ERROR_SHARE * _error(
            q, spacing, drag, segment, late
        ):
            return ConstantVelocityModel(0.0, 2 * fits[-1, 2], int(steps[-1]))
    return ConstantVelocityModel(drag, torch.zeros_like(q[0]), segment)


def _lengths(shares: tuple[float, ...], minimum: int, longest: int) -> list[int]:
    return sorted({min(round(minimum * (longest / minimum) ** share), longest - 1) for share in shares})


def _error(q: Tensor, spacing: float, drag: float, segment: int, moments: Tensor) -> float:
    """Of stretches of one length before `moments`; infinite where none is long enough."""
    moments = moments[moments >= segment]
    return _forecast_error(q, spacing, _fits(q, spacing, segment, moments, 1, drag), moments, drag)


def _under_forces(q: Tensor, spacing: float, minimum: int, moments: Tensor) -> tuple[Tensor, Tensor]:
    """The parabolas `[M, 3, d]` that end at `moments` `[M]`, and how many steps each is long: as long as it follows the
    path about as well as the shortest ones usually do."""
    everywhere = torch.arange(minimum, len(q))
    typical = float(_residuals(q, spacing, _fits(q, spacing, minimum, everywhere, 2), minimum, everywhere).median())
    enough = MAX_RESIDUAL_GROWTH * max(typical, MIN_RESIDUAL)
    fits, steps = _fits(q, spacing, minimum, moments, 2), torch.full_like(moments, minimum)
    before = q.new_zeros(len(moments))
    rows = torch.arange(len(moments))  # those that may be longer yet
    for length in _lengths(FORCE_SEGMENT_LENGTHS, minimum, len(q)):
        rows = rows[moments[rows] >= length]
        if not len(rows):
            break
        longer = _fits(q, spacing, length, moments[rows], 2)
        left = _residuals(q, spacing, longer, length, moments[rows])
        good = left <= (MAX_LENGTHENING_GROWTH * before[rows]).clamp_min(enough)
        rows = rows[good]
        fits[rows], steps[rows], before[rows] = longer[good], length, left[good]
    return fits, steps


def _fits(q: Tensor, spacing: float, segment: int, moments: Tensor, degree: int, drag: float = 0.0) -> Tensor:
    """`[M, degree + 1, d]`: polynomials in `_drag_basis` that follow best what comes `segment` steps before
    `moments`."""
    back = torch.arange(-segment, 1)
    return torch.linalg.pinv(_drag_basis(back.double() * spacing, degree, drag)) @ q[moments[:, None] + back]


def _residuals(q: Tensor, spacing: float, fits: Tensor, segment: int, moments: Tensor) -> Tensor:
    """`[M]`: root mean square of what parabolas leave of the stretch that they were fitted to."""
    back = torch.arange(-segment, 1)
    error = _drag_basis(back.double() * spacing, 2, 0.0) @ fits - q[moments[:, None] + back]
    return error.square().sum(-1).mean(-1).sqrt()


def _forecast_error(q: Tensor, spacing: float, fits: Tensor, moments: Tensor, drag: float) -> float:
    """Mean distance of what `fits` at `moments` say of all that comes later."""
    if not len(moments):
        return float("inf")
    ahead = torch.arange(len(q)) - moments[:, None]
    error = _drag_basis(ahead.double() * spacing, fits.shape[1] - 1, drag) @ fits - q
    return float(error.norm(dim=-1)[ahead > 0].mean())


def _drag_basis(times: Tensor, degree: int, drag: float) -> Tensor:
    """`[..., degree + 1]`: powers of the way that is left, under a drag, after `times`."""
    way = (1 - (-drag * times).exp()) / drag if drag else times
    return way[..., None] ** torch.arange(degree + 1)
