"""Extrapolation without dynamics: at constant velocity, against a drag, or under a constant force."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from foreseen.dynamics.config import ConstantVelocityConfig


@dataclass(frozen=True)
class ConstantVelocityModel:
    """Constant velocity, less a `drag` [1/window], or a constant `acceleration` `[d]` [q/window^2].

    Attributes:
        segment: steps of the last segment of the path, which the final state is measured on.
    """

    drag: float
    acceleration: Tensor
    segment: int


def fit_constant_velocity(
    q: Tensor, spacing: float, minimum: int, config: ConstantVelocityConfig
) -> ConstantVelocityModel:
    """The model that predicts the later times of a path `q` `[N, d]` from the earlier ones with the smallest error: one
    drag and one segment length, or a constant force, measured since it last changed.

    Args:
        spacing: of the times.
        minimum: steps of the shortest segment.
    """
    minimum = min(minimum, len(q) - 1)
    ends = torch.arange(max(minimum, round(config.first_forecast * len(q))), len(q) - 1)
    candidates = itertools.product(config.drags, _segment_steps(config.segment_lengths, minimum, len(q)))
    _, (drag, segment) = min((_drag_error(q, spacing, *candidate, ends), candidate) for candidate in candidates)
    late = ends[ends >= config.first_comparison * len(q)]
    if len(late):
        fits, steps = _constant_force_fits(q, spacing, minimum, torch.cat([late, torch.tensor([len(q) - 1])]), config)
        force_error = _forecast_error(q, spacing, fits[:-1], late, 0.0)
        if force_error < config.force_error_ratio * _drag_error(q, spacing, drag, segment, late):
            return ConstantVelocityModel(0.0, 2 * fits[-1, 2], int(steps[-1]))
    return ConstantVelocityModel(drag, torch.zeros_like(q[0]), segment)


def _segment_steps(lengths: tuple[float, ...], minimum: int, longest: int) -> list[int]:
    """Steps of segments from `minimum` (length 0) to `longest` (length 1), by the logarithm, ascending."""
    return sorted({min(round(minimum * (longest / minimum) ** length), longest - 1) for length in lengths})


def _drag_error(q: Tensor, spacing: float, drag: float, segment: int, ends: Tensor) -> float:
    """Forecast error with a drag, measured on segments of one length that end at the indices `ends`; infinite if none
    is long enough."""
    ends = ends[ends >= segment]
    return _forecast_error(q, spacing, _fits(q, spacing, segment, ends, 1, drag), ends, drag)


def _constant_force_fits(
    q: Tensor, spacing: float, minimum: int, ends: Tensor, config: ConstantVelocityConfig
) -> tuple[Tensor, Tensor]:
    """Parabolas `[M, 3, d]` on segments that end at the indices `ends` `[M]`, and the steps of each segment `[M]`: as
    long as the parabola follows the path about as well as on the shortest segments."""
    everywhere = torch.arange(minimum, len(q))
    typical = float(_residuals(q, spacing, _fits(q, spacing, minimum, everywhere, 2), minimum, everywhere).median())
    accepted_residual = config.max_residual_growth * max(typical, config.min_residual)
    fits, steps = _fits(q, spacing, minimum, ends, 2), torch.full_like(ends, minimum)
    previous = q.new_zeros(len(ends))
    rows = torch.arange(len(ends))  # segments that may still become longer
    for length in _segment_steps(config.force_segment_lengths, minimum, len(q)):
        rows = rows[ends[rows] >= length]
        if not len(rows):
            break
        longer = _fits(q, spacing, length, ends[rows], 2)
        residuals = _residuals(q, spacing, longer, length, ends[rows])
        good = residuals <= (config.max_lengthening_growth * previous[rows]).clamp_min(accepted_residual)
        rows = rows[good]
        fits[rows], steps[rows], previous[rows] = longer[good], length, residuals[good]
    return fits, steps


def _fits(q: Tensor, spacing: float, segment: int, ends: Tensor, degree: int, drag: float = 0.0) -> Tensor:
    """`[M, degree + 1, d]`: least-squares coefficients in `_drag_basis`, on the `segment` steps before each of
    `ends`."""
    back = torch.arange(-segment, 1)
    return torch.linalg.pinv(_drag_basis(back.double() * spacing, degree, drag)) @ q[ends[:, None] + back]


def _residuals(q: Tensor, spacing: float, fits: Tensor, segment: int, ends: Tensor) -> Tensor:
    """`[M]`: root mean square residual of parabolas on the segments that they were fitted to."""
    back = torch.arange(-segment, 1)
    error = _drag_basis(back.double() * spacing, 2, 0.0) @ fits - q[ends[:, None] + back]
    return error.square().sum(-1).mean(-1).sqrt()


def _forecast_error(q: Tensor, spacing: float, fits: Tensor, ends: Tensor, drag: float) -> float:
    """Mean distance between the forecasts from `ends` by `fits` and the path after them."""
    if not len(ends):
        return float("inf")
    ahead = torch.arange(len(q)) - ends[:, None]
    error = _drag_basis(ahead.double() * spacing, fits.shape[1] - 1, drag) @ fits - q
    return float(error.norm(dim=-1)[ahead > 0].mean())


def _drag_basis(times: Tensor, degree: int, drag: float) -> Tensor:
    """`[..., degree + 1]`: powers of the distance that a unit of velocity gives within `times` under a drag."""
    distance = (1 - (-drag * times).exp()) / drag if drag else times
    return distance[..., None] ** torch.arange(degree + 1)
