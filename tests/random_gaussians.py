"""Gaussians for tests: at random, and as small as a test can check by hand."""

from __future__ import annotations

import torch

from foreseen.scenes.gaussians import Gaussians


def random_gaussians(
    count: int, degree: int = 3, seed: int = 0, extras: int = 0, antialiased: bool = False, reach: float = 3.0
) -> Gaussians:
    """Every number as a trained scene might have it; quaternions are of any length."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    return Gaussians(
        means=normal(count, 3) * reach / 3,
        quaternions=normal(count, 4) * torch.exp(normal(count, 1)),
        scales=torch.exp(normal(count, 3) * 1.5 - 4).clamp(5e-5, 300),
        opacities=torch.sigmoid(2 * normal(count)),
        harmonics=normal(count, (degree + 1) ** 2, 3) * 0.3,
        background=(0.25, 0.5, 1.0),
        extras=normal(count, extras) if extras else None,
        antialiased=antialiased,
    )


def unit(quaternions: torch.Tensor) -> torch.Tensor:
    """Normalised, of the two that mean the same that with the positive real part."""
    q = torch.nn.functional.normalize(quaternions.double(), dim=-1)
    return torch.where(q[..., :1] < 0, -q, q)


def angle(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest angle between the rotations of quaternions `[N, 4]` [rad]."""
    apart = torch.minimum((unit(a) - unit(b)).norm(dim=-1), (unit(a) + unit(b)).norm(dim=-1))
    return float(4 * torch.asin((apart / 2).clamp(max=1)).max())
