"""Voxel grids in boxes: density, colour and shade at a point, without a network.

A point's features are the sum, over levels from coarse to fine, of the trilinear mean of the eight voxels around it.
Coarse levels learn fast and keep rarely seen regions smooth, fine ones hold the detail. Voxels exist only where a box
may have content: the others cost nothing.

Sources: interpolated grids in place of networks are DVGO's (Sun et al. 2022) and Plenoxels' (Fridovich-Keil et al.
2022), activation after interpolation DVGO's. Ours: the sum of levels, and the shade.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foreseen.errors import UserError
from foreseen.nn import voxel_kernels
from foreseen.nn.checked_module import CheckedModule, check_range
from foreseen.nn.plane_kernels import threads
from foreseen.nn.voxel_kernels import CHANNELS

GAIN = 8.0
"""Factor on the density before the softplus. Densities span tens where colours span one. Larger: densities learn
faster."""
GREY = 0.5
"""Colour of untrained voxels."""


@dataclass(frozen=True)
class VoxelTable:
    """The positions of the voxels. Level l of box b is a grid of n^3 nodes over [-1, 1]^3; `layout[b, l]` is (offset,
    n), and `index[offset + (i n + j) n + k]` the row of node i, j, k (along x, y, z), or -1 where there is no voxel.

    Attributes:
        layout: `[B, L, 2]` int64.
        index: flat, int32.
        rows: number of voxels.

    Raises:
        UserError: a level points outside the index, or the index outside the rows: kernels do not check them.
    """

    layout: Tensor
    index: Tensor
    rows: int

    def __post_init__(self) -> None:
        layout, index = self.layout, self.index
        if layout.dtype != torch.int64 or layout.ndim != 3 or not layout.numel() or layout.shape[-1] != 2:
            raise UserError(f"voxels: layout is {layout.dtype} {list(layout.shape)}, not int64 [boxes, levels, 2]")
        if index.dtype != torch.int32 or index.ndim != 1:
            raise UserError(f"voxels: index is {index.dtype} {list(index.shape)}, not int32 and flat")
        for offset, n in layout.flatten(0, 1).tolist():
            if n < 2 or not 0 <= offset <= len(index) - n**3:
                raise UserError(f"voxels: layout: {n}^3 nodes from {offset} on are not in an index of {len(index)}")
        check_range("voxels: index", index, -1, self.rows - 1)

    @staticmethod
    def build(levels: Sequence[Sequence[int]], open_cells: Tensor) -> VoxelTable:
        """Voxels wherever one of the cells `open_cells` `[B, G, G, G]` (bool) next to it is open.

        Args:
            levels: for each box, the nodes along an axis of each level.
        """
        layout, index, offset, rows = [], [], 0, 0
        for box, nodes in zip(open_cells, levels, strict=True):
            pairs = []
            for n in nodes:
                used = _near_open(box, n).flatten()
                own = torch.full((n**3,), -1, dtype=torch.int32)
                count = int(used.sum())
                own[used] = torch.arange(rows, rows + count, dtype=torch.int32)
                index.append(own)
                pairs.append((offset, n))
                offset, rows = offset + n**3, rows + count
            layout.append(pairs)
        return VoxelTable(torch.tensor(layout), torch.cat(index), rows)


def _near_open(cells: Tensor, nodes: int) -> Tensor:
    """`[n, n, n]`: nodes whose neighbourhood, one spacing each way, touches an open cell."""
    size = len(cells)
    reach = -(-size // (nodes - 1)) + 1
    grown = F.max_pool3d(cells[None, None].float(), 2 * reach + 1, 1, reach)[0, 0] > 0
    place = (torch.linspace(0, size, nodes).long()).clamp(max=size - 1)
    return grown[place][:, place][:, :, place]


class VoxelGrids(CheckedModule):
    """The voxels of B boxes.

    Args:
        table: their positions.
        initial: thickness of the finest spacing of untrained space.
    """

    layout: Tensor
    index: Tensor

    def __init__(self, table: VoxelTable, initial: float = 0.02) -> None:
        super().__init__()
        self.register_buffer("layout", table.layout)
        self.register_buffer("index", table.index)
        self.shift = float(torch.tensor(initial).expm1().log())
        values = torch.zeros(table.rows, CHANNELS)
        for box in table.layout:
            offset, n = box[0].tolist()
            own = table.index[offset : offset + n**3].long()
            values[own[own >= 0], 1:4] = GREY  # the coarsest level has the mean, the others the differences from it
        self.values = nn.Parameter(values)

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor], prefix: str, initial: float = 0.02) -> VoxelGrids:
        """Grids of the shapes that a state dict has under `prefix`. Raises `UserError` as `VoxelTable`."""
        layout, index = tensors[prefix + "layout"], tensors[prefix + "index"]
        return VoxelGrids(VoxelTable(layout, index, len(tensors[prefix + "values"])), initial)

    def check(self) -> None:
        """As `VoxelTable`."""
        VoxelTable(self.layout, self.index, len(self.values))

    @property
    def finest(self) -> Tensor:
        """`[B]` nodes of each box's finest level."""
        return self.layout[:, :, 1].amax(1)

    def scales(self, half_extents: Tensor) -> Tensor:
        """`[B]` density per unit length of what is one thick over a spacing of the finest level, in boxes of half sizes
        `half_extents` `[B, 3]`."""
        return (self.finest - 1) / (2 * half_extents.mean(-1))

    def features(self, local: Tensor, box: Tensor) -> Tensor:
        """`[M, 7]` at `local` `[M, 3]` in [-1, 1] of `box` `[M]`, differentiable."""
        if not self.compiled(local):
            return self.features_reference(local, box)
        return _Features.apply(self.values, local, box, self.layout, self.index)

    def compiled(self, *others: Tensor) -> bool:
        """Whether the compiled kernels can be used for these tensors."""
        return all(x.device.type == "cpu" and x.dtype == torch.float32 for x in (self.values, *others))

    def features_reference(self, local: Tensor, box: Tensor) -> Tensor:
        """The definition, in plain torch."""
        out = local.new_zeros(len(local), CHANNELS)
        for level in range(self.layout.shape[1]):
            offset, n = self.layout[box, level].unbind(-1)
            u = (local + 1) * 0.5 * (n[:, None] - 1)
            cell = u.detach().long().clamp(min=0).minimum(n[:, None] - 2)
            f = u - cell
            for q in range(8):
                bits = [(q >> 2) & 1, (q >> 1) & 1, q & 1]
                i, j, k = (cell[:, a] + bits[a] for a in range(3))
                row = self.index[offset + (i * n + j) * n + k].long()
                w = torch.stack([f[:, a] if bits[a] else 1 - f[:, a] for a in range(3)]).prod(0)
                w = torch.where(row >= 0, w, torch.zeros_like(w))
                out = out + w[:, None] * self.values.to(w)[row.clamp(min=0)]
        return out

    def density(self, features: Tensor) -> Tensor:
        """Thickness of the finest spacing, `[M]`, from features `[M, 7]`."""
        return F.softplus(GAIN * features[:, 0] + self.shift, threshold=15)

    @staticmethod
    def color(features: Tensor, toward: Tensor) -> Tensor:
        """`[M, 3]` in 0..1: colour times (1 + shade . toward), where `toward` `[M, 3]` points to the viewer and to the
        light (their sum), in the box's frame: the shade of a matte surface is along its normal."""
        return inward_clamp(features[:, 1:4] * (1 + (features[:, 4:7] * toward).sum(-1, keepdim=True)))

    def roughness(self, period: int = 4) -> Tensor:
        """Mean over neighbouring voxels of a level of the squared difference, summed over channels.

        Uses one plane of voxels in `period` (at least 2), drawn from torch's global generator.
        """
        first = int(torch.randint(period, ()))
        if self.compiled():
            return _Roughness.apply(self.values, self.index, self.layout, first, period)
        return self.roughness_reference(first, period)

    def roughness_reference(self, first: int, period: int) -> Tensor:
        """The definition, in plain torch, of planes `first`, `first + period`, ... along x."""
        total, pairs = self.values.new_zeros(()), 0
        for offset, n in self.layout.flatten(0, 1).tolist():
            rows = self.index[offset : offset + n**3].long().view(n, n, n)
            for axis in range(3):
                a, b = rows.narrow(axis, 0, n - 1), rows.narrow(axis, 1, n - 1)
                both = (a >= 0) & (b >= 0)
                both &= (torch.arange(len(a)) % period == first)[:, None, None]
                difference = self.values[b[both]] - self.values[a[both]]
                total = total + difference.square().sum()
                pairs += len(difference)
        return total / max(pairs, 1)


