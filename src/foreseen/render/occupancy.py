"""Which cells of which boxes are worth sampling: cached densities, refreshed as the field learns.

Source: the occupancy grids of Instant-NGP (Müller et al. 2022). Ours has B boxes: one for each rigid part (attached to
the part, so it needs no time), or one for each interval of time of a field that changes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

BoxDensity = Callable[[Tensor, Tensor], Tensor]
"""(coords [M, 3] in [-1, 1], boxes [M] int64) -> density [M] per unit length of the rays' space."""


class OccupancyGrid(nn.Module):
    """B boxes of G^3 cells. A cell with a negative value is closed: it is empty, and never evaluated again.

    Args:
        threshold: a density up to this counts as empty.
    """

    density: Tensor

    def __init__(self, boxes: int, cells: int, threshold: float) -> None:
        super().__init__()
        self.grid_resolution, self.threshold = cells, threshold
        # Above the threshold: at first every cell is sampled.
        self.register_buffer("density", torch.full((boxes, cells, cells, cells), 1.01 * threshold))

    @torch.no_grad()
    def refresh(self, density: BoxDensity, share: float = 1.0, decay: float = 0.8) -> None:
        """Evaluates `density` in a random `share` of the cells, at a random point in each. A cell then stores the
        larger of that value and `decay` times its old value."""
        total = self.density.numel()
        # A cell that is drawn twice is evaluated once: else threads would race for which of its two points counts.
        device = self.density.device
        drawn = torch.arange(total) if share >= 1 else torch.randint(total, (max(1, int(share * total)),)).unique()
        index = drawn.to(device)
        g = self.grid_resolution
        cached = self.density.view(-1)
        for part in index.split(1 << 16):
            box, rest = part // g**3, part % g**3
            cell = torch.stack([rest // g**2, rest // g % g, rest % g], dim=-1)
            coords = (cell + torch.rand(len(part), 3).to(device)) / g * 2 - 1
            old = cached[part]
            cached[part] = torch.where(old < 0, old, torch.maximum(old * decay, density(coords, box)))

    @torch.no_grad()
    def close(self, cells: Tensor) -> None:
        """Marks `cells` `[B, G, G, G]` (bool) as empty for ever."""
        self.density[cells] = -1.0

    @property
    def occupied(self) -> Tensor:
        """`[B]` share of each box's cells that would be sampled."""
        return (self.density > self.threshold).float().mean((1, 2, 3))
