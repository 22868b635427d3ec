"""Dynamics of several sequences: solved from any state, to any time."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from foreseen.dynamics.learned import LearnedDynamics, check_counts
from foreseen.errors import UserError
from foreseen.methods.rigid_ode.config import SharedDynamicsConfig
from foreseen.simulate.bifurcating_hill import SCENARIO as HILL
from foreseen.simulate.oscillating_ball import SCENARIO as BALL
from foreseen.simulate.pendulum import SCENARIO as PENDULUM

SCENARIOS = {"pendulum": PENDULUM, "hill": HILL, "ball": BALL}
FRAMES, WINDOW = 40, 1.95
WIDTHS = {"pendulum": (24,), "hill": (64,), "ball": (24,)}
CONFIG = SharedDynamicsConfig(widths=(24,), ensemble_size=2, max_segments=128, max_shooting_segments=24)
TRAINING = {
    "pendulum": [(0.7, 0.3), (-0.6, -0.2), (0.65, 0.0)],
    "hill": [(0.66, 0.1), (-0.7, 0.0), (0.8, -0.2), (-0.79, 0.1), (0.1, 0.0), (-0.05, 0.2)],
    "ball": [(0.4, 0.1, 0.0, 0.5), (-0.3, 0.3, 0.4, 0.0), (0.1, -0.45, 0.6, 0.2), (-0.45, 0.0, 0.1, -0.7),
             (0.3, 0.3, -0.3, 0.4), (0.0, 0.4, 0.7, 0.1)],
}  # fmt: skip
UNSEEN = {"pendulum": (-0.68, 0.25), "hill": (-0.64, 0.2), "ball": (0.2, 0.35, -0.5, 0.2)}
MAX_ERROR = {"pendulum": 0.001, "hill": 0.01, "ball": 0.002}
"""Largest error of a forecast over the window [m]."""


def moves(name: str, initial: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Poses and their rates per window, `[T, 6]`, of one body that does not rotate."""
    scenario = SCENARIOS[name]
    numbers = dict(zip(scenario.initial, initial))
    motion = scenario.systems[0].solve(scenario.constants, numbers, np.linspace(0, WINDOW, FRAMES))
    places, rates = (torch.from_numpy(x[:, 0]) for x in (motion.positions, motion.velocities))
    nothing = torch.zeros_like(places)
    return torch.cat([places, nothing], -1), torch.cat([rates, nothing], -1) * WINDOW


def poses_of(name: str) -> Tensor:
    return torch.stack([moves(name, initial)[0] for initial in TRAINING[name]])


TIMES = torch.linspace(0, 1, FRAMES, dtype=torch.float64)


@cache
def learned(name: str) -> LearnedDynamics:
    dynamics = LearnedDynamics(replace(CONFIG, widths=WIDTHS[name]), 6)
    poses = poses_of(name)
    counts = torch.full((len(poses),), FRAMES)
    dynamics.fit(poses, TIMES.expand(len(poses), -1), counts, exact=True)
    return dynamics


def initial_state(dynamics: LearnedDynamics, poses: Tensor, rates: Tensor) -> Tensor:
    q = dynamics.manifold.encode(poses)
    return torch.cat([q, dynamics.manifold.encode_velocities(q, rates)], dim=-1)


def decoded(dynamics: LearnedDynamics, path: Tensor) -> Tensor:
    return dynamics.manifold.decode(path[..., : dynamics.manifold.size])


@pytest.mark.parametrize("name", SCENARIOS)
def test_unseen_initial_states_are_forecast(name: str) -> None:
    dynamics = learned(name)
    poses, rates = moves(name, UNSEEN[name])
    path = dynamics.solve(initial_state(dynamics, poses[0], rates[0]), 0.0, TIMES)
    assert (decoded(dynamics, path) - poses).norm(dim=-1).max() < MAX_ERROR[name]
    assert dynamics.fitted and dynamics.misfit < 5e-3
    assert dynamics.manifold.size == {"pendulum": 1, "hill": 1, "ball": 2}[name]


