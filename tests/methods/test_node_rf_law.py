"""The law of motion against motions in closed form, and where there is none."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from foreseen.methods.node_rf.law import FARTHEST, Coordinates, Law, Motion

NODES = 33
WINDOW = torch.linspace(0, 1, NODES, dtype=torch.float64)
Poses = Callable[[Tensor], Tensor]


def pendulum(times: Tensor, drag: float = 0.0, start: float = 1.0) -> Tensor:
    """Position and rotation vector of a swinging body, 1.35 swings in the window."""

    def law(t: float, y: np.ndarray) -> list[float]:
        return [y[1], -81 * math.sin(y[0]) - drag * y[1]]

    order = times.argsort()
    found = np.empty(len(times))
    for side in (1, -1):
        here = order[(times[order] * side) >= 0] if side > 0 else order[times[order] < 0].flip(0)
        if len(here):
            line = times[here].numpy()
            path = solve_ivp(law, (0, line[-1] + 1e-9 * side), [start, 0], t_eval=line, rtol=1e-9, atol=1e-11)
            found[here] = path.y[0]
    angle = torch.from_numpy(found)
    nothing = torch.zeros_like(angle)
    return torch.stack([3 * angle.sin(), 3 - 3 * angle.cos(), nothing, nothing, angle, nothing], -1)


def line(times: Tensor) -> Tensor:
    return torch.stack([3 * times, 1 - times, torch.zeros_like(times)], -1)


def circle(times: Tensor) -> Tensor:
    return torch.stack([2 * (9 * times).cos(), 2 * (9 * times).sin(), torch.zeros_like(times)], -1)


def noise(times: Tensor) -> Tensor:
    return torch.randn(len(times), 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def fitted(poses: Tensor, iterations: int = 12, steps: int = 24) -> Motion:
    torch.manual_seed(0)
    motion = Motion(poses.shape[1], 12, 16, len(poses))
    assert not motion.fitted
    motion.fit(poses, iterations, steps, (0.15, 0.4, 1.0))
    return motion


@pytest.fixture(scope="module")
def swing() -> Motion:
    return fitted(pendulum(WINDOW))


def size(poses: Poses) -> float:
    """Root mean square of the motion over the window."""
    centred = poses(WINDOW) - poses(WINDOW).mean(0)
    return centred.square().sum(-1).mean().sqrt().item()


def furthest(motion: Motion, poses: Poses, times: Tensor) -> float:
    """Largest error of a forecast, in the window's own motion."""
    return (motion.extrapolate(times, 48) - poses(times)).norm(dim=-1).max().item() / size(poses)


# Coordinates.


def test_a_swing_is_one_number_the_length_of_its_arc() -> None:
    coordinates = Coordinates(6, 12)
    poses = pendulum(WINDOW)
    coordinates.fit(poses)
    assert coordinates.used == 1
    q = coordinates.encode(poses)
    assert q.std(0)[0].item() == pytest.approx(1, abs=0.03) and not q[:, 1:].any()
    angle = poses[:, 4]
    correlation = torch.corrcoef(torch.stack([q[:, 0], angle]))[0, 1].abs().item()
    assert correlation > 0.99999, "the number is not the angle"
    assert (coordinates.decode(q) - poses).abs().max() < 0.01 * size(pendulum)


def test_two_numbers_tell_a_circle_and_they_tell_it_exactly() -> None:
    coordinates = Coordinates(3, 12)
    coordinates.fit(circle(WINDOW))
    assert coordinates.used == 2 and coordinates.most == 3
    q = coordinates.encode(circle(WINDOW))
    torch.testing.assert_close(coordinates.decode(q), circle(WINDOW), atol=1e-9, rtol=0)
    assert not q[:, 2].any()


def test_poses_at_rest_need_no_number() -> None:
    coordinates = Coordinates(4, 12)
    poses = torch.tensor([2.0, -1.0, 0.0, 1e5]).double().expand(NODES, 4)
    coordinates.fit(poses)
    assert coordinates.used == 0
    torch.testing.assert_close(coordinates.decode(coordinates.encode(poses)), poses)


def test_shapes_with_leading_axes() -> None:
    coordinates = Coordinates(3, 12)
    coordinates.fit(circle(WINDOW))
    poses = circle(WINDOW)[:30].reshape(5, 6, 3)
    assert coordinates.encode(poses).shape == (5, 6, 3) and coordinates.decode(poses).shape == (5, 6, 3)


# The law.


