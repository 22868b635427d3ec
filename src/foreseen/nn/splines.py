"""Uniform cubic B-splines over the unit interval."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class UniformBSpline:
    """A curve with `controls` control points (at least 4) over times 0..1, twice continuously differentiable.

    Outside 0..1 the first and last polynomial are continued.
    """

    controls: int

    def basis(self, times: Tensor, derivative: int = 0) -> Tensor:
        """Weights `[T, controls]` of the control points at `times` `[T]`; `derivative` 0, 1 or 2 by time."""
        pieces = self.controls - 3
        u = times * pieces
        i = u.floor().clamp(0, pieces - 1)
        f = u - i
        if derivative == 0:
            w = [(1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3]
        elif derivative == 1:
            w = [-3 * (1 - f) ** 2, 9 * f**2 - 12 * f, -9 * f**2 + 6 * f + 3, 3 * f**2]
        elif derivative == 2:
            w = [6 * (1 - f), 18 * f - 12, -18 * f + 6, 6 * f]
        else:
            raise ValueError(f"derivative must be 0, 1 or 2, got {derivative}")
        out = torch.zeros(times.shape[0], self.controls, dtype=times.dtype, device=times.device)
        index = i.long()[:, None] + torch.arange(4, device=times.device)
        return out.scatter(1, index, torch.stack(w, -1) * (pieces**derivative / 6.0))


def smoothing(controls: int, seen: Tensor, wanted: Tensor, stiffness: float = 0.05) -> Tensor:
    """Weights `[T, M]` that give the positions at the times `wanted` `[T]` from those at the times `seen` `[M]`, by the
    least-squares spline. `stiffness`: weight of the third differences of the control points, which bridge gaps. Larger:
    smoother."""
    spline = UniformBSpline(controls)
    jerk = torch.eye(controls, dtype=seen.dtype).diff(n=3, dim=0) * stiffness
    rows = torch.cat([spline.basis(seen), jerk])
    return spline.basis(wanted) @ torch.linalg.pinv(rows)[:, : len(seen)]
