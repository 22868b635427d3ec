"""Real spherical harmonics of a direction, in the order and with the signs that splat files use."""

from __future__ import annotations

import torch
from torch import Tensor


def harmonics_basis(directions: Tensor, count: int) -> Tensor:
    """The first `count` (1, 4, 9 or 16) basis functions `[..., count]` at unit vectors `[..., 3]`.

    Condon-Shortley phase, degree by degree, order -k to k, as the files of Kerbl et al. 2023 have them. Constants:
    Sloan 2008, "Stupid spherical harmonics (SH) tricks", appendix A2.
    """
    x, y, z = directions.unbind(-1)
    basis = [torch.full_like(x, 0.28209479177387814)]
    if count > 1:
        basis += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if count > 4:
        basis += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * z * z - x * x - y * y),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ]
    if count > 9:
        basis += [
            -0.5900435899266435 * y * (3 * x * x - y * y),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * z * z - x * x - y * y),
            0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y),
            -0.4570457994644658 * x * (4 * z * z - x * x - y * y),
            1.445305721320277 * z * (x * x - y * y),
            -0.5900435899266435 * x * (x * x - 3 * y * y),
        ]
    return torch.stack(basis, dim=-1)
