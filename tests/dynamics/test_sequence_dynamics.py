"""The motion of one sequence against motions in closed form, and motions that no dynamics fit."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from foreseen.dynamics.sequence_dynamics import SequenceDynamics
from foreseen.methods.rigid_ode.config import RigidODEConfig

NODES = 33
WINDOW = torch.linspace(0, 1, NODES, dtype=torch.float64)
CONFIG = replace(RigidODEConfig().dynamics, widths=(12,), iterations=6, ensemble_size=2)
Poses = Callable[[Tensor], Tensor]


def pendulum(times: Tensor, drag: float = 0.0) -> Tensor:
    """Position and rotation vector of a pendulum, 1.35 periods in the window."""

    def ode(t: float, y: np.ndarray) -> list[float]:
        return [y[1], -81 * math.sin(y[0]) - drag * y[1]]

    angles = np.empty(len(times))
    for side in (1, -1):
        here = ((times >= 0) if side > 0 else (times < 0)).numpy()
        line, order = np.unique(times.numpy()[here] * side, return_inverse=True)
        if len(line):
            path = solve_ivp(
                lambda t, y, s=side: [s * x for x in ode(t, y)], (0, line[-1] + 1e-9), [1.0, 0.0],
                t_eval=line, rtol=1e-9, atol=1e-11,
            )  # fmt: skip
            angles[here] = path.y[0][order]
    angle = torch.from_numpy(angles)
    nothing = torch.zeros_like(angle)
    return torch.stack([3 * angle.sin(), 3 - 3 * angle.cos(), nothing, nothing, angle, nothing], -1)


def line(times: Tensor) -> Tensor:
    return torch.stack([3 * times, 1 - times, torch.zeros_like(times)], -1)


def slowing(times: Tensor) -> Tensor:
    """Comes to rest within the window."""
    return line((1 - (-6 * times).exp()) / 6)


def circle(times: Tensor) -> Tensor:
    return torch.stack([2 * (9 * times).cos(), 2 * (9 * times).sin(), torch.zeros_like(times)], -1)


def bouncing(times: Tensor) -> Tensor:
    """Two bodies bounce on the floor with loss: three impacts are observed, at uneven times."""
    columns = []
    for first, side in ((0.31, 1.0), (0.47, -1.0)):
        energy_reference, height, begin = first, torch.zeros_like(times), -first
        for _ in range(40):
            since = times - begin
            height = torch.where(
                (since >= 0) & (since <= 2 * energy_reference), since * (2 * energy_reference - since), height
            )
            begin, energy_reference = begin + 2 * energy_reference, 0.85 * energy_reference
        columns += [side * 0.7 * times, side * 0.2 * times, 8 * height]
    return torch.stack(columns, -1)


def noise(times: Tensor) -> Tensor:
    return torch.randn(len(times), 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def fitted(poses: Tensor) -> SequenceDynamics:
    motion = SequenceDynamics(CONFIG, poses.shape[1])
    assert not motion.fitted
    motion.fit(poses)
    assert motion.fitted
    return motion


@cache
def swing() -> SequenceDynamics:
    return fitted(pendulum(WINDOW))


def size(poses: Poses) -> float:
    """Root mean square of the motion over the window."""
    centred = poses(WINDOW) - poses(WINDOW).mean(0)
    return centred.square().sum(-1).mean().sqrt().item()


def max_error(motion: SequenceDynamics, poses: Poses, start: float, end: float) -> float:
    """Largest error of a forecast, as a share of the motion in the window."""
    times = torch.linspace(start, end, 61, dtype=torch.float64)
    return (motion.extrapolate(times) - poses(times)).norm(dim=-1).max().item() / size(poses)


def test_a_pendulum_is_forecast_for_four_windows() -> None:
    motion = swing()
    assert motion.dynamics.fitted and motion.dynamics.misfit < 0.01 and motion.dynamics.manifold.size == 1
    assert max_error(motion, pendulum, 1.001, 5.0) < 0.1


def test_a_pendulum_is_extrapolated_before_the_window() -> None:
    assert max_error(swing(), pendulum, -2.0, -0.001) < 0.1


def test_drag_is_learned() -> None:
    """A pendulum that loses half of its amplitude in the window keeps losing it."""
    motion = fitted(pendulum(WINDOW, drag=1.4))
    forecast_start = torch.linspace(4, 5, 41, dtype=torch.float64)
    assert motion.extrapolate(forecast_start)[:, 4].abs().max() < 0.35 < pendulum(WINDOW, drag=1.4)[:, 4].abs().max()
    assert max_error(motion, lambda times: pendulum(times, drag=1.4), 1.001, 3.0) < 0.1


def test_a_circle_continues() -> None:
    """1.4 revolutions are observed, and 2.9 more forecast."""
    motion = fitted(circle(WINDOW))
    assert motion.dynamics.manifold.size == 2 and max_error(motion, circle, 1.001, 3.0) < 0.05


@pytest.mark.parametrize("poses", [line, slowing])
def test_straight_motion_continues_or_comes_to_rest(poses: Poses) -> None:
    """By dynamics or at constant velocity; the error is a share of the distance."""
    motion = fitted(poses(WINDOW))
    times = torch.linspace(1, 5, 41, dtype=torch.float64)[1:]
    error = (motion.extrapolate(times) - poses(times)).norm(dim=-1)
    assert (error / (poses(times) - poses(times[:1] * 0)).norm(dim=-1)).max() < 0.05


def test_bouncing_bodies_move_at_constant_velocity() -> None:
    """No smooth dynamics fit; the forecast stays within a few sizes of the motion."""
    motion = fitted(bouncing(WINDOW))
    assert not motion.dynamics.fitted and not motion.dynamics.ode.force(torch.ones(1, 2).double()).any()
    times = torch.linspace(1, 4, 31, dtype=torch.float64)[1:]
    ahead = motion.extrapolate(times)
    step = torch.linspace(1.5, 3.5, 21, dtype=torch.float64)
    curvature = motion.extrapolate(step).diff(n=2, dim=0).norm(dim=-1)
    assert curvature.max() < 0.05 * size(bouncing), "constant velocity"
    assert ahead.isfinite().all() and (ahead - bouncing(WINDOW)[-1]).abs().max() < 3 * size(bouncing)


def test_noise_is_extrapolated_without_diverging() -> None:
    motion = fitted(noise(WINDOW))
    assert not motion.dynamics.fitted
    ahead = motion.extrapolate(torch.tensor([1.1, 3.0, -2.0], dtype=torch.float64))
    assert ahead.abs().max() < 10 * noise(WINDOW).abs().max()


def test_singular_equations_lead_to_constant_velocity(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise torch.linalg.LinAlgError("no solution")

    monkeypatch.setattr("foreseen.dynamics.learned.multiple_shooting", fail)
    assert not fitted(pendulum(WINDOW)).dynamics.fitted


def test_a_static_body_stays_static() -> None:
    poses = torch.full((NODES, 3), 2.0, dtype=torch.float64)
    motion = fitted(poses)
    times = torch.tensor([-3.0, 1.5, 30.0], dtype=torch.float64)
    torch.testing.assert_close(motion.extrapolate(times), poses[:3])
    if motion.dynamics.fitted:
        torch.testing.assert_close(motion.ensemble(times)[:, 1], poses[:3])


def test_the_order_of_times_does_not_matter_and_times_may_repeat() -> None:
    times = torch.tensor([3.0, -0.5, 1.2, 3.0, -0.1, 1.7], dtype=torch.float64)
    alone = torch.cat([swing().extrapolate(times[[i]]) for i in range(6)])
    mixed = swing().extrapolate(times)
    assert torch.equal(mixed[0], mixed[3])
    torch.testing.assert_close(mixed, alone, atol=1e-3, rtol=0)  # the solver's steps divide another span
    assert swing().extrapolate(times[:0]).shape == (0, 6)


def test_the_ensemble_starts_with_the_most_likely_member() -> None:
    times = torch.tensor([1.5, -0.5, 4.0], dtype=torch.float64)
    members = swing().ensemble(times)
    assert members.shape == (3, 3, 6)
    torch.testing.assert_close(members[:, 0], swing().extrapolate(times))
    assert (members[:, 1:] - members[:, :1]).abs().amax((1, 2)).min() > 1e-8


def test_a_state_dict_holds_everything_and_a_second_fit_starts_afresh() -> None:
    other = fitted(noise(WINDOW))
    other.load_state_dict(swing().state_dict())
    times = torch.tensor([1.5, -0.4], dtype=torch.float64)
    assert torch.equal(other.extrapolate(times), swing().extrapolate(times))
    other.fit(noise(WINDOW))
    torch.rand(3)  # the global generator must have no effect
    other.fit(pendulum(WINDOW))
    again = other.state_dict()
    assert [name for name, value in swing().state_dict().items() if not torch.equal(value, again[name])] == []


def test_dynamics_stay_on_the_cpu() -> None:
    """In float64, wherever the method is moved."""
    holder = torch.nn.Module()
    holder.motion = swinging = SequenceDynamics(CONFIG, 6)
    swinging.fit(pendulum(WINDOW))
    holder.to("meta", torch.float16)
    assert {x.device.type for x in holder.state_dict().values()} == {"cpu"}
    assert swinging.initial_states.dtype == torch.float64
    with torch.device("meta"):
        assert swinging.extrapolate(torch.tensor([1.2], device="cpu")).device.type == "cpu"
