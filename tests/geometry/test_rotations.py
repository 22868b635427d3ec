"""Rotation vectors: the axioms of rotations, and smoothness where the angle vanishes."""

import math

import pytest
import torch
from torch import Tensor

from foreseen.geometry.rotations import (
    quaternion_matrix,
    quaternion_of,
    quaternion_product,
    rotation_matrix,
    rotation_vector,
)


def vectors(scale: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(40, 3, dtype=dtype, generator=torch.Generator().manual_seed(0)) * scale


SCALES = [0.0, 1e-9, 1e-5, 1e-4, 1e-3, 0.3, 3.0, 30.0]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matrices_are_rotations(scale: float, dtype: torch.dtype) -> None:
    r = rotation_matrix(vectors(scale, dtype))
    tolerance = 2e-6 if dtype == torch.float32 else 1e-12
    assert r.shape == (40, 3, 3) and r.dtype == dtype
    torch.testing.assert_close(r @ r.mT, torch.eye(3, dtype=dtype).expand_as(r), atol=tolerance, rtol=0)
    torch.testing.assert_close(torch.linalg.det(r), torch.ones(40, dtype=dtype), atol=tolerance, rtol=0)


@pytest.mark.parametrize("scale", SCALES)
def test_it_is_the_exponential_map(scale: float) -> None:
    v = vectors(scale)
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    torch.testing.assert_close(rotation_matrix(v), torch.linalg.matrix_exp(cross), atol=1e-12, rtol=0)


def test_the_opposite_vector_is_the_inverse_and_the_axis_stays() -> None:
    v = vectors(1.5)
    r = rotation_matrix(v)
    torch.testing.assert_close(rotation_matrix(-v) @ r, torch.eye(3).double().expand_as(r))
    torch.testing.assert_close((r @ v[..., None])[..., 0], v)
    torch.testing.assert_close(rotation_matrix(0.25 * v) @ rotation_matrix(0.75 * v), r)


def test_a_quarter_turn_about_z_takes_x_to_y() -> None:
    r = rotation_matrix(torch.tensor([0.0, 0.0, math.pi / 2]))
    torch.testing.assert_close(r @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 0.4, 3.0])
def test_gradients_agree_with_finite_differences(scale: float) -> None:
    assert torch.autograd.gradcheck(rotation_matrix, vectors(scale)[:5].requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_at_zero_is_the_cross_product(dtype: torch.dtype) -> None:
    v = torch.zeros(3, dtype=dtype, requires_grad=True)
    (rotation_matrix(v) @ torch.tensor([1.0, 2.0, 3.0], dtype=dtype))[0].backward()
    assert v.grad.tolist() == [0.0, 3.0, -2.0]


@pytest.mark.parametrize("scale", SCALES)
def test_quaternions_of_vectors_are_the_same_rotations(scale: float) -> None:
    v = vectors(scale)
    torch.testing.assert_close(quaternion_matrix(quaternion_of(v)), rotation_matrix(v), atol=1e-12, rtol=0)


def test_products_of_quaternions_turn_one_after_the_other() -> None:
    a, b = quaternion_of(vectors(1.0)), quaternion_of(vectors(2.0).flip(0))
    both = quaternion_matrix(a) @ quaternion_matrix(b)
    torch.testing.assert_close(quaternion_matrix(quaternion_product(a, b)), both)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 0.4])
def test_gradients_of_quaternions(scale: float) -> None:
    assert torch.autograd.gradcheck(quaternion_of, vectors(scale)[:5].requires_grad_())


def test_vectors_of_quaternions_and_back() -> None:
    for scale in (0.0, 1e-7, 1e-3, 0.5):
        short = vectors(scale)
        torch.testing.assert_close(rotation_vector(quaternion_of(short)), short, atol=1e-12, rtol=1e-9)
    long = vectors(3.0)
    found = rotation_vector(quaternion_of(long))
    assert (found.norm(dim=-1) <= torch.pi + 1e-9).all()
    torch.testing.assert_close(rotation_matrix(found), rotation_matrix(long), atol=1e-9, rtol=0)
    for scale in (0.0, 1e-3, 0.5):
        some = quaternion_of(vectors(scale)[:5]).requires_grad_()
        assert torch.autograd.gradcheck(rotation_vector, some)