def test_noisy_poses_determine_the_dynamics_too() -> None:
    poses = poses_of("pendulum")
    noise = 0.003 * torch.randn(poses.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    dynamics = LearnedDynamics(CONFIG, 6)
    dynamics.fit(poses + noise, TIMES.expand(3, -1), torch.full((3,), FRAMES), exact=False)
    true, rates = moves("pendulum", UNSEEN["pendulum"])
    state = initial_state(dynamics, true[0], rates[0])
    ahead = []
    for member in (0, 1, 2):
        dynamics.use_member(member)
        ahead.append(decoded(dynamics, dynamics.solve(state, 0.0, TIMES)))
        assert (ahead[-1] - true).norm(dim=-1).max() < (0.2 if member else 0.05), "members vary with the noise"
    assert (ahead[1] - ahead[2]).abs().max() > 1e-5, "members differ"
    dynamics.use_member(0)
    assert torch.equal(decoded(dynamics, dynamics.solve(state, 0.0, TIMES)), ahead[0])


@pytest.mark.parametrize("members", [0, 1])
def test_the_ensemble_may_be_empty(members: int) -> None:
    dynamics = LearnedDynamics(replace(CONFIG, ensemble_size=members, shooting_lengths=(0.2,)), 6)
    dynamics.fit(poses_of("pendulum"), TIMES.expand(3, -1), torch.full((3,), FRAMES), exact=True)
    assert dynamics.ensemble_weights.shape[0] == 1 + members and dynamics.ensemble_weights.isfinite().all()
    assert torch.equal(torch.cat([p.flatten() for p in dynamics.ode.last_layer()]), dynamics.ensemble_weights[0])


def test_the_ensemble_solves_each_member() -> None:
    dynamics = learned("ball")
    poses, rates = moves("ball", UNSEEN["ball"])
    state = initial_state(dynamics, poses[0], rates[0])
    states = state + 0.01 * torch.arange(3, dtype=torch.float64)[:, None]
    together = dynamics.solve_ensemble(states, 0.0, TIMES)
    member_rates = dynamics.sampled_rates()
    assert together.shape == (FRAMES, 3, 4) and len(member_rates) == 2
    for member in range(3):
        dynamics.use_member(member)
        assert torch.allclose(together[:, member], dynamics.solve(states[member], 0.0, TIMES), atol=1e-9)
        if member:
            rate = dynamics.ode(TIMES[0], state)
            assert torch.allclose(member_rates[member - 1](TIMES[0], state), rate, atol=1e-9)
    dynamics.use_member(0)


def test_solves_forwards_and_backwards_in_any_order() -> None:
    dynamics = learned("ball")
    poses, rates = moves("ball", TRAINING["ball"][0])
    middle = FRAMES // 2
    state = initial_state(dynamics, poses[middle], rates[middle])
    start = float(TIMES[middle])
    order = torch.randperm(FRAMES, generator=torch.Generator().manual_seed(0))
    mixed = torch.cat([order, order[:5]])
    path = decoded(dynamics, dynamics.solve(state, start, TIMES[mixed]))
    assert (path - poses[mixed]).norm(dim=-1).max() < 0.002
    assert torch.equal(path[-5:], path[:5])
    alone = dynamics.solve(state, start, torch.tensor([start], dtype=torch.float64))
    assert torch.equal(alone[0], state)
    batch = dynamics.solve(torch.stack([state, state]), start, TIMES[mixed])
    assert batch.shape == (FRAMES + 5, 2, 4)
    torch.testing.assert_close(decoded(dynamics, batch[:, 1]), path)


def test_solving_back_reaches_the_start() -> None:
    dynamics = learned("pendulum")
    state = initial_state(dynamics, *(x[0] for x in moves("pendulum", UNSEEN["pendulum"])))
    away = dynamics.solve(state, 0.2, torch.tensor([0.9], dtype=torch.float64))[0]
    back = dynamics.solve(away, 0.9, torch.tensor([0.2], dtype=torch.float64))[0]
    torch.testing.assert_close(back, state, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["pendulum", "ball"])
def test_a_diverged_solution_stops(name: str) -> None:
    """Where it stops does not depend on the requested times."""
    dynamics = LearnedDynamics(learned(name).config, 6)
    dynamics.load_state_dict(learned(name).state_dict())
    size = dynamics.manifold.size
    dynamics.ode.drag[:size, :size] = -30 * torch.eye(size)
    state = initial_state(dynamics, *(x[0] for x in moves(name, TRAINING[name][0])))
    times = torch.tensor([0.0, 0.5, 0.7, 1.1], dtype=torch.float64)
    path = dynamics.solve(state, 0.0, times)
    assert path.isfinite().all() and decoded(dynamics, path).isfinite().all()
    assert (path[1:, :size].abs().amax(-1) > CONFIG.ode.max_coordinate).all()
    torch.testing.assert_close(path[2:], path[1].expand(2, -1))
    alone = dynamics.solve(state, 0.0, times[3:])
    assert alone.isfinite().all() and (alone[0, :size].abs().amax() > CONFIG.ode.max_coordinate)


def test_a_state_dict_holds_everything() -> None:
    dynamics, other = learned("hill"), LearnedDynamics(learned("hill").config, 6)
    other.load_state_dict(dynamics.state_dict())
    state = initial_state(dynamics, *(x[0] for x in moves("hill", UNSEEN["hill"])))
    for member in (1, 0):
        dynamics.use_member(member)
        other.use_member(member)
        assert torch.equal(other.solve(state, 0.0, TIMES), dynamics.solve(state, 0.0, TIMES))


def test_a_fit_is_the_same_every_time() -> None:
    first, second = learned("pendulum"), LearnedDynamics(CONFIG, 6)
    torch.rand(3)  # the global generator must have no effect
    second.fit(poses_of("pendulum"), TIMES.expand(3, -1), torch.full((3,), FRAMES), exact=True)
    first.use_member(0)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values()))


