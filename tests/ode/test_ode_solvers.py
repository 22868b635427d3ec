"""Solvers against closed forms, for order, and against torchdiffeq."""

import math

import pytest
import torch
from torch import Tensor, nn
from torchdiffeq import odeint

from foreseen.errors import UserError
from foreseen.ode import SOLVERS, integrate, integrate_from
from foreseen.ode.integrate import FIXED_STEP

F64 = torch.float64
ORDERS = {"euler": 1, "midpoint": 2, "rk4": 4}


def harmonic(_: Tensor, y: Tensor) -> Tensor:
    """x'' = -x."""
    return torch.stack([y[..., 1], -y[..., 0]], dim=-1)


def harmonic_truth(y0: Tensor, t: Tensor) -> Tensor:
    c, s = t.cos()[:, None], t.sin()[:, None]
    return torch.stack([c * y0[..., 0] + s * y0[..., 1], c * y0[..., 1] - s * y0[..., 0]], dim=-1)


def forced(t: Tensor, y: Tensor) -> Tensor:
    """y' = cos(t) y: y = y0 exp(sin t). Time and state both matter, so that nodes and coupling are tested
    together."""
    return t.cos() * y


def error_of(solver: str, steps: int, times: Tensor) -> float:
    y0 = torch.tensor([[0.7], [-1.3]], dtype=F64)
    y = integrate(forced, y0, times, solver=solver, steps=steps)
    truth = y0 * (times.sin() - times[0].sin()).exp()[:, None, None]
    return float((y - truth).abs().max())


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("backward", [False, True])
def test_harmonic_batched(solver: str, backward: bool) -> None:
    y0 = torch.randn(3, 2, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([0.0, 0.1, 0.7, 1.5, 3.0], dtype=F64) * (-1 if backward else 1)
    steps = {"euler": 20000, "midpoint": 300, "rk4": 40}.get(solver)
    y = integrate(harmonic, y0, times, solver=solver, steps=steps, rtol=1e-7, atol=1e-9)
    assert y.shape == (5, 3, 2, 2)
    truth = harmonic_truth(y0.reshape(6, 2), times).reshape(5, 3, 2, 2)
    assert float((y - truth).abs().max()) < 1e-3
    assert torch.equal(y[0], y0)


def test_damped_oscillator() -> None:
    c, w = 0.3, math.sqrt(1 - 0.15**2)
    times = torch.linspace(0, 10, 23, dtype=F64)
    y0 = torch.tensor([1.0, -0.15], dtype=F64)

    def f(_: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[..., 1], -y[..., 0] - c * y[..., 1]], dim=-1)

    x = integrate(f, y0, times, solver="rk4", steps=200)[:, 0]
    assert torch.allclose(x, (-0.15 * times).exp() * (w * times).cos(), atol=1e-5)


def test_kepler_closes_its_ellipse() -> None:
    """Eccentricity 0.5: positions from Kepler's equation, and the orbit returns after one period."""

    def f(_: Tensor, y: Tensor) -> Tensor:
        q = y[..., :2]
        return torch.cat([y[..., 2:], -q / q.norm(dim=-1, keepdim=True) ** 3], dim=-1)

    e = 0.5
    anomaly = torch.linspace(0, 2 * math.pi, 17, dtype=F64)
    times = anomaly - e * anomaly.sin()
    y0 = torch.tensor([1 - e, 0, 0, math.sqrt((1 + e) / (1 - e))], dtype=F64)
    truth = torch.stack([anomaly.cos() - e, math.sqrt(1 - e * e) * anomaly.sin()], dim=-1)
    for options in ({"solver": "rk4", "steps": 800}, {"solver": "dopri5", "rtol": 1e-9, "atol": 1e-11}):
        y = integrate(f, y0, times, **options)
        assert float((y[:, :2] - truth).abs().max()) < 2e-5, options
        assert torch.allclose(y[-1], y0, atol=5e-5)


@pytest.mark.parametrize("solver", FIXED_STEP)
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
def test_order_of_convergence(solver: str, dense: bool, sign: int) -> None:
    """Halving the step divides the error by 2^order, at grid points and between them."""
    times = torch.linspace(0.2, 2.2, 301 if dense else 2, dtype=F64)
    coarse, fine = (error_of(solver, steps, sign * times) for steps in (64, 128))
    assert math.log2(coarse / fine) == pytest.approx(ORDERS[solver], abs=0.35)
    assert FIXED_STEP[solver].order == ORDERS[solver]


