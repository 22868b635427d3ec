"""Constant-velocity extrapolation: plain, against a drag, or under a constant force since the last event."""

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


def test_constant_velocity() -> None:
    path = torch.stack([3 * TIMES, 1 - 2 * TIMES], dim=-1)
    model = fit_constant_velocity(noisy(path), SPACING, MIN_STEPS, CONFIG)
    assert model.drag == 0 and (model.acceleration == 0).all()


def test_a_drag_is_found() -> None:
    path = torch.stack([1 - torch.exp(-4 * TIMES), torch.exp(-4 * TIMES)], dim=-1)
    model = fit_constant_velocity(noisy(path), SPACING, MIN_STEPS, CONFIG)
    assert model.drag == 4 and (model.acceleration == 0).all()


def impact_then_force(times: Tensor) -> Tensor:
    """Constant velocity until an impact at 0.25, then a constant force."""
    late = (times - 0.25).clamp_min(0)
    return torch.stack([-4 * (0.25 - times).clamp_min(0) + 1.5 * late**2, 0.2 * late - 2 * late**2], dim=-1)


def test_a_constant_force_since_an_impact() -> None:
    model = fit_constant_velocity(noisy(impact_then_force(TIMES)), SPACING, MIN_STEPS, CONFIG)
    assert model.drag == 0
    torch.testing.assert_close(model.acceleration, torch.tensor([3.0, -4.0], dtype=torch.float64), atol=0.3, rtol=0)
    assert 0.4 * COUNT < model.segment < 0.76 * COUNT, "the segment begins after the impact"


def test_an_oscillating_error_does_not_end_the_segment() -> None:
    """The residual of an oscillation does not keep growing with the segment, as that of another force would."""
    oscillation = sum(
        size * torch.sin(2 * torch.pi * velocity_scale * TIMES + 0.4)
        for size, velocity_scale in ((3.4e-3, 2.0), (2.8e-3, 4.7))
    )
    model = fit_constant_velocity(
        impact_then_force(TIMES) + torch.as_tensor(oscillation)[:, None], SPACING, MIN_STEPS, CONFIG
    )
    assert 0.5 * COUNT < model.segment < 0.76 * COUNT
    torch.testing.assert_close(model.acceleration, torch.tensor([3.0, -4.0], dtype=torch.float64), atol=0.1, rtol=0)


@pytest.mark.parametrize("structure", ["potential", "free"])
def test_poses_are_extrapolated_under_that_force(structure: Structure) -> None:
    rotated = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0][:2]
    config = DynamicsConfig(widths=(4,), ensemble_size=2, structure=structure)
    dynamics = LearnedDynamics(config, 6)
    poses = impact_then_force(TIMES) @ rotated
    dynamics.fit_constant_velocity(noisy(poses), TIMES, CONFIG)
    assert not dynamics.fitted and dynamics.manifold.size == 2
    _, (start, state) = dynamics.forecast_states(noisy(poses), TIMES, exact=False)
    later = torch.linspace(1.05, 1.5, 10, dtype=torch.float64)
    forecast = dynamics.manifold.decode(dynamics.solve(state, start, later)[:, :2])
    torch.testing.assert_close(forecast, impact_then_force(later) @ rotated, atol=0.03, rtol=0)


def test_a_path_of_few_times_has_constant_velocity() -> None:
    model = fit_constant_velocity(torch.stack([TIMES[:5], 2 * TIMES[:5]], dim=-1), SPACING, MIN_STEPS, CONFIG)
    assert model.segment == 4 and model.drag == 0 and (model.acceleration == 0).all()
