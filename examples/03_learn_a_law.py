"""A neural ODE on its own: learn a pendulum's law from its first swings, and run it on and backward.

python examples/03_learn_a_law.py
"""

import torch

from foreseen.nn.mlp import MLP
from foreseen.ode import integrate, integrate_from


def swing(time: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """The truth: (angle, angular velocity) of a damped pendulum, in units in which g / l = 1."""
    del time
    angle, velocity = state[..., 0], state[..., 1]
    return torch.stack([velocity, -angle.sin() - 0.1 * velocity], dim=-1)


def main(steps: int) -> float:
    """Returns the forecast's mean error in angle [rad]."""
    torch.manual_seed(0)
    start = torch.tensor([[1.0, 0.0], [0.5, 0.5], [-1.2, 0.3]])  # three pendulums, integrated at once
    times = torch.linspace(0, 12, 121)
    truth = integrate(swing, start, times, steps=240)
    seen = times <= 6

    force = MLP(2, 1, width=32, layers=2)
    optimizer = torch.optim.Adam(force.parameters(), lr=1e-2)

    def dynamics(time: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """Second order: only the force is learned; that velocity moves the angle is known."""
        del time
        return torch.cat([state[..., 1:], force(state)], dim=-1)

    for step in range(steps):
        # Fewer steps than times: between them a cubic Hermite polynomial runs through states and slopes.
        path = integrate(dynamics, start, times[seen], steps=30)
        loss = (path - truth[seen]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.5f}")

    with torch.no_grad():
        forecast = integrate_from(dynamics, truth[seen][-1], float(times[seen][-1]), times[~seen], step=0.1)
        back = integrate_from(dynamics, truth[seen][-1], float(times[seen][-1]), times[:1], step=0.1)
    error = (forecast - truth[~seen])[..., 0].abs().mean().item()
    print(f"forecast: {error:.3f} rad off on average, over as long as was seen")
    print(f"back to the start: {(back[0] - start)[..., 0].abs().mean().item():.3f} rad off")
    return error


if __name__ == "__main__":
    main(400)
