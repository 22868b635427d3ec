"""How Gaussians come and go while a cloud is optimised: two published strategies."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from foreseen.geometry.cameras import Camera
from foreseen.geometry.rotations import quaternion_matrix
from foreseen.render.splat import SplatResult
from foreseen.splatting.cloud import MIN_OPACITY, GaussianCloud, means_rate
from foreseen.splatting.config import CloudConfig

SPLIT_SHRINK = 1.6
"""The two halves of a split Gaussian are smaller by this factor (Kerbl et al. 2023, section 5.2)."""
MAX_COPIES = 51
"""Gaussians that may be moved onto one at a time (Kheradmand et al. 2024)."""
SHARPNESS, MAX_NOISY_OPACITY = 100.0, 0.005
"""Only Gaussians of less opacity than the second are shaken, to within about 1 / the first."""


class GradientStatistics(nn.Module):
    """What the pictures since the last change said of each Gaussian: sums in buffers, so that a run goes on exactly."""

    gradients: Tensor
    views: Tensor

    def __init__(self, budget: int) -> None:
        super().__init__()
        self.register_buffer("gradients", torch.zeros(budget))
        self.register_buffer("views", torch.zeros(budget))

    def watch(self, result: SplatResult, camera: Camera) -> None:
        """Notes, once the loss's gradient is there, how strongly each visible Gaussian is pulled across the screen."""
        if result.means2d is None:
            return
        visible, size = result.visible, result.means2d.new_tensor([camera.width / 2, camera.height / 2])

        def note(gradient: Tensor) -> None:
            n = len(visible)
            self.gradients[:n] += torch.where(visible, (gradient * size).norm(dim=-1), 0.0)
            self.views[:n] += visible

        result.means2d.register_hook(note)

    def pop_means(self, count: int) -> Tensor:
        """Mean length `[count]` of each Gaussian's gradient over the pictures that showed it; begins anew."""
        found = self.gradients[:count] / self.views[:count].clamp_min(1)
        self.gradients.zero_()
        self.views.zero_()
        return found