def test_a_linear_law_is_read_off_the_accelerations() -> None:
    """q'' = -w^2 q - 2 q'."""
    law = Law(1, 8)
    q, v = (torch.randn(200, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    law.start_from(q, v, -9 * q - 2 * v, used=1)
    with torch.no_grad():
        law.network.output.weight.zero_()
        out = law(torch.tensor(0.0), torch.cat([q, v], -1))
    torch.testing.assert_close(out[:, :1], v)
    torch.testing.assert_close(out[:, 1:], -9 * q - 2 * v, atol=0.02, rtol=0.02)


def test_a_pendulum_is_followed_and_forecast_for_four_windows(swing: Motion) -> None:
    assert swing.fitted and swing.reach == 1 and swing.misfit < 0.01
    assert swing.coordinates.used == 1
    assert furthest(swing, pendulum, torch.linspace(1, 5, 81, dtype=torch.float64)[1:]) < 0.1


def test_a_pendulum_is_followed_back_before_the_window(swing: Motion) -> None:
    assert furthest(swing, pendulum, torch.linspace(-2, 0, 41, dtype=torch.float64)[:-1]) < 0.1


def test_the_order_of_times_does_not_matter_and_times_may_repeat(swing: Motion) -> None:
    times = torch.tensor([3.0, -0.5, 1.2, 3.0, -0.1, 1.7], dtype=torch.float64)
    alone = torch.cat([swing.extrapolate(times[[i]], 48) for i in range(6)])
    mixed = swing.extrapolate(times, 48)
    assert torch.equal(mixed[0], mixed[3])
    # The solver's steps differ, for they divide another span.
    torch.testing.assert_close(mixed, alone, atol=0.02, rtol=0)
    order = times.argsort()
    torch.testing.assert_close(swing.extrapolate(times[order], 48), mixed[order], atol=1e-9, rtol=0)
    assert swing.extrapolate(times[:0], 48).shape == (0, 6)


def test_the_forecast_goes_on_from_where_the_window_ends(swing: Motion) -> None:
    at = torch.tensor([1 + 1e-6, -1e-6], dtype=torch.float64)
    ends = pendulum(torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert (swing.extrapolate(at, 48) - ends).norm(dim=-1).max().item() < 0.05 * size(pendulum)


def test_drag_is_learned() -> None:
    """A swing that loses half of its amplitude in the window goes on losing it."""
    damped = lambda times: pendulum(times, drag=1.4)  # noqa: E731
    motion = fitted(damped(WINDOW))
    assert motion.reach == 1 and motion.misfit < 0.02
    late = motion.extrapolate(torch.linspace(4, 5, 41, dtype=torch.float64), 48)
    assert late[:, 4].abs().max() < 0.35 < damped(WINDOW)[:, 4].abs().max()


def test_a_body_on_a_straight_line_goes_on() -> None:
    """The error is a share of the way, which is four windows long at the end."""
    motion = fitted(line(WINDOW))
    times = torch.linspace(1, 5, 41, dtype=torch.float64)[1:]
    error = (motion.extrapolate(times, 48) - line(times)).norm(dim=-1)
    assert motion.coordinates.used == 1
    assert (error / (line(times) - line(times[:1] * 0)).norm(dim=-1)).max() < 0.05


def test_a_circle_goes_on() -> None:
    """1.4 turns are seen, and 2.9 more foretold."""
    motion = fitted(circle(torch.linspace(0, 1, 49, dtype=torch.float64)))
    assert motion.coordinates.used == 2 and motion.reach == 1
    assert furthest(motion, circle, torch.linspace(1, 3, 41, dtype=torch.float64)[1:]) < 0.05


# Where there is no law.


def test_what_no_law_follows_goes_straight_on() -> None:
    motion = fitted(noise(WINDOW))
    assert motion.fitted and motion.reach < 0.1 and motion.misfit.isnan()
    assert not any(p.any() for p in motion.law.parameters())
    path = motion.extrapolate(torch.tensor([1.1, 1.2, 1.3, 1.4], dtype=torch.float64), 48)
    torch.testing.assert_close(path.diff(n=2, dim=0), torch.zeros(2, 6).double(), atol=1e-6, rtol=0)
    assert path.isfinite().all()


def test_what_rests_goes_on_resting() -> None:
    poses = torch.full((NODES, 3), 2.0, dtype=torch.float64)
    motion = fitted(poses)
    found = motion.extrapolate(torch.tensor([-3.0, 1.5, 30.0], dtype=torch.float64), 24)
    torch.testing.assert_close(found, poses[:3])


def test_a_law_that_explodes_stands_still_where_it_left_all_sense() -> None:
    motion = fitted(circle(WINDOW), iterations=2, steps=12)
    with torch.no_grad():
        motion.law.bend.fill_(5.0)
    found = motion.extrapolate(torch.linspace(1.01, 60, 50, dtype=torch.float64), 24)
    back = motion.extrapolate(torch.linspace(-60, -0.01, 50, dtype=torch.float64), 24)
    assert found.isfinite().all() and back.isfinite().all()
    assert torch.equal(found[-1], found[-2]) and torch.equal(back[0], back[1])
    assert motion.coordinates.encode(found).abs().max() < FARTHEST * 1.01


def test_a_second_fit_starts_afresh_and_the_state_dict_holds_all(swing: Motion) -> None:
    other = Motion(6, 12, 16, NODES)
    other.fit(noise(WINDOW), 2, 12, (0.15,))
    other.load_state_dict(swing.state_dict())
    times = torch.tensor([1.5, -0.4], dtype=torch.float64)
    assert torch.equal(other.extrapolate(times, 48), swing.extrapolate(times, 48))
    motion = fitted(noise(WINDOW), iterations=2)
    motion.fit(pendulum(WINDOW), 12, 24, (0.15, 0.4, 1.0))
    assert motion.coordinates.used == 1 and motion.misfit < 0.01


def test_a_fit_leaves_no_gradients_and_no_trainable_law(swing: Motion) -> None:
    assert not any(p.requires_grad for p in swing.parameters())


def test_the_same_seed_gives_the_same_law(swing: Motion) -> None:
    """To the last bit: a run that is resumed before the fit must end as if it had not stopped."""
    again = fitted(pendulum(WINDOW)).state_dict()
    assert [name for name, value in swing.state_dict().items() if not torch.equal(value, again[name])] == []
