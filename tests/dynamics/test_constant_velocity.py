"""What coasts: straight on, against a drag, or under a steady force since the last event."""

import pytest
import torch
from torch import Tensor

from foreseen.dynamics.config import ConstantVelocityConfig, DynamicsConfig
from foreseen.dynamics.constant_velocity import fit_constant_velocity
from foreseen.dynamics.lagrangian import Structure
from foreseen.dynamics.learned import LearnedDynamics

COUNT, MIN_STEPS = 121, 12
CONFIG = ConstantVelocityConfig()
SPACING = 1 / (COUNT - 1)
TIMES = torch.linspace(0, 1, COUNT, dtype=torch.float64)
NOISE = 2e-3


def noisy(path: Tensor) -> Tensor:
    return path + NOISE * torch.randn(path.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_straight_on() -> None:
    path = torch.stack([3 * TIMES, 1 - 2 * TIMES], dim=-1)
    found = fit_constant_velocity(noisy(path), SPACING, MIN_STEPS, CONFIG)
    assert found.drag == 0 and (found.acceleration == 0).all()


def test_a_drag() -> None:
    path = torch.stack([1 - torch.exp(-4 * TIMES), torch.exp(-4 * TIMES)], dim=-1)
    found = fit_constant_velocity(noisy(path), SPACING, MIN_STEPS, CONFIG)
    assert found.drag == 4 and (found.acceleration == 0).all()


def thrown(times: Tensor) -> Tensor:
    """In from one side; at 0.25 a blow, since when it is pushed."""
    late = (times - 0.25).clamp_min(0)
    return torch.stack([-4 * (0.25 - times).clamp_min(0) + 1.5 * late**2, 0.2 * late - 2 * late**2], dim=-1)


def test_a_steady_force_since_a_blow() -> None:
    found = fit_constant_velocity(noisy(thrown(TIMES)), SPACING, MIN_STEPS, CONFIG)
    assert found.drag == 0
    torch.testing.assert_close(found.acceleration, torch.tensor([3.0, -4.0], dtype=torch.float64), atol=0.3, rtol=0)
    assert 0.4 * COUNT < found.segment < 0.76 * COUNT, "not over the blow"


def test_a_wobble_of_the_path_does_not_end_a_force() -> None:
    """What short stretches follow and long ones do not grows no further with their length, as another force's would."""
    wobble = sum(
        size * torch.sin(2 * torch.pi * velocity_scale * TIMES + 0.4)
        for size, velocity_scale in ((3.4e-3, 2.0), (2.8e-3, 4.7))
    )
    found = fit_constant_velocity(thrown(TIMES) + torch.as_tensor(wobble)[:, None], SPACING, MIN_STEPS, CONFIG)
    assert 0.5 * COUNT < found.segment < 0.76 * COUNT
    torch.testing.assert_close(found.acceleration, torch.tensor([3.0, -4.0], dtype=torch.float64), atol=0.1, rtol=0)


@pytest.mark.parametrize("structure", ["potential", "free"])
def test_poses_are_led_on_under_that_force(structure: Structure) -> None:
    rotated = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0][:2]
    config = DynamicsConfig(widths=(4,), ensemble_size=2, structure=structure)
    dynamics = LearnedDynamics(config, 6)
    poses = thrown(TIMES) @ rotated
    dynamics.fit_constant_velocity(noisy(poses), TIMES, CONFIG)
    assert not dynamics.fitted and dynamics.manifold.size == 2
    _, (start, state) = dynamics.forecast_states(noisy(poses), TIMES, exact=False)
    later = torch.linspace(1.05, 1.5, 10, dtype=torch.float64)
    found = dynamics.manifold.decode(dynamics.solve(state, start, later)[:, :2])
    torch.testing.assert_close(found, thrown(later) @ rotated, atol=0.03, rtol=0)


def test_a_path_of_few_times() -> None:
    found = fit_constant_velocity(torch.stack([TIMES[:5], 2 * TIMES[:5]], dim=-1), SPACING, MIN_STEPS, CONFIG)
    assert found.segment == 4 and found.drag == 0 and (found.acceleration == 0).all()
