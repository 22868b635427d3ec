"""Uniform cubic B-splines: the axioms of their basis."""

import pytest
import torch

from foreseen.nn.splines import UniformBSpline

TIMES = torch.linspace(0, 1, 41, dtype=torch.float64)


@pytest.mark.parametrize("controls", [4, 5, 12])
def test_the_basis_is_a_partition_of_unity_with_local_support(controls: int) -> None:
    basis = UniformBSpline(controls).basis(TIMES)
    assert basis.shape == (41, controls)
    torch.testing.assert_close(basis.sum(-1), torch.ones_like(TIMES))
    assert (basis >= 0).all() and ((basis > 0).sum(-1) <= 4).all()


@pytest.mark.parametrize("outside", [False, True])
def test_lines_squares_and_cubics_are_reproduced(outside: bool) -> None:
    """Blossoms: the controls of t, t^2 and t^3 on knots x_i are their polar forms at (x_i, x_i+1, x_i+2)."""
    spline = UniformBSpline(9)
    knots = (torch.arange(11, dtype=torch.float64) - 2) / 6
    a, b, c = knots[:-2], knots[1:-1], knots[2:]
    times = TIMES * 3 - 1 if outside else TIMES
    basis = spline.basis(times)
    for polar, power in (((a + b + c) / 3, 1), ((a * b + b * c + c * a) / 3, 2), (a * b * c, 3)):
        torch.testing.assert_close(basis @ polar, times**power)
        slope = power * times ** (power - 1)
        torch.testing.assert_close(spline.basis(times, 1) @ polar, slope)


@pytest.mark.parametrize("derivative", [1, 2])
def test_derivatives_agree_with_finite_differences(derivative: int) -> None:
    spline, h = UniformBSpline(11), 1e-6
    times = torch.linspace(-0.1, 1.1, 33, dtype=torch.float64)
    lower = derivative - 1
    expected = (spline.basis(times + h, lower) - spline.basis(times - h, lower)) / (2 * h)
    torch.testing.assert_close(spline.basis(times, derivative), expected, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("derivative", [0, 1, 2])
def test_the_curve_is_twice_continuously_differentiable_at_its_knots(derivative: int) -> None:
    spline = UniformBSpline(8)
    controls = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    knots = torch.arange(1, 5, dtype=torch.float64) / 5
    before, after = (spline.basis(knots + d, derivative) @ controls for d in (-1e-9, 1e-9))
    torch.testing.assert_close(before, after, atol=1e-5, rtol=0)


def test_the_end_pieces_go_on_outside() -> None:
    """The third derivative, constant on a piece, is the same on both sides of 0 and of 1."""
    spline = UniformBSpline(10)
    controls = torch.randn(10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for inside, outside in ((0.02, -0.5), (0.98, 1.5)):
        at = torch.tensor([inside, inside + 0.01, outside, outside + 0.01], dtype=torch.float64)
        second = spline.basis(at, 2) @ controls
        assert (second[1] - second[0]).item() == pytest.approx((second[3] - second[2]).item())


def test_float32_and_a_third_derivative() -> None:
    assert UniformBSpline(6).basis(TIMES.float()).dtype == torch.float32
    with pytest.raises(ValueError, match="derivative must be 0, 1 or 2, got 3"):
        UniformBSpline(6).basis(TIMES, 3)
