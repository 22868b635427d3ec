"""The surface that poses lie on: from poses to coordinates and back."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from foreseen.dynamics.config import ManifoldConfig
from foreseen.dynamics.manifold import Manifold
from foreseen.errors import UserError

CONFIG = ManifoldConfig()


def fitted(poses: Tensor, maximum: int = 12) -> Manifold:
    manifold = Manifold(poses.shape[-1], maximum, CONFIG)
    manifold.fit(poses)
    return manifold


def line(low: float, high: float, count: int = 60) -> Tensor:
    return torch.linspace(low, high, count, dtype=torch.float64)


def arc(angle: Tensor) -> Tensor:
    """A pendulum that does not rotate."""
    zero = torch.zeros_like(angle)
    return 0.5 * torch.stack([angle.sin(), zero, -angle.cos(), zero, zero, zero], dim=-1)


def hill(x: Tensor) -> Tensor:
    """A quartic with two valleys."""
    zero = torch.zeros_like(x)
    return torch.stack([x, zero, 0.5 * (x**2 - 0.5) ** 2, zero, zero, zero], dim=-1)


def grid(reach: float, count: int = 15) -> Tensor:
    """`[count^2, 2]`."""
    axis = line(-reach, reach, count)
    return torch.cartesian_prod(axis, axis)


def bowl(xy: Tensor) -> Tensor:
    """An elliptic paraboloid: x^2 / 2 + y^2."""
    zero = torch.zeros_like(xy[..., 0])
    x, y = xy.unbind(-1)
    return torch.stack([x, y, 0.5 * x**2 + y**2, zero, zero, zero], dim=-1)


CURVES = {"arc": (arc, line(-1.0, 1.2)), "hill": (hill, line(-0.9, 0.8))}


@pytest.mark.parametrize("name", CURVES)
def test_the_coordinate_of_a_curve_is_its_arc_length(name: str) -> None:
    curve, where = CURVES[name]
    manifold = fitted(curve(where))
    assert manifold.size == 1 and manifold.residual < 1e-3
    fine = curve(line(float(where[0]), float(where[-1]), 20001))
    lengths = fine.diff(dim=0).norm(dim=-1).cumsum(0)
    q = manifold.encode(fine)[1:, 0] - manifold.encode(fine[:1])[0, 0]
    shares = q / q[-1] - lengths / lengths[-1]
    assert shares.abs().max() < 2e-3
    q_observed = manifold.encode(curve(where))
    torch.testing.assert_close(q_observed.mean(0), torch.zeros(1).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(q_observed.std(0), torch.ones(1).double())
    torch.testing.assert_close(
        manifold.metric(q_observed), manifold.metric(q_observed[:1]).expand(len(q_observed), 1, 1)
    )


SURFACES: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {**CURVES, "bowl": (bowl, grid(0.6))}


@pytest.mark.parametrize("name", SURFACES)
def test_encode_inverts_decode_and_extrapolates_linearly(name: str) -> None:
    surface, where = SURFACES[name]
    poses = surface(where)
    manifold = fitted(poses)
    q = manifold.encode(poses)
    assert (manifold.decode(q) - poses).abs().max() < 2e-3
    torch.testing.assert_close(manifold.encode(manifold.decode(q)), q)
    outward = torch.tensor([1.0, 0.6], dtype=torch.float64)[: manifold.size]
    far = outward * line(6, 12, 4)[:, None]
    decoded = manifold.decode(far)
    torch.testing.assert_close(decoded.diff(n=2, dim=0), torch.zeros(2, 6).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(manifold.encode(decoded), far)
    assert (manifold.christoffel(far, torch.ones_like(far))[0] == 0).all(), "the extrapolated surface is flat"


def test_a_bowl_has_two_coordinates() -> None:
    manifold = fitted(bowl(grid(0.6)))
    assert manifold.size == 2 and manifold.residual < 1e-9


def test_noise_does_not_curve_a_plane() -> None:
    angle = line(0, 4.7)
    zero = torch.zeros_like(angle)
    circle = torch.stack([angle.cos(), angle.sin(), zero, zero, zero, zero], dim=-1)
    bumps = 0.004 * torch.sin(7 * angle)[:, None] * torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    manifold = fitted(circle + bumps)
    assert manifold.size == 2 and int(manifold.terms) == 3
    curvature, _ = manifold.christoffel(*torch.randn(2, 5, 2, dtype=torch.float64))
    assert (curvature == 0).all()


def test_several_bodies_have_more_coordinates() -> None:
    t = line(0, 1, 400)[:, None]
    phases = torch.arange(9, dtype=torch.float64)
    waves = torch.sin((20 + 7 * phases) * t + phases)
    poses = torch.zeros(400, 3, 6, dtype=torch.float64)
    poses[..., :3] = waves.unflatten(1, (3, 3))
    manifold = fitted(poses.flatten(1))
    assert 4 <= manifold.size <= 9 and manifold.residual <= CONFIG.max_error
    assert fitted(poses.flatten(1), maximum=3).size == 3, "no more than the maximum"


def test_noise_adds_no_coordinate() -> None:
    poses = arc(line(-1.0, 1.2, 200))
    noise = 0.005 * torch.randn(poses.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    manifold = fitted(poses + noise)
    assert manifold.size == 1
    off = (manifold.decode(manifold.encode(poses)) - poses).norm(dim=-1).max()
    assert off < 0.005 * 6**0.5, "errors are smaller than the noise of a pose"


def test_static_poses_have_no_coordinate() -> None:
    manifold = fitted(torch.full((20, 6), 0.3, dtype=torch.float64))
    q = manifold.encode(torch.full((4, 6), 0.3, dtype=torch.float64))
    assert manifold.size == 0 and q.shape == (4, 0)
    assert (manifold.decode(q) == 0.3).all() and manifold.jacobian(q).shape == (4, 0, 6)


def test_a_small_motion_is_not_scaled_up() -> None:
    """A second direction with a thousandth of the first one's motion gets no coordinate."""
    t = line(0, 1, 100)
    poses = torch.zeros(100, 6, dtype=torch.float64)
    poses[:, 0], poses[:, 1] = t, 1e-3 * (40 * t).sin()
    assert fitted(poses).size == 1


