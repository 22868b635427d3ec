"""Dynamics that sequences share, and how they are fitted: in closed form, and by shooting."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from foreseen.dynamics.config import LearnedDynamicsConfig, Structure
from foreseen.dynamics.initial_states import fit_initial_states, solve_segments
from foreseen.dynamics.integral_matching import fit_closed_form
from foreseen.dynamics.lagrangian import LagrangianODE
from foreseen.dynamics.manifold import Manifold
from foreseen.dynamics.sampled_paths import SampledPaths
from foreseen.dynamics.shooting import _groups, _Linearization, _Precisions, _sensitivities, multiple_shooting
from foreseen.ode import integrate

STRUCTURES: tuple[Structure, Structure] = ("potential", "free")
DEPTHS: tuple[tuple[int, ...], ...] = ((24,), (12, 16))
NOW = torch.zeros(())
CONFIG = LearnedDynamicsConfig()


def bowl_manifold() -> Manifold:
    """z = x^2 / 2 + y^2: the curvature differs along its axes."""
    axis = torch.linspace(-0.6, 0.6, 13, dtype=torch.float64)
    x, y = torch.cartesian_prod(axis, axis).unbind(-1)
    manifold = Manifold(3, 3, CONFIG.manifold)
    manifold.fit(torch.stack([x, y, 0.5 * x**2 + y**2], dim=-1))
    return manifold


def line_manifold() -> Manifold:
    """A straight line: q is the position in units of its standard deviation."""
    manifold = Manifold(3, 3, CONFIG.manifold)
    manifold.fit(torch.linspace(-1, 1, 41, dtype=torch.float64)[:, None] * torch.tensor([[2.0, 1.0, 0.0]]))
    return manifold


def sampled(
    size: int, structure: Structure, widths: tuple[int, ...], drag: float = 0.0
) -> tuple[LagrangianODE, Tensor]:
    """Random dynamics of one coordinate or two, and their weights."""
    generator = torch.Generator().manual_seed(3)
    manifold = line_manifold() if size == 1 else bowl_manifold()
    ode = LagrangianODE(manifold, widths, structure, CONFIG.ode)
    ode.requires_grad_(False)
    ode.velocity_scale.fill_(1.7)
    ode.draw_hidden_layers(torch.full((size,), -2.0).double(), torch.full((size,), 2.0).double(), generator)
    count = ode.penalties(size).numel()
    weights = 0.3 * torch.randn(count, generator=generator, dtype=torch.float64)
    weights[-size * size :] = drag * torch.eye(size).double().flatten()
    ode.set_weights(weights, size)
    return ode, weights


def random_states(size: int, count: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    q, v = torch.randn(2, count, size, generator=generator, dtype=torch.float64)
    return q.clamp(-1.5, 1.5), v


@pytest.mark.parametrize("widths", DEPTHS)
@pytest.mark.parametrize("size", [1, 2])
def test_the_force_is_the_potentials_slope(size: int, widths: tuple[int, ...]) -> None:
    ode, _ = sampled(size, "potential", widths)
    q = random_states(size)[0].requires_grad_()
    (slope,) = torch.autograd.grad(ode.potential(q).sum(), q)
    torch.testing.assert_close(ode.force(q), -slope)
    steps = 1e-5 * torch.eye(size).double()
    rise = (ode.potential(q[:, None] + steps) - ode.potential(q[:, None] - steps)) / 2e-5
    torch.testing.assert_close(slope, rise, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("widths", DEPTHS)
@pytest.mark.parametrize("size", [1, 2])
def test_accelerations_are_linear_in_the_weights(size: int, widths: tuple[int, ...], structure: Structure) -> None:
    ode, weights = sampled(size, structure, widths, drag=0.4)
    q, v = random_states(size)
    columns = ode.columns(q, v)
    assert columns.shape == (len(q), size, len(weights))
    christoffel, inverse = ode.manifold[0].christoffel(q, v)
    rates = ode(NOW, torch.cat([q, v], dim=-1))
    torch.testing.assert_close(rates[:, :size], v)
    torch.testing.assert_close(columns @ weights - christoffel, rates[:, size:])
    push = ode.force(q)[..., None]
    acceleration = (inverse @ push)[..., 0] if structure == "potential" else push[..., 0]
    torch.testing.assert_close(
        rates[:, size:], ode.velocity_scale**2 * acceleration - christoffel - 0.4 * ode.velocity_scale * v
    )


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_last_layer_in_one_row(structure: Structure) -> None:
    ode, weights = sampled(2, structure, (8,), drag=0.2)
    held = torch.cat([p.flatten() for p in ode.last_layer()])
    q, v = random_states(2)
    before = ode(NOW, torch.cat([q, v], dim=-1))
    ode.set_weights(torch.zeros_like(weights), 2)
    assert all((p == 0).all() for p in ode.last_layer())
    ode.set_last_layer(held)
    assert torch.equal(ode(NOW, torch.cat([q, v], dim=-1)), before)


@pytest.mark.parametrize("widths", DEPTHS)
@pytest.mark.parametrize("size", [1, 2])
def test_energy_is_conserved_without_drag_and_lost_with_it(size: int, widths: tuple[int, ...]) -> None:
    times = torch.linspace(0, 1.0, 21, dtype=torch.float64)
    q, v = random_states(size)
    state = torch.cat([0.5 * q, 0.3 * v], dim=-1)
    for drag in (0.0, 0.5):
        ode, weights = sampled(size, "potential", widths, drag)
        # A bound potential: solutions that escape soon have too much energy to compare.
        weights[ode.output.shape[1] + size : -size * size] = torch.eye(size).double()[
            torch.triu_indices(size, size).unbind()
        ]
        ode.set_weights(weights, size)
        path = integrate(ode, state, times, steps=400)
        energy = ode.energy(path[..., :size], path[..., size:])
        if drag == 0:
            torch.testing.assert_close(energy, energy[:1].expand_as(energy), atol=1e-6, rtol=1e-6)
        else:
            assert (energy.diff(dim=0) < 0).all()


def test_sharp_units_cost_more_and_drags_are_free() -> None:
    ode, _ = sampled(2, "potential", (24,))
    penalties = ode.penalties(2)
    sharp = ode.hidden[0].norm(dim=-1)
    assert penalties[:24].argmax() == sharp.argmax() and penalties[:24].max() > 10 * penalties[:24].min()
    assert (penalties[24:-4] == 1).all() and (penalties[-4:] == 0).all()


# The fit: paths of known dynamics on a line (as any curve is in its arc length) or in a bowl, with noise or without.


def pendulum(y: np.ndarray) -> np.ndarray:
    return np.array([y[1], -20 * np.sin(y[0]) - 0.6 * y[1]])


def double_well(y: np.ndarray) -> np.ndarray:
    return np.array([y[1], 30 * (y[0] - 1.3 * y[0] ** 3)])


def in_bowl(y: np.ndarray) -> np.ndarray:
    """On z = x^2 / 2 + y^2 with gravity 25 and drag 0.5, in x and y."""
    p, v, hessian = np.array([y[0], 2 * y[1]]), y[2:], np.diag([1.0, 2.0])
    return np.concatenate([v, -p * (25 + v @ hessian @ v) / (1 + p @ p) - 0.5 * v])


STARTS = {
    "pendulum": [[1.3, 0.0], [-0.7, 2.0], [0.2, -4.0]],
    "double well": [[1.2, 0.3], [-1.1, 0.0], [0.05, 0.1], [-1.4, 0.0]],
    "bowl": [[0.5, 0.1, 0.0, 1.5], [-0.2, 0.5, 1.5, 0.0], [0.4, -0.4, 1.0, 1.0], [-0.5, -0.2, -0.5, 2.0]],
}
TRUE_DYNAMICS = {"pendulum": pendulum, "double well": double_well, "bowl": in_bowl}
FRAMES, STEPS_PER_FRAME = 31, 3


@cache
def true_paths(name: str) -> tuple[Manifold, SampledPaths, Tensor]:
    """The surface, paths `q(t)` of the true dynamics on it, and the true q'' along them."""
    rhs, starts = TRUE_DYNAMICS[name], STARTS[name]
    times = np.linspace(0, 1, (FRAMES - 1) * STEPS_PER_FRAME + 1)
    solutions = [solve_ivp(lambda _, y: rhs(y), (0, 1), s, t_eval=times, rtol=1e-10, atol=1e-12).y.T for s in starts]
    y = torch.from_numpy(np.stack(solutions))
    half = y.shape[-1] // 2
    rates = torch.from_numpy(np.apply_along_axis(rhs, -1, y.numpy()))[..., half:]
    if half == 1:
        manifold = Manifold(1, 1, CONFIG.manifold)
        manifold.fit(torch.linspace(float(y[..., 0].amin()), float(y[..., 0].amax()), 50).double()[:, None])
        unit = float(manifold.jacobian(torch.zeros(1, 1).double()))
        q, v, a = manifold.encode(y[..., :1]), y[..., 1:] / unit, rates / unit
    else:
        manifold = bowl_manifold()

        def lifted(xy: Tensor, first: Tensor) -> Tensor:
            return torch.cat([first, (torch.tensor([1.0, 2.0]) * xy * first).sum(-1, keepdim=True)], dim=-1)

        xy, speed = y[..., :2], y[..., 2:]
        height = (torch.tensor([0.5, 1.0]) * xy**2).sum(-1, keepdim=True)
        q = manifold.encode(torch.cat([xy, height], dim=-1))
        v = manifold.encode_velocities(q, lifted(xy, speed))
        # q is linear in the poses.
        along = lifted(xy, rates) + torch.cat([0 * xy, (torch.tensor([1.0, 2.0]) * speed**2).sum(-1, keepdim=True)], -1)
        a = along @ manifold.project[:, :2]
    counts = torch.full((len(q),), len(times))
    seen = (torch.arange(len(times)) % STEPS_PER_FRAME == 0).expand(len(q), -1)
    return manifold, SampledPaths(q, v, q.clone(), seen, counts, 1 / (len(times) - 1)), a


def matched(
    name: str, structure: Structure = "potential", widths: tuple[int, ...] = (48,)
) -> tuple[LagrangianODE, Tensor, float]:
    manifold, paths, _ = true_paths(name)
    ode = LagrangianODE(manifold, widths, structure, CONFIG.ode)
    ode.requires_grad_(False)
    ode.velocity_scale.copy_(paths.v.square().mean().sqrt())
    weights, misfit = fit_closed_form(ode, paths, CONFIG, torch.Generator().manual_seed(0))
    return ode, weights, misfit


def relative_error(ode: LagrangianODE, paths: SampledPaths, accelerations: Tensor) -> float:
    """Error of the accelerations along the paths, as a share of them (root mean squares)."""
    size = paths.q.shape[-1]
    learned = ode(NOW, torch.cat([paths.q, paths.v], dim=-1))[..., size:]
    return float((learned - accelerations).square().mean().sqrt() / accelerations.square().mean().sqrt())


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("name", TRUE_DYNAMICS)
def test_clean_paths_determine_the_dynamics(name: str, structure: Structure) -> None:
    _, paths, accelerations = true_paths(name)
    ode, _, misfit = matched(name, structure)
    assert relative_error(ode, paths, accelerations) < 0.01 and misfit < 0.01
    drag = {"pendulum": 0.6, "double well": 0.0, "bowl": 0.5}[name]
    size = paths.q.shape[-1]
    learned = ode.velocity_scale * ode.drag[:size, :size]
    torch.testing.assert_close(learned, drag * torch.eye(size).double(), atol=0.05, rtol=0)


def test_two_hidden_layers_are_fitted_too() -> None:
    _, paths, accelerations = true_paths("pendulum")
    assert relative_error(matched("pendulum", widths=(32, 32))[0], paths, accelerations) < 0.02


def test_few_segments_are_enough_to_choose_a_penalty() -> None:
    """Two segments are one fold, with no other to be validated on."""
    manifold, paths, _ = true_paths("pendulum")
    ode = LagrangianODE(manifold, (24,), "potential", CONFIG.ode)
    config = replace(CONFIG, segment=0.9, max_segments=2)
    weights, misfit = fit_closed_form(ode, paths, config, torch.Generator().manual_seed(0))
    assert weights.isfinite().all() and misfit < 0.1


def test_segments_cover_the_paths() -> None:
    _, paths, _ = true_paths("double well")
    short = replace(paths, counts=torch.tensor([91, 91, 20, 31]))
    row, start, span = short.segments(0.3, 512, 0.5)
    assert span == 27 and set(row.tolist()) == {0, 1, 3}, "one path is too short"
    for s in (0, 1, 3):
        starts = start[row == s]
        late = int(short.counts[s]) - 1 - int(starts.max()) - span
        assert starts.min() == 0 and 0 <= late <= 8 and (starts.diff() <= span).all()
        assert short.observed_mask[s, starts].all(), "segments start at observed times"
    assert len(short.segments(0.3, 4, 0.5)[0]) == 4
    assert short.segments(7.0, 99, 0.5)[2] == 90, "as long as the longest path at most"


@pytest.mark.parametrize("name", ["pendulum", "bowl"])
def test_sensitivities_against_finite_differences(name: str) -> None:
    _, paths, _ = true_paths(name)
    ode, weights, _ = matched(name, widths=(6,))
    size, span = paths.q.shape[-1], 24
    times = torch.linspace(0, span * paths.spacing, span + 1, dtype=torch.float64)
    state = torch.cat([paths.q, paths.v], dim=-1)[:3, 0]
    kept = torch.arange(span + 1) % 3 == 1
    slopes = _sensitivities(ode, solve_segments(ode, state, times, span), paths.spacing, kept)
    assert slopes.shape == (3, int(kept.sum()), size, 2 * size + len(weights))
    for k in range(slopes.shape[-1]):
        ends = []
        for tiny in (1e-4, -1e-4):
            nudged = weights.clone()
            moved = state.clone()
            if k < 2 * size:
                moved[:, k] += tiny
            else:
                nudged[k - 2 * size] += tiny
            ode.set_weights(nudged, size)
            ends.append(solve_segments(ode, moved, times, span))
        expected = (ends[0] - ends[1])[:, kept, :size] / 2e-4
        worst = (slopes[..., k] - expected).abs().max() / expected.abs().max()
        assert worst < 0.02, k


def test_a_wrong_initial_state_is_corrected() -> None:
    _, paths, _ = true_paths("bowl")
    ode, _, _ = matched("bowl")
    q, v = paths.cut(torch.tensor([0, 1, 2]), torch.tensor([0, 10, 30]), 30)
    noisy = q + 0.02 * torch.randn(q.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state, misfit = fit_initial_states(ode, noisy, 1.3 * v, paths.spacing, 30, CONFIG.initial_states)
    assert (misfit < 0.03).all() and (misfit > 0.01).all()
    assert (state[:, :2] - q[:, 0]).abs().max() < 0.02
    assert (state[:, 2:] - v[:, 0]).abs().max() < 0.03 * float(ode.velocity_scale)
    exact, none = fit_initial_states(ode, q, 1.3 * v, paths.spacing, 30, CONFIG.initial_states)
    assert (none < 1e-3).all() and (exact[:, 2:] - v[:, 0]).abs().max() < 0.01 * float(ode.velocity_scale)


def test_diverging_solutions_have_finite_initial_states() -> None:
    _, paths, _ = true_paths("bowl")
    ode, weights, _ = matched("bowl")
    ode.set_weights(torch.where(ode.penalties(2) > 0, -1e9, weights), 2)
    q, v = paths.cut(torch.tensor([0]), torch.tensor([0]), 30)
    state, misfit = fit_initial_states(ode, q, v, paths.spacing, 30, CONFIG.initial_states)
    assert state.isfinite().all() and misfit.isfinite().all() and misfit < 2 * CONFIG.ode.max_coordinate


def noisy_paths(paths: SampledPaths, noise: float) -> SampledPaths:
    """Observed with noise; the smooth paths are still the true ones."""
    sampled = torch.randn(paths.raw.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return replace(paths, raw=paths.raw + noise * sampled)


@pytest.mark.parametrize("name", TRUE_DYNAMICS)
def test_shooting_corrects_wrong_dynamics(name: str) -> None:
    _, paths, accelerations = true_paths(name)
    ode, weights, _ = matched(name)
    seen = noisy_paths(paths, 0.01)
    start = 0.7 * weights
    ode.set_weights(start, paths.q.shape[-1])
    assert relative_error(ode, paths, accelerations) > 0.2
    ode.set_weights(weights, paths.q.shape[-1])  # the start is the argument, not these
    posterior, misfit = multiple_shooting(ode, seen, start, 0.3, CONFIG)
    assert 0.007 < misfit < 0.01, "states and weights explain some of the noise"
    ode.set_weights(posterior.weights, paths.q.shape[-1])
    assert relative_error(ode, paths, accelerations) < 0.08


def test_the_jackknife_agrees_with_new_fits() -> None:
    """Where the residuals are linear in the weights, the first order is exact."""
    generator = torch.Generator().manual_seed(7)
    rest = torch.randn(12, 9, 5, generator=generator, dtype=torch.float64)
    seen = torch.randn(12, 9, generator=generator, dtype=torch.float64)
    group, scales = torch.arange(12) % 6, _Precisions(torch.full((5,), 0.3).double(), torch.tensor(4.0).double())

    def fit(kept: Tensor) -> Tensor:
        a, b = rest[kept].flatten(0, 1), seen[kept].flatten()
        return torch.linalg.solve(scales.beta * a.T @ a + torch.diag(scales.alpha), scales.beta * a.T @ b)

    weights = fit(group >= 0)
    left = seen - rest @ weights
    gram = torch.einsum("bnc,bne->ce", rest, rest)
    nothing = torch.zeros(0)
    nearby = _Linearization(nothing, nothing, nothing, nothing, rest, left, gram, nothing)
    moves = torch.stack([fit(group != g) - weights for g in range(6)], dim=-1)
    root = nearby.jackknife_root(scales, group, 0.95)
    assert root.shape == (5, 6)
    # The jackknife's factor, and Student's tails for six groups: t of five degrees at 95 %.
    expected = -moves * (5 / 6) ** 0.5 * 2.01505 / 1.64485
    assert torch.allclose(root, expected, rtol=1e-4)
    assert nearby.jackknife_root(scales, torch.zeros(12, dtype=torch.int64), 0.95).shape == (5, 0)


def test_groups_are_sequences_or_parts_of_few() -> None:
    many = torch.arange(8).repeat_interleave(3)
    assert torch.equal(_groups(many, 6), many)
    two = _groups(torch.tensor([0] * 9 + [3] * 9), 6)
    assert torch.equal(two, torch.arange(6).repeat_interleave(3))
    assert torch.equal(_groups(torch.tensor([4, 4]), 6), torch.tensor([0, 1]))


def test_draws_from_the_posterior_follow_the_paths() -> None:
    _, paths, _ = true_paths("pendulum")
    ode, weights, _ = matched("pendulum")
    seen = noisy_paths(paths, 0.01)
    posterior, best = multiple_shooting(ode, seen, weights, 0.3, CONFIG)
    count = len(weights)
    assert posterior.weights.shape == (count,) and posterior.factor.shape[0] == count
    row, start, span = seen.segments(0.3, 64, CONFIG.segment_spacing)
    q, v = paths.cut(row, start, span)
    raw, valid = seen.observed(row, start, span)
    times = torch.linspace(0, span * paths.spacing, span + 1, dtype=torch.float64)
    generator = torch.Generator().manual_seed(6)
    draws = []
    for _ in range(6):
        draw = posterior.weights + posterior.factor @ torch.randn(
            posterior.factor.shape[1], generator=generator, dtype=torch.float64
        )
        ode.set_weights(draw, 1)
        state, _ = fit_initial_states(ode, q, v, paths.spacing, span, CONFIG.initial_states)
        path = solve_segments(ode, state, times, span)
        misfit = (path[..., :1] - raw)[valid].square().mean().sqrt()
        assert misfit < 1.5 * best
        draws.append(ode(NOW, torch.cat([paths.q, paths.v], dim=-1))[..., 1])
    spread = torch.stack(draws).std(0).mean()
    assert spread > 1e-4 * float(ode.velocity_scale) ** 2, "they are not all the same"
