"""Exponents, borders, energies and the indicator against closed forms."""

import math

import numpy as np
import pytest
import torch
from known_systems import double_well, lorenz, oscillator

from foreseen.analysis.energy import body_energy, drag, energy_drift, energy_of, potential_of
from foreseen.analysis.fixed_points import find_fixed_points
from foreseen.analysis.flow import PhaseFlow
from foreseen.analysis.indicator import code_indicator, compare, divergence
from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.data.types import GroundTruth


def test_exponents_of_what_comes_to_rest() -> None:
    """In the end every solution spirals into a well, where neighbours meet at half of the drag."""
    found = PhaseFlow.of(double_well(drag=0.4, starts=[[1.1, 0.0], [0.05, 0.0], [-1.5, 0.2]])).lyapunov()
    assert found.mean == pytest.approx(-0.2, abs=0.02) and found.describe == "negative: neighbours converge"
    assert found.growth[1] > 5 > 4 > found.growth[0], "from the top neighbours part first"


def test_exponents_of_a_swing_for_ever() -> None:
    found = PhaseFlow.of(oscillator()).lyapunov()
    assert found.mean == pytest.approx(0, abs=0.02) and found.describe.startswith("not different from 0")
    assert found.growth.tolist() == pytest.approx([1.0, 1.0], abs=0.6)


def test_exponents_of_chaos() -> None:
    found = PhaseFlow.of(lorenz()).lyapunov(seed=1)
    assert found.mean == pytest.approx(0.906, abs=0.15) and found.describe == "positive: neighbours separate"


def test_a_solution_that_leaves_has_no_exponent() -> None:
    found = PhaseFlow.of(double_well(drag=-1.5, window=2.0)).lyapunov()
    assert found.mean is None and "leaves" in found.describe


def test_the_separatrix_without_drag_is_the_level_of_the_top() -> None:
    system = double_well(drag=0.0)
    curves = PhaseFlow.of(system).separatrices(find_fixed_points(system))
    assert len(curves) == 2 and system.energy is not None
    for curve in curves:
        assert (system.energy(curve) - 0.25).abs().max() < 1e-5
        assert curve[:, 0].abs().max() == pytest.approx(math.sqrt(2), abs=1e-2)


def test_both_sides_of_the_separatrix_end_in_different_wells() -> None:
    system = double_well(drag=0.4)
    flow = PhaseFlow.of(system)
    curve = flow.separatrices(find_fixed_points(system))[0]
    start = curve[(curve[:, 0].abs() - 0.5).abs().argmin()]
    off = torch.tensor([[0.0, 0.02], [0.0, -0.02]], dtype=torch.float64)
    ends = flow.integrate(start + off, 6.0, 10)[-1, :, 0]
    assert sorted(ends.round().tolist()) == [-1.0, 1.0]


def test_energy_is_kept_without_drag() -> None:
    flow = PhaseFlow.of(oscillator())
    found = energy_drift(flow, lowest=None)
    assert found is not None and not found["learned"] and found["half_life"] is None
    for span in found["relative_drift"].values():
        assert abs(span["largest"]) < 1e-4
    lost = drag(flow.system)
    assert lost is not None and lost["drag"] == pytest.approx(0, abs=1e-12)
    assert lost["half_life_of_small_oscillations"] is None


def test_energy_halves_as_the_drag_says() -> None:
    flow = PhaseFlow.of(oscillator(drag=0.3, velocity_scale=8.0))
    lost, found = drag(flow.system), energy_drift(flow, lowest=0.0)
    assert lost is not None and found is not None and lost["drag"] == pytest.approx(0.3)
    assert lost["half_life_of_small_oscillations"] == pytest.approx(math.log(2) / 0.3)
    assert found["half_life"] == pytest.approx(math.log(2) / 0.3, abs=0.3)
    assert found["relative_drift"]["1_windows"]["at_end_mean"] == pytest.approx(math.exp(-0.3 * 5) - 1, abs=0.02)


def test_the_energy_of_a_force_is_that_of_its_potential() -> None:
    system = double_well()
    without = DynamicalSystem(system.names, system.rate, system.trajectories, system.window, True)
    own, integral, q = (
        system.potential,
        potential_of(without),
        torch.linspace(-1.5, 1.5, 41, dtype=torch.float64)[:, None],
    )
    assert own is not None and integral is not None and energy_of(without) is not None
    apart = integral(q) - own(q)
    assert (apart - apart[0]).abs().max() < 1e-5
    assert (
        potential_of(lorenz()) is None and energy_drift(PhaseFlow.of(lorenz()), None) is None and drag(lorenz()) is None
    )


def test_the_energy_of_a_body_is_compared_with_the_truth() -> None:
    """A body whose height is its potential, under g = 1, and which has the truth of another without drag."""
    system = double_well(drag=0.0, starts=[[0.2, 0.0], [1.3, 0.0]])
    ground_truths = {}
    for one in system.trajectories:
        x, v = one.states.T.numpy()
        climb = (x**3 - x) * v
        positions = np.stack([x, 0 * x, (x**2 - 1) ** 2 / 4], -1)[:, None]
        velocities = np.stack([v, 0 * v, climb], -1)[:, None]
        ground_truths[one.sequence] = GroundTruth(
            one.times.numpy(), ("bead",), positions, velocities, "any", {"gravity": 1.0}
        )
    found = body_energy(PhaseFlow.of(system), ground_truths)
    assert found is not None and found["from_truth_largest"] < 2e-3
    assert body_energy(PhaseFlow.of(system), {}) is None


def test_the_indicator_is_the_derivative_of_the_codes_sum_by_time() -> None:
    system = lorenz()
    flow, y = PhaseFlow.of(system), system.trajectories[0].states[50]
    step = 1e-4 / system.window
    after, before = (flow.integrate(y, sign * step, 1)[-1] for sign in (1, -1))
    assert system.code is not None
    expected = (system.code(after).sum() - system.code(before).sum()) / 2e-4
    assert float(code_indicator(system, y)) == pytest.approx(float(expected), rel=1e-4)
    assert divergence(system, y[None]).tolist() == pytest.approx([-10 - 1 - 8 / 3])
    assert compare(system)["code"] == "the decoded code"


def test_the_indicator_of_a_state_that_is_the_code() -> None:
    system = double_well(drag=0.4)
    y = system.trajectories[0].states[10]
    assert float(code_indicator(system, y)) == pytest.approx(float(system.rate(y).sum()))
    found = compare(system)
    assert found["code"] == "the state itself"
    assert found["divergence"]["smallest"] == pytest.approx(-0.4) == pytest.approx(found["divergence"]["largest"])
    resting = [code_indicator(system, p.state) for p in find_fixed_points(system)]
    assert torch.stack(resting).abs().max() < 1e-8, "it vanishes where nothing changes"
