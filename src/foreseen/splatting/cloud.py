"""A cloud of Gaussians in memory of fixed size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from foreseen.nn.checked_module import CheckedModule, check_range
from foreseen.scenes.gaussians import Gaussians
from foreseen.splatting.config import CloudConfig

C0 = 0.28209479177387814
"""The constant spherical harmonic: colour = 0.5 + C0 * coefficient."""
MIN_OPACITY = 1e-7
"""Opacities are clamped this far from 0 and 1 before their logit is taken: float32 rounding."""


class GaussianCloud(CheckedModule):
    """At most `budget` Gaussians. Those that exist are the first `count` rows of every parameter.

    Shapes never change, so optimiser and checkpoints do not need to handle added and removed Gaussians. Rows that were
    written are remembered until `pop_written_rows`, so that the optimiser can clear its memory of them.

    Attributes:
        means: `[B, 3]`, in scene units.
        quaternions: `[B, 4]`, real part first, of any length above 0.
        log_scales: `[B, 3]`, natural logarithms of standard deviations in scene units.
        opacity_logits: `[B]`.
        color: `[B, 1, 3]` constant harmonic.
        harmonics: `[B, K - 1, 3]` the others.
        features: `[B, F]`, further learned values of each.
        part_ids: `[B]` int64, the part that a Gaussian belongs to; the method defines the ids.
        count: int64, number of Gaussians.
    """

    count: Tensor
    part_ids: Tensor

    def __init__(self, budget: int, degree: int, features: int = 0) -> None:
        super().__init__()
        self.budget, self.degree = budget, degree
        self.means = nn.Parameter(torch.zeros(budget, 3))
        self.quaternions = nn.Parameter(torch.tensor([1.0, 0, 0, 0]).repeat(budget, 1))
        self.log_scales = nn.Parameter(torch.zeros(budget, 3))
        self.opacity_logits = nn.Parameter(torch.zeros(budget))
        self.color = nn.Parameter(torch.zeros(budget, 1, 3))
        self.harmonics = nn.Parameter(torch.zeros(budget, (degree + 1) ** 2 - 1, 3))
        self.features = nn.Parameter(torch.zeros(budget, features))
        self.register_buffer("part_ids", torch.zeros(budget, dtype=torch.int64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self._written: list[tuple[nn.Parameter, Tensor]] = []

    def check(self) -> None:
        """The number of Gaussians is within the budget."""
        check_range("Gaussians: count", self.count, 0, self.budget)

    def __len__(self) -> int:
        return int(self.count)

    @property
    def num_free(self) -> int:
        """How many can still be added."""
        return self.budget - len(self)

    def to_gaussians(self, background: tuple[float, float, float], degree: int, antialiased: bool = False) -> Gaussians:
        """All Gaussians, with harmonics up to `degree`. A method that moves them replaces tensors of the result:
        `replace(cloud.to_gaussians(...), means=..., quaternions=...)`."""
        n, extra = len(self), (degree + 1) ** 2 - 1
        color = self.color[:n]
        return Gaussians(
            means=self.means[:n],
            quaternions=self.quaternions[:n],
            scales=self.log_scales[:n].exp(),
            opacities=self.opacity_logits[:n].sigmoid(),
            harmonics=torch.cat([color, self.harmonics[:n, :extra]], dim=1) if extra else color,
            background=background,
            antialiased=antialiased,
        )

    def pop_written_rows(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Parameters and rows `[R]` int64 that were written since the last call."""
        written, self._written = self._written, []
        return written

    @torch.no_grad()
    def write(self, rows: Tensor, values: Mapping[str, Tensor]) -> None:
        """Writes rows `[R]` int64 of the tensors named by `values`."""
        for name, new in values.items():
            tensor = getattr(self, name)
            tensor[rows] = new.to(tensor)
            if isinstance(tensor, nn.Parameter):
                self._written.append((tensor, rows))

    @torch.no_grad()
    def rows(self, index: Tensor) -> dict[str, Tensor]:
        """Copies of the rows `index` of every parameter, and of the part ids."""
        values = {name: parameter.detach()[index] for name, parameter in self.named_parameters()}
        return values | {"part_ids": self.part_ids[index]}

    @torch.no_grad()
    def add(self, values: Mapping[str, Tensor]) -> Tensor:
        """Adds Gaussians, as many as the budget allows, with values in the form of `rows`. Returns their rows."""
        n = len(self)
        rows = torch.arange(n, min(n + len(next(iter(values.values()))), self.budget), device=self.count.device)
        self.write(rows, {name: new[: len(rows)] for name, new in values.items()})
        self.count += len(rows)
        return rows

    @torch.no_grad()
    def keep(self, kept: Tensor) -> Tensor:
        """Removes Gaussians that are not `kept` `[count]` bool; the last ones move into their rows. Returns the old row
        of each remaining Gaussian."""
        n = int(kept.sum())
        order = torch.arange(len(self), device=kept.device)
        holes = (~kept[:n]).nonzero()[:, 0]
        movers = n + kept[n:].nonzero()[:, 0]
        self.write(holes, self.rows(movers))
        self.count.fill_(n)
        order[holes] = movers
        return order[:n]

    @torch.no_grad()
    def clear(self) -> None:
        """Removes all."""
        self.count.zero_()

    @torch.no_grad()
    def add_points(self, points: Tensor, colors: Tensor, scales: Tensor, opacity: float, part_id: int = 0) -> None:
        """Adds round Gaussians at `points` `[P, 3]` with `colors` `[P, 3]` in 0..1 and `scales` `[P]`."""
        rotations = torch.tensor([1.0, 0, 0, 0]).repeat(len(points), 1)
        self.add(
            {
                "means": points,
                "quaternions": rotations,
                "log_scales": scales.log()[:, None].expand(-1, 3),
                "opacity_logits": torch.full((len(points),), opacity).logit(MIN_OPACITY),
                "color": ((colors - 0.5) / C0)[:, None],
                "harmonics": torch.zeros(len(points), *self.harmonics.shape[1:]),
                "features": torch.zeros(len(points), self.features.shape[1]),
                "part_ids": torch.full((len(points),), part_id),
            }
        )

    def parameter_groups(self, config: CloudConfig, progress: float, extent: float) -> list[dict[str, Any]]:
        """One optimiser group for each parameter; `extent`: half the scene's longest side."""
        c, decay = config, config.rates_final**progress
        return [
            {"name": "means", "params": [self.means], "lr": means_rate(c, progress, extent)},
            {"name": "color", "params": [self.color], "lr": c.color_lr * decay},
            {"name": "harmonics", "params": [self.harmonics], "lr": c.harmonics_lr * decay},
            {"name": "opacities", "params": [self.opacity_logits], "lr": c.opacity_lr * decay},
            {"name": "scales", "params": [self.log_scales], "lr": c.scale_lr * decay},
            {"name": "quaternions", "params": [self.quaternions], "lr": c.rotation_lr * decay},
        ]


def means_rate(config: CloudConfig, progress: float, extent: float) -> float:
    """Learning rate of the means [scene units]."""
    return config.means_lr * (config.means_lr_final / config.means_lr) ** progress * extent
