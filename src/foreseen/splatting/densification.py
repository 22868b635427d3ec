"""Densification and pruning of a cloud of Gaussians: two published strategies."""

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


class GradientStatistics(nn.Module):
    """Gradients of means2d, summed since the last densification. They are buffers, so that a resumed run is exact.

    Attributes:
        gradients: `[budget]` summed gradient norms, in units of half the picture.
        views: `[budget]` number of pictures in which each Gaussian was visible.
    """

    gradients: Tensor
    views: Tensor

    def __init__(self, budget: int) -> None:
        super().__init__()
        self.register_buffer("gradients", torch.zeros(budget))
        self.register_buffer("views", torch.zeros(budget))

    def record(self, result: SplatResult, camera: Camera) -> None:
        """Adds the gradient of each visible Gaussian's means2d, as soon as the backward pass has it."""
        if result.means2d is None:
            return
        visible, size = result.visible, result.means2d.new_tensor([camera.width / 2, camera.height / 2])

        def add_gradient(gradient: Tensor) -> None:
            n = len(visible)
            self.gradients[:n] += torch.where(visible, (gradient * size).norm(dim=-1), 0.0)
            self.views[:n] += visible

        result.means2d.register_hook(add_gradient)

    def pop_means(self, count: int) -> Tensor:
        """Mean gradient norm `[count]` of each Gaussian over the pictures that showed it. Resets the sums."""
        means = self.gradients[:count] / self.views[:count].clamp_min(1)
        self.gradients.zero_()
        self.views.zero_()
        return means


@dataclass(frozen=True)
class DensityControl:
    """Adds, removes and moves Gaussians of a cloud in place, between steps.

    Attributes:
        extent: half the longest side of the scene's bounds, in scene units.
    """

    cloud: GaussianCloud
    config: CloudConfig
    extent: float

    def step(self, gradient_statistics: GradientStatistics, step: int, progress: float) -> bool:
        """Changes the cloud if `step` is one at which this is due. Returns whether Gaussians were added or removed."""
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
        """Clone, split and prune (Kerbl et al. 2023, section 5.2), by mean gradients `[count]` of means2d.

        Where the budget does not allow all, Gaussians with the largest gradients come first.
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
        """Replaces each Gaussian of `index` by two, at random points of its own density."""
        first, second = (self.cloud.rows(index) for _ in range(2))
        for half in (first, second):
            half["means"] = half["means"] + sample_offsets(half["quaternions"], half["log_scales"].exp())
            half["log_scales"] = half["log_scales"] - torch.tensor(self.config.split_shrink).log()
        self.cloud.write(index, first)
        self.cloud.add(second)

    @torch.no_grad()
    def reset_opacities(self) -> None:
        """Clamps opacities to twice the pruning threshold. Useful Gaussians become opaque again, others are pruned."""
        maximum = torch.tensor(2 * self.config.prune_opacity).logit()
        rows = torch.arange(len(self.cloud), device=self.cloud.count.device)
        self.cloud.write(rows, {"opacity_logits": self.cloud.opacity_logits[rows].clamp(max=float(maximum))})

    @torch.no_grad()
    def relocate(self) -> None:
        """Moves transparent Gaussians onto others, drawn in proportion to opacity, and adds more up to the budget. The
        picture changes little (Kheradmand et al. 2024, sections 4.2 and 4.3)."""
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
        """Values of copies of the rows `chosen` `[M]`. The originals share opacity and scale with their copies."""
        cloud = self.cloud
        originals, copies = chosen.unique(return_counts=True)
        values = cloud.rows(originals)
        opacities, scales = relocation_values(
            values["opacity_logits"].sigmoid(), values["log_scales"].exp(), copies + 1, self.config.max_copies
        )
        values["opacity_logits"] = opacities.clamp(min=self.config.prune_opacity).logit(MIN_OPACITY)
        values["log_scales"] = scales.log()
        cloud.write(originals, {name: values[name] for name in ("opacity_logits", "log_scales")})
        return cloud.rows(chosen)

    @torch.no_grad()
    def add_noise(self, rate: float) -> None:
        """Adds noise to the means of transparent Gaussians, shaped by their own covariance (Kheradmand et al. 2024,
        equation 8)."""
        c, cloud, n = self.config, self.cloud, len(self.cloud)
        scales, rotations = cloud.log_scales[:n].exp(), cloud.quaternions[:n]
        share = torch.sigmoid(c.noise_sharpness * (c.noise_opacity - cloud.opacity_logits[:n].sigmoid()))
        noise = torch.randn(n, 3, device=scales.device) * (share * c.noise * rate)[:, None]
        rotation = quaternion_matrix(normalize(rotations, dim=-1))
        local = (rotation.mT @ noise[..., None]).squeeze(-1) * scales.square()
        cloud.means[:n] += (rotation @ local[..., None]).squeeze(-1)


def relocation_values(
    opacities: Tensor, scales: Tensor, copies: Tensor, max_copies: int = CloudConfig.max_copies
) -> tuple[Tensor, Tensor]:
    """Opacities `[M]` and scales `[M, 3]` with which N = `copies` `[M]` equal Gaussians look like one with `opacities`
    and `scales` (Kheradmand et al. 2024, equation 9)."""
    copies = copies.clamp(max=max_copies)
    new = 1 - (1 - opacities) ** (1 / copies)
    total = torch.zeros_like(opacities)
    for i in range(1, int(copies.max()) + 1):
        terms = [comb(i - 1, k) * (-1) ** k / (k + 1) ** 0.5 for k in range(i)]
        powers = torch.stack([new ** (k + 1) for k in range(i)], dim=-1).double()
        total += torch.where(i <= copies, powers @ powers.new_tensor(terms), 0.0).to(total)
    return new, scales * (opacities / total)[:, None]


def sample_offsets(quaternions: Tensor, scales: Tensor) -> Tensor:
    """A random point `[N, 3]` of each Gaussian's density, relative to its mean."""
    local = torch.randn_like(scales) * scales
    return (quaternion_matrix(normalize(quaternions, dim=-1)) @ local[..., None]).squeeze(-1)