@dataclass(frozen=True)
class DensityControl:
    """Changes a cloud in place, between steps.

    Attributes:
        extent: the scene's size, half the longest side of its bounds.
    """

    cloud: GaussianCloud
    config: CloudConfig
    extent: float

    def step(self, gradient_statistics: GradientStatistics, step: int, progress: float) -> bool:
        """Changes the cloud where it is time to. Returns whether it was."""
        c = self.config
        if c.strategy == "mcmc" and step:
            self.add_noise(means_rate(c, progress, self.extent))
        began = step >= c.refine_from or progress >= c.refine_from_share
        if not step or progress > c.refine_until or not began:
            return False
        refines = step % c.refine_every == 0
        if c.strategy == "mcmc":
            if refines:
                self.relocate()
            return refines
        if refines:
            self.densify_and_prune(
                gradient_statistics.pop_means(len(self.cloud)), bool(c.reset_every) and step > c.reset_every
            )
        if c.reset_every and step % c.reset_every == 0:
            self.reset_opacities()
        return refines

    @torch.no_grad()
    def densify_and_prune(self, gradients: Tensor, prune_large: bool) -> None:
        """Clone, split and prune (Kerbl et al. 2023, section 5.2), by mean screen gradients `[count]`.

        Where the budget does not allow all, those of the largest gradient come first.
        """
        c, cloud = self.config, self.cloud
        sizes = cloud.log_scales[: len(cloud)].amax(1).exp()
        grown = (gradients >= c.grow_gradient).nonzero()[:, 0]
        grown = grown[gradients[grown].argsort(descending=True, stable=True)][: cloud.num_free]
        large = sizes[grown] > c.split_size * self.extent
        cloud.add(cloud.rows(grown[~large]))
        self._split(grown[large])
        kept = cloud.opacity_logits[: len(cloud)].sigmoid() >= c.prune_opacity
        if prune_large:
            kept &= cloud.log_scales[: len(cloud)].amax(1).exp() <= c.prune_size * self.extent
        if bool(kept.any()):
            cloud.keep(kept)

    def _split(self, index: Tensor) -> None:
        """Each of `index` becomes two, drawn from its own density."""
        first, second = (self.cloud.rows(index) for _ in range(2))
        for half in (first, second):
            half["means"] = half["means"] + sample_offsets(half["quaternions"], half["log_scales"].exp())
            half["log_scales"] = half["log_scales"] - torch.tensor(SPLIT_SHRINK).log()
        self.cloud.write(index, first)
        self.cloud.add(second)

    @torch.no_grad()
    def reset_opacities(self) -> None:
        """No opacity above twice the pruning threshold: what is needed comes back, what is not is pruned."""
        maximum = torch.tensor(2 * self.config.prune_opacity).logit()
        rows = torch.arange(len(self.cloud), device=self.cloud.count.device)
        self.cloud.write(rows, {"opacity_logits": self.cloud.opacity_logits[rows].clamp(max=float(maximum))})

    @torch.no_grad()
    def relocate(self) -> None:
        """Moves transparent Gaussians onto others, drawn by opacity, and adds more up to the budget, without changing
        the picture much (Kheradmand et al. 2024, sections 4.2 and 4.3)."""
        c, cloud = self.config, self.cloud
        opacities = cloud.opacity_logits[: len(cloud)].sigmoid()
        dead = (opacities <= c.prune_opacity).nonzero()[:, 0]
        if 0 < len(dead) < len(cloud):
            alive = (opacities > c.prune_opacity).nonzero()[:, 0]
            chosen = alive[torch.multinomial(opacities[alive], len(dead), replacement=True)]
            cloud.write(dead, self._share_rows(chosen))
        more = min(int(c.growth * len(cloud)) - len(cloud), cloud.num_free)
        if more > 0 and len(cloud):
            opacities = cloud.opacity_logits[: len(cloud)].sigmoid()
            chosen = torch.multinomial(opacities, more, replacement=True)
            cloud.add(self._share_rows(chosen))

    def _share_rows(self, chosen: Tensor) -> dict[str, Tensor]:
        """Rows that share the places `chosen` `[M]` with their owners, who are changed as well."""
        cloud = self.cloud
        places, copies = chosen.unique(return_counts=True)
        values = cloud.rows(places)
        opacities, scales = relocation_values(
            values["opacity_logits"].sigmoid(), values["log_scales"].exp(), copies + 1
        )
        values["opacity_logits"] = opacities.clamp(min=self.config.prune_opacity).logit(MIN_OPACITY)
        values["log_scales"] = scales.log()
        cloud.write(places, {name: values[name] for name in ("opacity_logits", "log_scales")})
        return cloud.rows(chosen)

    @torch.no_grad()
    def add_noise(self, rate: float) -> None:
        """Noise on the means along each Gaussian's own shape, for transparent ones (Kheradmand et al. 2024,
        equation 8)."""
        cloud, n = self.cloud, len(self.cloud)
        scales, rotations = cloud.log_scales[:n].exp(), cloud.quaternions[:n]
        share = torch.sigmoid(SHARPNESS * (MAX_NOISY_OPACITY - cloud.opacity_logits[:n].sigmoid()))
        noise = torch.randn(n, 3, device=scales.device) * (share * self.config.noise * rate)[:, None]
        rotation = quaternion_matrix(normalize(rotations, dim=-1))
        local = (rotation.mT @ noise[..., None]).squeeze(-1) * scales.square()
        cloud.means[:n] += (rotation @ local[..., None]).squeeze(-1)


def relocation_values(opacities: Tensor, scales: Tensor, copies: Tensor) -> tuple[Tensor, Tensor]:
    """Opacities `[M]` and scales `[M, 3]` with which N = `copies` `[M]` equal Gaussians look like one of `opacities`
    and `scales` (Kheradmand et al. 2024, equation 9)."""
    copies = copies.clamp(max=MAX_COPIES)
    new = 1 - (1 - opacities) ** (1 / copies)
    total = torch.zeros_like(opacities)
    for i in range(1, int(copies.max()) + 1):
        terms = [comb(i - 1, k) * (-1) ** k / (k + 1) ** 0.5 for k in range(i)]
        powers = torch.stack([new ** (k + 1) for k in range(i)], dim=-1).double()
        total += torch.where(i <= copies, powers @ powers.new_tensor(terms), 0.0).to(total)
    return new, scales * (opacities / total)[:, None]


def sample_offsets(quaternions: Tensor, scales: Tensor) -> Tensor:
    """A point `[N, 3]` of each Gaussian's density, from its centre."""
    local = torch.randn_like(scales) * scales
    return (quaternion_matrix(normalize(quaternions, dim=-1)) @ local[..., None]).squeeze(-1)