@pytest.mark.parametrize("name", SURFACES)
def test_jacobian_and_christoffel_term_against_finite_differences(name: str) -> None:
    surface, where = SURFACES[name]
    manifold = fitted(surface(where))
    # Between nodes of a curve's table, which is straight there.
    q = manifold.encode(surface(where))[5:-5:7]
    tiny = 1e-4
    steps = tiny * torch.eye(manifold.size, dtype=torch.float64)
    slopes = (manifold.decode(q[:, None] + steps) - manifold.decode(q[:, None] - steps)) / (2 * tiny)
    tolerance = 0.02 if manifold.size == 1 else 1e-7
    torch.testing.assert_close(manifold.jacobian(q), slopes, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(manifold.metric(q), slopes @ slopes.mT, atol=tolerance, rtol=tolerance)
    if manifold.size == 1:
        return
    v = torch.randn(q.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ahead, back = manifold.decode(q + 1e-3 * v), manifold.decode(q - 1e-3 * v)
    curved = (ahead - 2 * manifold.decode(q) + back) / 1e-6
    christoffel, inverse = manifold.christoffel(q, v)
    expected = torch.linalg.solve(slopes @ slopes.mT, slopes @ curved[..., None])[..., 0]
    torch.testing.assert_close(christoffel, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(inverse @ manifold.metric(q), torch.eye(2).double().expand(len(q), 2, 2))
    assert christoffel.abs().max() > 0.1


def test_beyond_the_fitted_range_the_metric_is_that_of_the_edge() -> None:
    """As in `christoffel` and `decode`: else energies would not agree with the dynamics."""
    manifold = fitted(bowl(grid(0.6)))
    far = torch.tensor([[9.0, 9.0]], dtype=torch.float64)
    _, inverse = manifold.christoffel(far, torch.zeros_like(far))
    torch.testing.assert_close(torch.linalg.inv(manifold.metric(far)), inverse)
    ahead = manifold.decode(far + torch.tensor([[0.5, 0.0]])) - manifold.decode(far)
    torch.testing.assert_close(manifold.jacobian(far)[:, 0], 2 * ahead)


@pytest.mark.parametrize("name", SURFACES)
def test_rates_of_poses_and_of_coordinates(name: str) -> None:
    surface, where = SURFACES[name]
    manifold = fitted(surface(where))
    q = manifold.encode(surface(where))[3:-3:10]
    v = torch.linspace(-1, 1, q.numel(), dtype=torch.float64).view_as(q)
    rates = (v[:, None] @ manifold.jacobian(q))[:, 0]
    torch.testing.assert_close(manifold.encode_velocities(q, rates), v)


def test_a_state_dict_holds_the_surface() -> None:
    for surface, where in SURFACES.values():
        manifold, other = fitted(surface(where)), Manifold(6, 12, CONFIG)
        other.load_state_dict(manifold.state_dict())
        q = manifold.encode(surface(where)) * 1.4
        assert other.size == manifold.size and torch.equal(other.decode(q), manifold.decode(q))


def test_a_new_fit_replaces_the_old_one() -> None:
    again, fresh = fitted(bowl(grid(0.6))), fitted(arc(line(-1, 1)))
    again.fit(arc(line(-1, 1)))
    assert again.size == 1
    q = line(-1, 1, 5)[:, None]
    assert torch.equal(again.decode(q), fresh.decode(q))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("used", 13, "manifold: used: 13 is not in 0 to 6"),
        ("terms", -2, "manifold: terms: -2 is not in 1 to "),
        ("terms", 4, "manifold: powers: these 4 are of no polynomial of 2 variables"),
        ("powers", 10**9, "manifold: powers: these"),
    ],
)
def test_a_loaded_surface_is_checked(name: str, value: int, message: str) -> None:
    """Derivatives are looked up by the number of monomials, so wrong powers must be refused."""
    saved = fitted(bowl(grid(0.6))).state_dict()
    saved[name] = torch.full_like(saved[name], value)
    with pytest.raises(UserError, match=message):
        Manifold(6, 12, CONFIG).load_state_dict(saved)
