"""Vectors inside compiled kernels: every operation against numpy."""

import numpy as np
import pytest
from numba import njit

from foreseen.nn.simd import WIDTH, fma, lanes, load, maximum, minimum, root, splat, store, total, where


@njit
def _all(a, b, c, out):
    x, y, z = load(a, 0), load(b, 0), load(c, 0)
    store(out, 0, x + y)
    store(out, 16, x - y)
    store(out, 32, x * y)
    store(out, 48, x / y)
    store(out, 64, -x)
    store(out, 80, fma(x, y, z))
    store(out, 96, minimum(x, y))
    store(out, 112, maximum(x, y))
    store(out, 128, where(x > y, x, z))
    store(out, 144, where(x >= y, x, z))
    store(out, 160, where(x <= y, x, z))
    store(out, 176, root(x * x))
    store(out, 192, lanes())
    store(out, 208, splat(2.5))


def test_every_operation() -> None:
    g = np.random.default_rng(0)
    a, b, c = (g.normal(size=WIDTH).astype(np.float32) for _ in range(3))
    b[3] = a[3]
    out = np.empty(14 * WIDTH, np.float32)
    _all(a, b, c, out)
    expected = [
        *(a + b, a - b, a * b, a / b, -a, a * b + c, np.minimum(a, b), np.maximum(a, b)),
        *(np.where(a > b, a, c), np.where(a >= b, a, c), np.where(a <= b, a, c)),
        *(abs(a), np.arange(WIDTH), np.full(WIDTH, 2.5)),
    ]
    np.testing.assert_allclose(out.reshape(14, WIDTH), np.stack(expected), rtol=1e-6, atol=1e-6)


@njit
def _dot(a, b, count):
    found = splat(0.0)
    for at in range(count):
        found = fma(load(a, at), load(b, at), found)
    return total(found)


def test_loads_begin_anywhere_and_sums_stay_in_registers() -> None:
    g = np.random.default_rng(1)
    a, b = (g.normal(size=50).astype(np.float32) for _ in range(2))
    expected = sum(float(a[i : i + WIDTH] @ b[i : i + WIDTH]) for i in range(30))
    assert _dot(a, b, 30) == pytest.approx(expected, rel=1e-5)


@njit
def _rows(a, out):
    for r in range(a.shape[0]):
        store(out[r], 0, load(a[r], 2) + splat(r))


def test_rows_of_a_matrix() -> None:
    a, out = np.arange(60, dtype=np.float32).reshape(3, 20), np.zeros((3, 16), np.float32)
    _rows(a, out)
    np.testing.assert_array_equal(out, a[:, 2:18] + np.arange(3)[:, None])
