"""Which cells of which boxes are worth sampling: cached densities, refreshed as the field learns.

Source: the occupancy grids of Instant-NGP (Müller et al. 2022). Ours has B boxes: one a rigid part (it rides with the
part, so it needs no time), or one a stretch of time for a field that changes; that is how it knows time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

BoxDensity = Callable[[Tensor, Tensor], Tensor]
"""(coords [M, 3] in [-1, 1], boxes [M] int64) -> density [M] per unit length of the rays' space."""


class OccupancyGrid(nn.Module):
    """B boxes of G^3 cells. A cell with a negative value is closed: known to be empty, and never looked at again.

    Args:
        threshold: a density up to this counts as empty.
    """

    density: Tensor

    def __init__(self, boxes: int, cells: int, threshold: float) -> None:
        super().__init__()
        self.grid_resolution, self.threshold = cells, threshold
        # Above the threshold: at first all is sampled.
        self.register_buffer("density", torch.full((boxes, cells, cells, cells), 1.01 * threshold))

    @torch.no_grad()
    def refresh(self, density: BoxDensity, share: float = 1.0, decay: float = 0.8) -> None:
        """Looks at a random `share` of the cells, at a random point in each, and keeps the larger of what it finds and
        `decay` times what was cached."""
        total = self.density.numel()
        # A cell that is drawn twice is looked at once: threads would race for which of its two points counts.
        at = self.density.device
        drawn = torch.arange(total) if share >= 1 else torch.randint(total, (max(1, int(share * total)),)).unique()
        index = drawn.to(at)
        g = self.grid_resolution
        cached = self.density.view(-1)
        for part in index.split(1 << 16):
            box, rest = part // g**3, part % g**3
            cell = torch.stack([rest // g**2, rest // g % g, rest % g], dim=-1)
            coords = (cell + torch.rand(len(part), 3).to(at)) / g * 2 - 1
            old = cached[part]
            cached[part] = torch.where(old < 0, old, torch.maximum(old * decay, density(coords, box)))

    @torch.no_grad()
    def close(self, cells: Tensor) -> None:
        """Marks `cells` `[B, G, G, G]` (bool) as empty for good."""
        self.density[cells] = -1.0

    @property
    def occupied(self) -> Tensor:
        """`[B]` share of each box's cells that would be sampled."""
        return (self.density > self.threshold).float().mean((1, 2, 3))