def test_forecast_states_lie_on_the_path() -> None:
    dynamics = learned("ball")
    poses, rates = moves("ball", TRAINING["ball"][1])
    (first, begin), (late, end) = dynamics.forecast_states(poses, TIMES, exact=True)
    assert first == 0 and 0.5 < late < 0.8
    torch.testing.assert_close(begin, initial_state(dynamics, poses[0], rates[0]), atol=0.01, rtol=0.01)
    path = decoded(dynamics, dynamics.solve(end, late, TIMES[-8:]))
    assert (path - poses[-8:]).norm(dim=-1).max() < 0.001


def test_sequences_of_many_lengths_and_uneven_times() -> None:
    """One lacks some frames, one is short: all have the same dynamics."""
    poses = poses_of("pendulum")
    kept = torch.tensor([i for i in range(FRAMES) if i % 5 != 3])
    rows = [(poses[0], TIMES), (poses[1][kept], TIMES[kept]), (poses[2][:12], TIMES[:12])]
    counts = torch.tensor([len(times) for _, times in rows])
    filled, times = torch.zeros(3, FRAMES, 6).double(), torch.zeros(3, FRAMES).double()
    for s, (observed, when) in enumerate(rows):
        filled[s, : len(observed)], times[s, : len(observed)] = observed, when
    dynamics = LearnedDynamics(CONFIG, 6)
    dynamics.fit(filled, times, counts, exact=True)
    paths = dynamics.paths(filled, times, counts, exact=True)
    assert paths.counts.tolist() == [157, 157, 45]
    assert paths.observed_mask.sum(1).tolist() == counts.tolist()
    true, rates = moves("pendulum", UNSEEN["pendulum"])
    path = dynamics.solve(initial_state(dynamics, true[0], rates[0]), 0.0, TIMES)
    assert (decoded(dynamics, path) - true).norm(dim=-1).max() < 0.002


def test_a_body_that_is_static_in_one_sequence() -> None:
    """No spline fails on a static body, exact or not."""
    poses = poses_of("pendulum")[:2].clone()
    poses[1] = torch.tensor([0.0, 0.0, 0.4, 0.0, 0.0, 0.0])
    for exact in (True, False):
        dynamics = LearnedDynamics(replace(CONFIG, shooting_lengths=(0.2,)), 6)
        dynamics.fit(poses, TIMES.expand(2, -1), torch.full((2,), FRAMES), exact)
        assert dynamics.fitted and dynamics.ensemble_weights.isfinite().all()


def test_a_static_scene_stays_static() -> None:
    static = torch.full((2, 8, 6), 0.4, dtype=torch.float64)
    times = TIMES[:8].expand(2, -1)
    dynamics = LearnedDynamics(CONFIG, 6)
    dynamics.fit(static, times, torch.tensor([8, 8]), exact=True)
    assert dynamics.fitted and dynamics.manifold.size == 0
    (_, begin), (late, end) = dynamics.forecast_states(static[0], times[0], exact=True)
    assert begin.shape == end.shape == (0,)
    ahead = decoded(dynamics, dynamics.solve(end, late, torch.tensor([5.0, 1.0]).double()))
    assert ahead.shape == (2, 6) and (ahead == 0.4).all()


def test_too_few_times_are_refused() -> None:
    with pytest.raises(UserError, match="of 6 training times or more, and one has 5: give more frames, or a larger"):
        check_counts(torch.tensor([9, 5]), CONFIG.min_times)
