"""Rays and solids against closed forms and dense samples."""

import numpy as np
import pytest

from foreseen.simulate.intersections import (
    MISS,
    box,
    box_normal,
    capsule,
    capsule_normal,
    field,
    field_height,
    field_normal,
    plane,
    sphere,
)

RNG = np.random.default_rng(0)
HALF = (0.5, 0.3, 0.2)


def rays(count: int) -> list[tuple[tuple, tuple]]:
    """Origins outside of everything, towards points near the middle."""
    found = []
    for _ in range(count):
        o = RNG.normal(size=3)
        o *= 3 / np.linalg.norm(o)
        d = RNG.uniform(-0.7, 0.7, 3) - o
        found.append((tuple(o), tuple(d / np.linalg.norm(d))))
    return found


def box_gap(p: np.ndarray) -> np.ndarray:
    """Signed distance to the box `HALF`."""
    q = np.abs(p) - HALF
    return np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(-1), 0)


def capsule_gap(p: np.ndarray) -> np.ndarray:
    axis = np.stack([0 * p[..., 0], 0 * p[..., 0], np.clip(p[..., 2], -0.4, 0.4)], -1)
    return np.linalg.norm(p - axis, axis=-1) - 0.2


def sphere_gap(p: np.ndarray) -> np.ndarray:
    return np.linalg.norm(p, axis=-1) - 0.5


@pytest.mark.parametrize(
    ("hit", "gap"),
    [
        (lambda o, d: sphere(o, d, 0.5), sphere_gap),
        (lambda o, d: box(o, d, HALF), box_gap),
        (lambda o, d: capsule(o, d, 0.2, 0.4), capsule_gap),
    ],
)
def test_a_hit_is_the_first_point_of_the_surface(hit, gap) -> None:
    hits = 0
    for o, d in rays(300):
        t = hit(o, d)
        walk = np.linspace(0, 6, 3001) if t == MISS else np.linspace(0, t - 1e-6, 1500)
        assert gap(np.array(o) + walk[:, None] * np.array(d)).min() > -1e-9
        if t < MISS:
            hits += 1
            assert gap(np.array(o) + t * np.array(d)) == pytest.approx(0, abs=1e-9)
    assert 50 < hits < 300


@pytest.mark.parametrize(
    ("normal", "gap", "points"),
    [
        (lambda p: box_normal(p, HALF), box_gap, [(0.5, 0.1, 0.1), (0.2, -0.3, 0.1), (0.1, 0.1, -0.2)]),
        (lambda p: capsule_normal(p, 0.4), capsule_gap, [(0.2, 0, 0.1), (0.1, 0.1, 0.4 + np.sqrt(0.02))]),
    ],
)
def test_a_normal_is_the_gradient_of_the_distance(normal, gap, points) -> None:
    for point in points:
        p, e = np.array(point), 1e-6 * np.eye(3)
        gradient = np.array([gap(p + 1e-4 * p + e[k]) - gap(p + 1e-4 * p - e[k]) for k in range(3)]) / 2e-6
        assert np.allclose(normal(point), gradient, atol=1e-3)


def test_a_plane() -> None:
    assert plane((0.0, 0.0, 2.0), (0.6, 0.0, -0.8)) == pytest.approx(2.5)
    assert plane((0.0, 0.0, -2.0), (0.0, 0.0, 1.0)) == pytest.approx(2.0)
    assert plane((0.0, 0.0, 2.0), (0.0, 0.0, 1.0)) == MISS
    assert plane((0.0, 0.0, 2.0), (1.0, 0.0, 0.0)) == MISS


def hills() -> np.ndarray:
    x, y = np.linspace(-1, 1, 13), np.linspace(-1, 1, 9)
    return 0.2 * np.sin(3 * x)[:, None] * np.cos(2 * y)[None] + 0.05 * RNG.uniform(-1, 1, (13, 9))


def test_a_height_field_against_dense_samples() -> None:
    """The first sample of a ray that lies in the block brackets the hit; a miss has none."""
    grid, half, base = hills(), (0.6, 0.5, 0.0), -0.4
    top, hits = grid.max() + 1e-3, 0
    for o, d in rays(200):
        t = field(o, d, grid, half, base, top)
        walk = np.linspace(0, 6, 12001)
        p = np.array(o) + walk[:, None] * np.array(d)
        inside = (np.abs(p[:, 0]) < half[0]) & (np.abs(p[:, 1]) < half[1]) & (p[:, 2] > base) & (p[:, 2] < top)
        under = np.flatnonzero(inside)
        under = under[[p[k, 2] < field_height(p[k, 0], p[k, 1], grid, half) for k in under]] if len(under) else under
        if len(under):
            hits += 1
            assert walk[under[0]] - 6.1e-4 <= t <= walk[under[0]] + 1e-9
        elif t < MISS:
            # Between two samples a corner may be grazed: the hit must lie on the block all the same.
            x, y, z = np.array(o) + t * np.array(d)
            assert z <= field_height(x, y, grid, half) + 1e-6
    assert 50 < hits < 200


def test_the_height_of_a_field_is_bilinear() -> None:
    x, y = np.meshgrid(np.linspace(-2, 2, 5), np.linspace(-1, 1, 4), indexing="ij")
    grid = 1 + 0.5 * x - 0.25 * y + 0.3 * x * y
    for px, py in RNG.uniform(-1, 1, (20, 2)):
        assert field_height(2 * px, py, grid, (2.0, 1.0, 0.0)) == pytest.approx(1 + px - 0.25 * py + 0.6 * px * py)


def test_the_normals_of_a_field() -> None:
    x, y = np.meshgrid(np.linspace(-1, 1, 201), np.linspace(-1, 1, 201), indexing="ij")
    grid, half = 0.3 * x**2 + 0.2 * y, (1.0, 1.0, 0.0)
    top = (0.5, 0.25, field_height(0.5, 0.25, grid, half))
    expected = np.array([-0.3, -0.2, 1]) / np.linalg.norm([-0.3, -0.2, 1])
    assert np.allclose(field_normal(top, grid, half, -1.0), expected, atol=1e-4)
    assert field_normal((1.0, 0.2, -0.5), grid, half, -1.0) == (1.0, 0.0, 0.0)
    assert field_normal((0.2, -1.0, -0.9), grid, half, -1.0) == (0.0, -1.0, 0.0)
    assert field_normal((0.2, 0.1, -1.0), grid, half, -1.0) == (0.0, 0.0, -1.0)
