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
"""The constant harmonic: colour = 0.5 + C0 * coefficient."""
MIN_OPACITY = 1e-7
"""Logits are taken of opacities this far from 0 and 1."""


class GaussianCloud(CheckedModule):
    """At most `budget` Gaussians; those that are there stand in the rows 0 to `count` of every parameter.

    The shapes never change, so that optimiser and checkpoints know nothing of Gaussians that come and go. Whatever
    writes rows remembers them until `pop_written_rows`: the optimiser is to forget what it knew of them.

    Attributes:
        means: `[B, 3]`, in scene units.
        quaternions: `[B, 4]`, real part first, of any length above 0.
        log_scales: `[B, 3]`, natural logarithms of standard deviations in scene units.
        opacity_logits: `[B]`.
        color: `[B, 1, 3]` constant harmonic.
        harmonics: `[B, K - 1, 3]` the others.
        features: `[B, F]`, what else a method learns of each.
        owners: `[B]` int64, what a Gaussian belongs to, where a method tells Gaussians apart.
        count: int64, how many there are.
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
        """No more Gaussians than there is room for."""
        check_range("Gaussians: count", self.count, 0, self.budget)

    def __len__(self) -> int:
        return int(self.count)

    @property
    def num_free(self) -> int:
        """How many more there may be."""
        return self.budget - len(self)

    def to_gaussians(self, background: tuple[float, float, float], degree: int, antialiased: bool = False) -> Gaussians:
        """All Gaussians as they are, with harmonics up to `degree`; a method that moves them replaces what it moves:
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
        """Parameters and rows `[R]` int64 that were written since this was asked last."""
        found, self._written = self._written, []
        return found

    @torch.no_grad()
    def write(self, rows: Tensor, values: Mapping[str, Tensor]) -> None:
        """Writes rows `[R]` int64 of the tensors that `values` names."""
        for name, new in values.items():
            tensor = getattr(self, name)
            tensor[rows] = new.to(tensor)
            if isinstance(tensor, nn.Parameter):
                self._written.append((tensor, rows))

    @torch.no_grad()
    def rows(self, index: Tensor) -> dict[str, Tensor]:
        """Copies of the rows `index` of every parameter, and of the owners."""
        own = {name: parameter.detach()[index] for name, parameter in self.named_parameters()}
        return own | {"part_ids": self.part_ids[index]}

    @torch.no_grad()
    def add(self, values: Mapping[str, Tensor]) -> Tensor:
        """New Gaussians, as many as there is room for, with the values that `rows` would give; returns their rows."""
        n = len(self)
        rows = torch.arange(n, min(n + len(next(iter(values.values()))), self.budget), device=self.count.device)
        self.write(rows, {name: new[: len(rows)] for name, new in values.items()})
        self.count += len(rows)
        return rows

    @torch.no_grad()
    def keep(self, kept: Tensor) -> Tensor:
        """Removes those that are not `kept` `[count]` bool: the last ones take their places. Returns the rows `[count]`
        of the old order that stand there now."""
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
        """New round Gaussians at `points` `[P, 3]` of `colors` `[P, 3]` in 0..1 and `scales` `[P]`."""
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
        """An optimiser group for each kind of parameter; `extent`: the scene's size."""
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
