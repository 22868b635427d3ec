"""The laws of Node-RF as dynamical systems: units, seen states, codes."""

import math

import pytest
import torch
from torch import Tensor

from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import PoseLabels
from foreseen.methods.node_rf.config import MultiSequenceConfig, NodeRFPaperConfig
from foreseen.methods.node_rf.model import build
from foreseen.methods.rigid_ode.config import RigidODEConfig
from foreseen.methods.rigid_ode.model import build as build_rigid
from foreseen.methods.rigid_ode.multi_sequence import MultiSequenceRigidODE
from foreseen.methods.rigid_ode.single_sequence import RigidODE

TIMES = tuple(3.0 + 0.1 * k for k in range(21))
PAPER = NodeRFPaperConfig(
    code_width=8,
    ode_width=12,
    field_width=8,
    field_layers=2,
    field_skip=1,
    position_levels=1,
    direction_levels=1,
    ode_step=0.01,
    multi_sequence=MultiSequenceConfig(levels=2, encoder_width=12, encoder_layers=2, encoder_skip=1, decoder_width=12),
)


def info(sequences: int) -> SceneInfo:
    return SceneInfo.of_one_scene(
        bounds=((-2.0, -2.0, -1.0), (2.0, 2.0, 1.0)), near=1.0, far=5.0, times=(TIMES,) * sequences,
        background=(1.0, 1.0, 1.0), has_alpha=False, ndc=False, static_cameras=True,
        names=tuple(f"s{k}" for k in range(sequences)), bodies=(("ball",),) * sequences,
    )  # fmt: skip


def labels(start: float) -> PoseLabels:
    t = torch.tensor(TIMES, dtype=torch.float64)
    x = torch.zeros(len(t), 1, 3, dtype=torch.float64)
    x[:, 0, 0] = start * (2 * (t - 3)).cos()
    return PoseLabels(("ball",), t, x, torch.zeros_like(x), torch.eye(3, dtype=torch.float64).expand(len(t), 1, 3, 3))


def assert_the_rate_is_that_of_the_seen_states(system: DynamicalSystem, within: float) -> None:
    for one in system.trajectories:
        found = (one.states[2:] - one.states[:-2]) / (one.times[2:] - one.times[:-2])[:, None]
        rate = system.rate(one.states[1:-1])
        assert rate.dtype == torch.float64
        assert (found - rate).abs().max() < within * (1e-3 + rate.abs().max())
        assert one.start.allclose(one.states[0])


def test_the_latent_ode_of_several_sequences() -> None:
    torch.manual_seed(0)
    method = build(PAPER, info(2))
    method.warm_start((), [labels(1.0), labels(-0.6)])
    system = method.system()
    assert system is not None and system.positions is not None and system.code is not None
    assert not system.second_order and system.energy is None and system.window == pytest.approx(2.0)
    assert len(system.trajectories) == 2 and system.trajectories[0].times.tolist() == pytest.approx(list(TIMES))
    assert_the_rate_is_that_of_the_seen_states(system, 0.05)
    y = system.trajectories[0].states
    assert system.positions(y).shape == (21, 1, 3) and system.code(y).shape == (21, 8)
    assert system.code(y)[3].float().allclose(method._code(y[3].float()), atol=1e-5)


def test_the_latent_ode_of_one_sequence() -> None:
    torch.manual_seed(0)
    method = build(PAPER, info(1))
    system = method.system()
    assert system is not None and system.positions is None and system.code is not None
    assert_the_rate_is_that_of_the_seen_states(system, 0.05)
    assert system.code(system.trajectories[0].states).shape == (21, 8)


def test_the_law_of_one_sequences_motion() -> None:
    torch.manual_seed(0)
    method = build_rigid(RigidODEConfig(plane_resolutions=(4,), grid_resolution=8), info(1))
    assert isinstance(method, RigidODE) and method.system() is None, "nothing is fitted yet"
    with torch.no_grad():
        line = (torch.arange(len(method.parts.latent)) - 1) / (len(method.parts.latent) - 3)  # in windows
        method.parts.latent[:, 0] = (9 * line).cos()
    method.fit_dynamics()
    system = method.system()
    assert system is not None and system.second_order and system.positions is None
    assert system.names == ("q", "q'") and system.window == pytest.approx(2.0)
    one = system.trajectories[0]
    assert float(one.times[0]) == pytest.approx(3.0) and float(one.times[-1]) == pytest.approx(5.0)
    # 9 radians in a window of 2.
    force = system.rate(torch.cat([one.states[:, :1], 0 * one.states[:, 1:]], dim=-1))[:, 1]
    pull: Tensor = force.diff() / one.states[:, 0].diff()
    assert float(-pull.median()) == pytest.approx(4.5**2, rel=0.15)


def test_nothing_moves_or_nothing_was_fitted() -> None:
    method = build_rigid(RigidODEConfig(part_levels=(4,), static_levels=(4,)), info(2))
    assert isinstance(method, MultiSequenceRigidODE) and method.system() is None
    assert math.isnan(float(method.dynamics[0].misfit))