_kept: dict[str, Tensor] = {}


def scratch(count: int, like: Tensor) -> Tensor:
    """Zeros `[count, *like.shape]`, in the same memory as long as the shape is the same: allocating tens of megabytes
    costs more than the sums themselves."""
    shape = (count, *like.shape)
    if "zeros" not in _kept or _kept["zeros"].shape != shape:
        _kept["zeros"] = torch.empty(shape)
    return _kept["zeros"].zero_()


class _Features(torch.autograd.Function):
    """The Numba kernels behind autograd. First derivatives only."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, local: Tensor, box: Tensor, layout: Tensor, index: Tensor) -> Tensor:
        out = torch.empty(len(local), CHANNELS)
        arguments = [x.detach().contiguous() for x in (local, box, layout, index, values)]
        voxel_kernels.features(*(x.numpy() for x in (*arguments, out)), threads())
        ctx.save_for_backward(*arguments)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        arguments, chunks = ctx.saved_tensors, threads()
        grad_local, grad_values = torch.empty_like(arguments[0]), torch.zeros_like(arguments[-1])
        others = scratch(chunks - 1, grad_values)
        gradients = (g.contiguous(), grad_local, grad_values, others)
        voxel_kernels.features_backward(*(x.numpy() for x in (*arguments, *gradients)), chunks)
        for other in others:
            grad_values += other
        return grad_values, grad_local, None, None, None


class _Roughness(torch.autograd.Function):
    """The Numba kernel behind autograd: value and gradient in one pass."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor, layout: Tensor, first: int, period: int) -> Tensor:
        grad = torch.zeros_like(values)
        total, pairs = 0.0, 0
        for offset, n in layout.flatten(0, 1).tolist():
            own, count = voxel_kernels.roughness(
                values.detach().numpy(), index.numpy(), offset, n, first, period, grad.numpy()
            )
            total, pairs = total + own, pairs + count
        ctx.grad, ctx.pairs = grad, max(pairs, 1)
        return values.new_tensor(total / max(pairs, 1))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None, None]:
        return ctx.grad.mul_(float(g) / ctx.pairs), None, None, None, None


class _InwardClamp(torch.autograd.Function):
    """Clamps to 0..1; outside, only gradients that lead back into the range pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        out = ((x > 1) & (grad < 0)) | ((x < 0) & (grad > 0))
        return grad.masked_fill(out, 0.0)


def inward_clamp(x: Tensor) -> Tensor:
    """`x` clamped to 0..1; outside, only gradients that lead back into the range pass."""
    return _InwardClamp.apply(x)
