"""What goes straight on: by which drag or steady force, and since when."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

DRAGS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0)
"""Drags that are tried, per window."""
STRETCHES = (0.0, 0.25, 0.5, 0.75)
"""Lengths of the stretches that tell a state, from the shortest (0) to all of the path (1), by its logarithm."""
LONGER = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
"""The same, of the stretches that may have been under one steady force."""
OPENING, LATE = 0.3, 0.6
"""Paths are foretold from every moment after this share; drag and steady force compete after the second one."""
PUSHED = 0.75
"""A steady force counts where its error is less than this share of that of a drag."""
FOLLOWS = 3.0
"""A stretch is under one force where a parabola leaves so many times what it usually leaves of the shortest, ..."""
LEAST = 2e-3
"""(of q of unit variance at least: no path is better known)"""
GROWS = 1.5
"""... or so many times what it leaves of the next shorter one: of a changing force it would leave 2.5 times as much."""


@dataclass(frozen=True)
class Coasting:
    """`drag` per window, `acceleration` `[d]` per window squared, and the steps of the `stretch` that tells the last
    state."""

    drag: float
    acceleration: Tensor
    stretch: int


def best_coasting(q: Tensor, spacing: float, least: int) -> Coasting:
    """What foretells the later moments of a path `q` `[N, d]` from the earlier ones best: one drag, and stretches of
    one length, or steady forces, each since when there was no other.

    Args:
        spacing: of its times.
        least: steps of the shortest stretch.
    """
    least = min(least, len(q) - 1)
    moments = torch.arange(max(least, round(OPENING * len(q))), len(q) - 1)
    tries = itertools.product(DRAGS, _lengths(STRETCHES, least, len(q)))
    found = [(_error(q, spacing, *one, moments), one) for one in tries]
    _, (drag, stretch) = min(found)
    late = moments[moments >= LATE * len(q)]
    if len(late):
        fits, steps = _under_forces(q, spacing, least, torch.cat([late, torch.tensor([len(q) - 1])]))
        if _foretold(q, spacing, fits[:-1], late, 0.0) < PUSHED * _error(q, spacing, drag, stretch, late):
            return Coasting(0.0, 2 * fits[-1, 2], int(steps[-1]))
    return Coasting(drag, torch.zeros_like(q[0]), stretch)


def _lengths(shares: tuple[float, ...], least: int, longest: int) -> list[int]:
    return sorted({min(round(least * (longest / least) ** share), longest - 1) for share in shares})


def _error(q: Tensor, spacing: float, drag: float, stretch: int, moments: Tensor) -> float:
    """Of stretches of one length before `moments`; infinite where none is long enough."""
    moments = moments[moments >= stretch]
    return _foretold(q, spacing, _fits(q, spacing, stretch, moments, 1, drag), moments, drag)


def _under_forces(q: Tensor, spacing: float, least: int, moments: Tensor) -> tuple[Tensor, Tensor]:
    """The parabolas `[M, 3, d]` that end at `moments` `[M]`, and how many steps each is long: as long as it follows the
    path about as well as the shortest ones usually do."""
    everywhere = torch.arange(least, len(q))
    usual = float(_left(q, spacing, _fits(q, spacing, least, everywhere, 2), least, everywhere).median())
    enough = FOLLOWS * max(usual, LEAST)
    fits, steps = _fits(q, spacing, least, moments, 2), torch.full_like(moments, least)
    before = q.new_zeros(len(moments))
    rows = torch.arange(len(moments))  # those that may be longer yet
    for length in _lengths(LONGER, least, len(q)):
        rows = rows[moments[rows] >= length]
        if not len(rows):
            break
        longer = _fits(q, spacing, length, moments[rows], 2)
        left = _left(q, spacing, longer, length, moments[rows])
        good = left <= (GROWS * before[rows]).clamp_min(enough)
        rows = rows[good]
        fits[rows], steps[rows], before[rows] = longer[good], length, left[good]
    return fits, steps


def _fits(q: Tensor, spacing: float, stretch: int, moments: Tensor, degree: int, drag: float = 0.0) -> Tensor:
    """`[M, degree + 1, d]`: polynomials in `_ways` that follow best what comes `stretch` steps before `moments`."""
    back = torch.arange(-stretch, 1)
    return torch.linalg.pinv(_ways(back.double() * spacing, degree, drag)) @ q[moments[:, None] + back]


def _left(q: Tensor, spacing: float, fits: Tensor, stretch: int, moments: Tensor) -> Tensor:
    """`[M]`: root mean square of what parabolas leave of the stretch that they were fitted to."""
    back = torch.arange(-stretch, 1)
    error = _ways(back.double() * spacing, 2, 0.0) @ fits - q[moments[:, None] + back]
    return error.square().sum(-1).mean(-1).sqrt()


def _foretold(q: Tensor, spacing: float, fits: Tensor, moments: Tensor, drag: float) -> float:
    """Mean distance of what `fits` at `moments` say of all that comes later."""
    if not len(moments):
        return float("inf")
    ahead = torch.arange(len(q)) - moments[:, None]
    error = _ways(ahead.double() * spacing, fits.shape[1] - 1, drag) @ fits - q
    return float(error.norm(dim=-1)[ahead > 0].mean())


def _ways(times: Tensor, degree: int, drag: float) -> Tensor:
    """`[..., degree + 1]`: powers of the way that is left, under a drag, after `times`."""
    way = (1 - (-drag * times).exp()) / drag if drag else times
    return way[..., None] ** torch.arange(degree + 1)
