"""Rotations as vectors (axis times angle) and as unit quaternions."""

import torch
from torch import Tensor


def rotation_matrix(vector: Tensor) -> Tensor:
    """Rotation matrices `[..., 3, 3]` of rotation vectors `[..., 3]` [rad] (Rodrigues' formula); smooth at zero."""
    square = vector.square().sum(-1)
    small = square < 1e-8
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    a = torch.where(small, 1 - square / 6, angle.sin() / angle)[..., None, None]
    b = torch.where(small, 0.5 - square / 24, (1 - angle.cos()) / angle.square())[..., None, None]
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    return torch.eye(3, dtype=vector.dtype, device=vector.device) + a * cross + b * (cross @ cross)


def quaternion_matrix(quaternions: Tensor) -> Tensor:
    """Rotation matrices `[..., 3, 3]` of unit quaternions `[..., 4]`, real part first."""
    w, x, y, z = quaternions.unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def quaternion_of(vector: Tensor) -> Tensor:
    """Unit quaternions `[..., 4]`, real part first, of rotation vectors `[..., 3]` [rad]; smooth at zero."""
    square = vector.square().sum(-1, keepdim=True)
    small = square < 1e-8
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    real = torch.where(small, 1 - square / 8, (angle / 2).cos())
    return torch.cat([real, torch.where(small, 0.5 - square / 48, (angle / 2).sin() / angle) * vector], dim=-1)


def rotation_vector(quaternions: Tensor) -> Tensor:
    """Rotation vectors `[..., 3]` [rad], no longer than pi, of unit quaternions `[..., 4]`, real part first; smooth at
    zero rotation."""
    upper = torch.where(quaternions[..., :1] < 0, -quaternions, quaternions)
    real, vector = upper[..., :1], upper[..., 1:]
    square = vector.square().sum(-1, keepdim=True)
    small = square < 1e-8
    half_sine = torch.where(small, torch.ones_like(square), square).sqrt()
    return torch.where(small, 2 - square / 3, 2 * torch.atan2(half_sine, real) / half_sine) * vector


def quaternion_product(first: Tensor, second: Tensor) -> Tensor:
    """`[..., 4]`, real part first: the rotation `second`, followed by the rotation `first`."""
    a, u = first[..., :1], first[..., 1:]
    b, v = second[..., :1], second[..., 1:]
    real = a * b - (u * v).sum(-1, keepdim=True)
    return torch.cat([real, a * v + b * u + torch.linalg.cross(u, v)], dim=-1)