def test_dense_output_is_exact_for_cubics() -> None:
    """y' = 3t^2 - 2: rk4 is exact on it, and so must the interpolation be, wherever one step is cut."""
    times = torch.tensor([-1.0, -0.7, 0.11, 0.5, 1.9, 2.0], dtype=F64)
    y = integrate(lambda t, y: 3 * t**2 - 2 + 0 * y, torch.tensor([0.5], dtype=F64), times, steps=1)[:, 0]
    truth = times**3 - 2 * times
    assert torch.allclose(y, truth - truth[0] + 0.5, atol=1e-12)


def test_fewer_steps_than_times_costs_fewer_evaluations() -> None:
    calls = 0

    def f(_: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return -y

    times = torch.linspace(0, 1, 50, dtype=F64)
    y = integrate(f, torch.ones(1, dtype=F64), times, solver="rk4", steps=5)
    assert calls == 5 * 4 + 1
    assert torch.allclose(y[:, 0], (-times).exp(), atol=1e-5)


@pytest.mark.parametrize(("solver", "theirs"), [("euler", "euler"), ("midpoint", "midpoint")])
def test_same_steps_as_torchdiffeq(solver: str, theirs: str) -> None:
    """One step from each time to the next, unequal steps, both directions. (Their "rk4" is another
    tableau.)"""
    y0 = torch.randn(4, 2, dtype=F64, generator=torch.Generator().manual_seed(1))
    for times in (torch.tensor([0.0, 0.1, 0.35, 1.0], dtype=F64), torch.tensor([1.0, 0.3, -0.2], dtype=F64)):
        assert torch.allclose(integrate(forced, y0, times, solver=solver), odeint(forced, y0, times, method=theirs))


def test_fixed_steps_agree_with_torchdiffeq_adaptive() -> None:
    net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    y0, times = torch.randn(5, 3, dtype=F64), torch.linspace(0.5, -1, 6, dtype=F64)
    truth = odeint(lambda t, y: net(y), y0, times, rtol=1e-10, atol=1e-12)
    assert torch.allclose(integrate(lambda t, y: net(y), y0, times, steps=60), truth, atol=1e-7)


@pytest.mark.parametrize("solver", SOLVERS)
def test_time_reversal(solver: str) -> None:
    """Forward, then backward from where it arrived, returns to the start."""
    y0 = torch.tensor([[0.3, 1.0], [2.0, -0.4]], dtype=F64)
    span = torch.tensor([0.0, 2.0], dtype=F64)
    steps = {"euler": 20000, "midpoint": 1000, "rk4": 60}.get(solver)
    options = {"solver": solver, "steps": steps, "rtol": 1e-8, "atol": 1e-10}
    end = integrate(harmonic, y0, span, **options)[-1]
    assert torch.allclose(integrate(harmonic, end, span.flip(0), **options)[-1], y0, atol=1e-3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_gradients_by_finite_differences(solver: str) -> None:
    """In the state, in a parameter of f, and in the times."""
    torch.manual_seed(0)

    def solve(y0: Tensor, rate: Tensor, times: Tensor) -> Tensor:
        options = {"steps": 3} if solver != "dopri5" else {"rtol": 1e-10, "atol": 1e-12}
        return integrate(lambda t, y: rate * y.sin() + t, y0, times, solver=solver, **options)

    arguments = (
        torch.randn(2, 2, dtype=F64, requires_grad=True),
        torch.randn(2, dtype=F64, requires_grad=True),
        torch.tensor([0.1, 0.25, 0.7, 1.0], dtype=F64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(solve, arguments, atol=1e-5)


def test_adjoint_has_the_gradients_of_the_plain_solve() -> None:
    class Law(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate = nn.Parameter(torch.tensor([0.8, -0.5], dtype=F64))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.rate * y.sin()

    dynamics, times = Law(), torch.tensor([0.0, 0.4, 1.0], dtype=F64)
    y0 = torch.tensor([[0.5, 1.5]], dtype=F64, requires_grad=True)
    found = []
    for adjoint in (False, True):
        y = integrate(dynamics, y0, times, solver="dopri5", rtol=1e-9, atol=1e-11, adjoint=adjoint)
        found.append(torch.autograd.grad((y**2).sum(), [y0, dynamics.rate]))
    for plain, other in zip(*found):
        assert plain.abs().min() > 1e-3
        assert torch.allclose(plain, other, atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_single_time_returns_the_start(solver: str) -> None:
    y0 = torch.randn(3, 2)
    assert torch.equal(integrate(harmonic, y0, torch.tensor([4.2]), solver=solver, steps=7), y0[None])


def test_half_precision_states_are_integrated_in_float32() -> None:
    """A thousand steps of 0.001 from 1: in bfloat16 none would move the state."""
    y0, times = torch.ones(1, dtype=torch.bfloat16), torch.tensor([0.0, 1.0])
    for y in (
        integrate(lambda t, y: -y, y0, times, solver="euler", steps=1000)[-1],
        integrate_from(lambda t, y: -y, y0, 0.0, times, solver="euler", step=0.001)[-1],
    ):
        assert y.dtype == torch.float32
        assert abs(y.item() - 0.999**1000) < 1e-3


class TestIntegrateFrom:
    times = torch.tensor([0.5, -0.3, 2.0, 0.0, 0.5, 1.1], dtype=F64)
    y0 = torch.tensor([[1.0, 0.2]], dtype=F64)

    @pytest.mark.parametrize("solver", SOLVERS)
    def test_any_order_before_and_after(self, solver: str) -> None:
        options = {
            "solver": solver,
            "step": 0.001 if solver == "euler" else 0.05,
            "rtol": 1e-8,
            "atol": 1e-10,
        }
        y = integrate_from(harmonic, self.y0, 0.0, self.times, **options)
        assert torch.allclose(y, harmonic_truth(self.y0, self.times), atol=4e-3)
        assert torch.equal(y[3], self.y0)
        order = self.times.argsort()
        assert torch.allclose(integrate_from(harmonic, self.y0, 0.0, self.times[order], **options), y[order])

    @pytest.mark.parametrize("solver", SOLVERS)
    def test_a_state_does_not_depend_on_the_other_times(self, solver: str) -> None:
        """With a coarse step, where the error is plain to see."""
        together = integrate_from(harmonic, self.y0, 0.2, self.times, solver=solver, step=0.35)
        for i in range(len(self.times)):
            alone = integrate_from(harmonic, self.y0, 0.2, self.times[i : i + 1], solver=solver, step=0.35)
            assert torch.allclose(alone[0], together[i], atol=1e-9)

    @pytest.mark.parametrize("solver", FIXED_STEP)
    def test_gradients(self, solver: str) -> None:
        y0, times = self.y0.clone().requires_grad_(), self.times.clone().requires_grad_()
        assert torch.autograd.gradcheck(
            lambda y, t: integrate_from(harmonic, y, 0.13, t, solver=solver, step=0.4), (y0, times)
        )

    def test_refusals(self) -> None:
        with pytest.raises(UserError, match=r"step must be above 0; got 0\."):
            integrate_from(harmonic, self.y0, 0.0, self.times, step=0)
        with pytest.raises(UserError, match=r"times must be finite numbers\."):
            integrate_from(harmonic, self.y0, 0.0, torch.tensor([0.0, float("nan")]), step=0.1)


@pytest.mark.parametrize(
    ("times", "options", "message"),
    [
        ([0.0, 2.0, 1.0], {}, "times[2] = 1 follows times[1] = 2: sort them"),
        ([0.0, 0.0], {}, "times[1] = 0 follows times[0] = 0"),
        ([1.0, 0.0, 0.5], {"solver": "dopri5"}, "times[2] = 0.5 follows times[1] = 0"),
        ([0.0, float("nan")], {}, "times must be finite numbers."),
        ([], {}, "at least one time; got shape (0,)"),
        ([0.0, 1.0], {"solver": "rk5"}, "unknown solver 'rk5': did you mean 'rk4'?"),
        ([0.0, 1.0], {"steps": 0}, "steps must be at least 1; got 0."),
        ([0.0, 1.0], {"solver": "dopri5", "adjoint": True}, "adjoint=True needs f to be an nn.Module"),
        ([0.0, 1.0], {"adjoint": True}, "adjoint=True goes with solver 'dopri5', not 'rk4'"),
    ],
)
def test_bad_input_is_one_line(times: list[float], options: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        integrate(harmonic, torch.zeros(2), torch.tensor(times), **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_divergence_under_dopri5_is_explained() -> None:
    """y' = y^2 from 1 leaves every bound at t = 1."""
    with pytest.raises(UserError, match=r"found no step that meets rtol=0\.001, atol=0\.0001"):
        integrate(lambda t, y: y**2, torch.ones(1), torch.tensor([0.0, 2.0]), solver="dopri5")
