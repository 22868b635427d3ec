"""Feature planes: a field's features as products of interpolated planes.

Source: K-Planes (Fridovich-Keil et al. 2023) and HexPlane (Cao and Johnson 2023) factorise space and time into planes;
the product over planes and the concatenation over scales are K-Planes'. Ours adds groups (many small fields in one
array, one lookup) and a fused CPU kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foreseen.nn import plane_kernels

TRI_PLANE = ((0, 1), (0, 2), (1, 2))
"""The three planes of space."""


class FeaturePlanes(nn.Module):
    """G groups of planes over D coordinates, at S scales, with C channels.

    Args:
        axes: pairs of coordinate axes, one pair a plane; three pairs of (0, 1, 2) are a tri-plane.
        resolutions: for each scale, the nodes along each of the D axes (at least 2).
        channels: C, features of one scale.
        groups: G.
        initial: (low, high) of the uniform initial values. Products of small numbers vanish, and with them the first
            steps: K-Planes' (0.1, 0.5) learned as much in 240 steps as this in 140.
        unit_axes: planes that touch one of these axes start at 1, so that they change nothing at first (time planes).
    """

    def __init__(
        self,
        axes: tuple[tuple[int, int], ...],
        resolutions: tuple[tuple[int, ...], ...],
        channels: int,
        groups: int = 1,
        initial: tuple[float, float] = (0.4, 1.0),
        unit_axes: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        if len(axes) > plane_kernels.MAX_PLANES or channels > plane_kernels.MAX_CHANNELS:
            raise ValueError(
                f"at most {plane_kernels.MAX_PLANES} planes and {plane_kernels.MAX_CHANNELS} channels, "
                f"got {len(axes)} and {channels}"
            )
        self.axes, self.channels, self.groups = axes, channels, groups
        layout, values, offset = [], [], 0
        for nodes in resolutions:
            rows = []
            for a, b in axes:
                shape = (groups, nodes[b], nodes[a], channels)
                rows.append((offset, nodes[b], nodes[a], a, b))
                unit = a in unit_axes or b in unit_axes
                values.append(torch.ones(shape) if unit else torch.empty(shape).uniform_(*initial))
                offset += values[-1].numel()
            layout.append(rows)
        self.layout: tuple[tuple[tuple[int, int, int, int, int], ...], ...] = tuple(tuple(r) for r in layout)
        self._layout_array = np.array(layout, np.int64)
        self.data = nn.Parameter(torch.cat([v.flatten() for v in values]))

    @property
    def features(self) -> int:
        """Width of the output: S * C."""
        return len(self.layout) * self.channels

    def forward(self, coords: Tensor, group: Tensor | None = None) -> Tensor:
        """Features `[M, S * C]` at `coords` `[M, D]` in [-1, 1] (clamped), in `group` `[M]` (default 0)."""
        if group is None:
            group = torch.zeros(coords.shape[0], dtype=torch.int64, device=coords.device)
        if coords.device.type == "cpu" and coords.dtype == torch.float32:
            return _Fused.apply(self.data, coords.contiguous(), group, self._layout_array, self.channels)
        return interpolate_reference(self.data, coords, group, self.layout, self.channels, self.groups)

    def plane(self, scale: int, plane: int) -> Tensor:
        """A view `[G, rows, columns, C]` of one plane."""
        offset, rows, cols, _, _ = self.layout[scale][plane]
        size = self.groups * rows * cols * self.channels
        return self.data[offset : offset + size].view(self.groups, rows, cols, self.channels)


def interpolate_reference(
    data: Tensor,
    coords: Tensor,
    group: Tensor,
    layout: tuple[tuple[tuple[int, ...], ...], ...],
    channels: int,
    groups: int,
) -> Tensor:
    """The definition, in plain torch: features `[M, S * C]`. Any device, any float type, differentiable."""
    out = []
    for planes in layout:
        product = None
        for offset, rows, cols, a, b in planes:
            plane = data[offset : offset + groups * rows * cols * channels].view(-1, channels)
            x = (coords[:, a].clamp(-1, 1) + 1) * 0.5 * (cols - 1)
            y = (coords[:, b].clamp(-1, 1) + 1) * 0.5 * (rows - 1)
            j = x.detach().floor().clamp(0, cols - 2).long()
            i = y.detach().floor().clamp(0, rows - 2).long()
            fx, fy = (x - j)[:, None], (y - i)[:, None]
            at = (group * rows + i) * cols + j
            value = (
                plane[at] * (1 - fx) * (1 - fy)
                + plane[at + 1] * fx * (1 - fy)
                + plane[at + cols] * (1 - fx) * fy
                + plane[at + cols + 1] * fx * fy
            )
            product = value if product is None else product * value
        out.append(product)
    return torch.cat([o for o in out if o is not None], dim=-1)


class _Fused(torch.autograd.Function):
    """The Numba kernels behind autograd. First derivatives only."""

    @staticmethod
    def forward(ctx: Any, data: Tensor, coords: Tensor, group: Tensor, layout: np.ndarray, channels: int) -> Tensor:
        out = torch.empty(coords.shape[0], layout.shape[0] * channels)
        chunks = plane_kernels.threads()
        plane_kernels.forward(
            data.detach().numpy(), layout, coords.detach().numpy(), group.numpy(), channels, out.numpy(), chunks
        )
        ctx.save_for_backward(data, coords, group)
        ctx.layout, ctx.channels, ctx.chunks = layout, channels, chunks
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        data, coords, group = ctx.saved_tensors
        grad_data = torch.zeros(ctx.chunks, data.numel())
        grad_coords = torch.zeros_like(coords)
        plane_kernels.backward(
            data.detach().numpy(),
            ctx.layout,
            coords.detach().numpy(),
            group.numpy(),
            ctx.channels,
            grad.contiguous().numpy(),
            grad_data.numpy(),
            grad_coords.numpy(),
            ctx.chunks,
        )
        return grad_data.sum(0), grad_coords, None, None, None
