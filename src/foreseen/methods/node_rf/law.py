"""The law of motion of the `fast` preset: a second-order neural ODE on few coordinates, fitted to trajectories.

The parts' poses over the observed window trace a curve. `Coordinates` finds few numbers q that tell where the parts
are; `Law` is a neural ODE q'' = f(q, q'); `fit` finds both the law and the states it starts from by multiple
shooting (Bock and Plitt 1984): short stretches first, longer ones as the law gets better.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foreseen.nn.mlp import MLP
from foreseen.ode import integrate

TOLERANCE = 0.15
"""Poses count as told by q when this share of their motion (root mean square) is left: more than the noise of learned
poses, less than a motion of its own."""
STILL = 1e-9
"""Poses that vary by no more than this share of their size do not move: no coordinate is needed."""
BEYOND = 0.2
"""The arc is known where the parts were. From this share of it beyond either end on it goes straight, where its
polynomial would soon run away."""
DEGREE = 5
"""Of the polynomials between a single coordinate and the poses."""


class Coordinates(nn.Module):
    """Few numbers q `[..., d]` for poses p `[..., P]`, and back.

    Where one number tells the poses (a swing), q is the length of the arc that they trace: in it the law of a body
    without drag is a force alone, whatever the arc's shape. Else q are principal components. The first has unit
    variance over the fitted poses, and the others its scale. `used` says how many of the d = `most` are alive; the
    others are
    zero.
    """

    mean: Tensor
    project: Tensor
    to_arc: Tensor
    from_arc: Tensor
    span: Tensor
    used: Tensor

    def __init__(self, poses: int, most: int) -> None:
        super().__init__()
        self.most = min(most, poses)
        self.register_buffer("mean", torch.zeros(poses, dtype=torch.float64))
        self.register_buffer("project", torch.zeros(poses, self.most, dtype=torch.float64))
        self.register_buffer("to_arc", torch.zeros(DEGREE + 1, dtype=torch.float64))
        self.register_buffer("from_arc", torch.zeros(DEGREE + 1, poses, dtype=torch.float64))
        self.register_buffer("span", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("used", torch.tensor(0))

    @torch.no_grad()
    def fit(self, poses: Tensor) -> None:
        """Chooses the fewest coordinates that tell `poses` `[T, P]`."""
        self.mean.copy_(poses.mean(0))
        centred = poses - self.mean
        _, sizes, directions = torch.linalg.svd(centred, full_matrices=False)
        scale = sizes / len(poses) ** 0.5
        if scale[0] <= STILL * (1 + poses.abs().max()):
            self.used.zero_()
            self.project.zero_()
            return
        self._fit_arc(centred, directions[0] / scale[0])
        left = self._misfit(poses)
        for used in range(2, self.most + 1):
            if left <= TOLERANCE:
                return
            self.used.fill_(used)
            # One scale for all: what hardly moves must not be blown up to weigh as much as what does.
            self.project[:, :used] = (directions[:used] / scale[0]).T
            left = self._misfit(poses)

    def _fit_arc(self, centred: Tensor, direction: Tensor) -> None:
        """Poses as polynomials of their first component, and that as a polynomial of the arc's length."""
        self.used.fill_(1)
        self.project.zero_()
        self.project[:, 0] = direction
        first = centred @ direction
        curve = _least_squares(_powers(first), centred)
        line = torch.linspace(float(first.min()), float(first.max()), 200, dtype=first.dtype)
        arc = torch.cat([line[:1] * 0, (_powers(line) @ curve).diff(dim=0).norm(dim=-1).cumsum(0)])
        raw = _least_squares(_powers(line), arc[:, None])[:, 0]
        length = _powers(first) @ raw
        self.to_arc.copy_(raw / length.std())
        self.to_arc[0] -= length.mean() / length.std()
        arc = _powers(first) @ self.to_arc
        self.from_arc.copy_(_least_squares(_powers(arc), centred))
        margin = BEYOND * (arc.max() - arc.min())
        self.span.copy_(torch.stack([arc.min() - margin, arc.max() + margin]))

    def _misfit(self, poses: Tensor) -> float:
        """Share of the motion that q does not tell."""
        left = (self.decode(self.encode(poses)) - poses).square().mean().sqrt()
        return float((left / (poses - self.mean).square().mean().sqrt().clamp_min(1e-12)).detach())

    def encode(self, poses: Tensor) -> Tensor:
        """q `[..., d]`."""
        q = (poses - self.mean) @ self.project
        if self.used == 1:
            arc = _powers(q[..., 0]) @ self.to_arc
            return torch.cat([arc[..., None], q[..., 1:]], dim=-1)
        return q

    def decode(self, q: Tensor) -> Tensor:
        """Poses `[..., P]`."""
        if self.used == 1:
            arc = q[..., 0].clamp(self.span[0], self.span[1])
            beyond = (q[..., 0] - arc)[..., None] * (_slopes(arc) @ self.from_arc)
            return self.mean + _powers(arc) @ self.from_arc + beyond
        return self.mean + q @ torch.linalg.pinv(self.project)


def _powers(x: Tensor) -> Tensor:
    return torch.stack([x**k for k in range(DEGREE + 1)], dim=-1)


def _slopes(x: Tensor) -> Tensor:
    """The derivatives of `_powers`."""
    return torch.stack([k * x ** max(k - 1, 0) for k in range(DEGREE + 1)], dim=-1)


def _least_squares(x: Tensor, y: Tensor) -> Tensor:
    # Not torch's default driver: its last digits differ from call to call, and a resumed run must be the same.
    return torch.linalg.lstsq(x, y, driver="gelsd").solution


class Law(nn.Module):
    """q'' = A q + c + g(q) + B q' + q'^T C q', with g a small network.

    What a mechanical system may do in any coordinates: a force that depends on where it is, drag, and what the
    coordinates' own bending adds. Rates enter as polynomials only: a network of q and q' together fits the window as
    well, but says nothing where neither was seen together, such as a swing that has died down.

    State `[..., 2 d]`: q and its rate. Time runs from 0 to 1 over the observed window.
    """

    rate: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.linear = nn.Linear(2 * size, size).double()
        self.network = MLP(size, size, width=width, layers=2, activation=torch.tanh).double()
        self.bend = nn.Parameter(torch.zeros(size, size, size, dtype=torch.float64))
        with torch.no_grad():
            self.network.output.weight.mul_(1e-2)
            self.network.output.bias.zero_()
        self.register_buffer("rate", torch.ones(size, dtype=torch.float64))

    def forward(self, time: Tensor, state: Tensor) -> Tensor:
        """The state's rate of change; the law does not know the time."""
        del time
        q, v = state[..., : self.size], state[..., self.size :]
        pace = v / self.rate
        force = self.linear(torch.cat([q, pace], dim=-1)) + self.network(q)
        force = force + torch.einsum("kij,...i,...j->...k", self.bend, pace, pace)
        return torch.cat([v, self.rate.square() * force], dim=-1)

    @torch.no_grad()
    def start_from(self, q: Tensor, v: Tensor, a: Tensor, used: int) -> None:
        """The linear law nearest to accelerations `a` at `q`, `v`, `[T, d]` each. `rate` becomes the usual speed."""
        self.rate[:used] = v[:, :used].square().mean().sqrt().clamp_min(1e-3)
        x = torch.cat([q, v / self.rate, torch.ones_like(q[:, :1])], dim=-1)
        y = a / self.rate.square()
        ridge = 1e-4 * len(q) * torch.eye(x.shape[1], dtype=q.dtype)
        weights = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
        self.linear.weight.copy_(weights[:-1].T)
        self.linear.bias.copy_(weights[-1])


FARTHEST = 100.0
"""A forecast stops where q, of unit variance over the window, is beyond this."""
EXPLODED = 1e6
ACCEPTED = 0.15
"""A longer stretch is kept when the law follows it to this misfit (root mean square, of q of unit variance)."""


class Motion(nn.Module):
    """Coordinates, law and the state of the parts at the window's end: what a forecast starts from.

    Args:
        poses: P, numbers in a pose.
        most: coordinates at most.
        width: of the law's network.
        times: N even times of the window at which the trajectory is compared.
    """

    nodes: Tensor
    reach: Tensor
    misfit: Tensor

    def __init__(self, poses: int, most: int, width: int, times: int) -> None:
        super().__init__()
        self.coordinates = Coordinates(poses, most)
        self.law = Law(self.coordinates.most, width)
        self.law.requires_grad_(False)
        self.register_buffer("nodes", torch.zeros(times, 2 * self.coordinates.most, dtype=torch.float64))
        self.register_buffer("reach", torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer("misfit", torch.tensor(float("nan"), dtype=torch.float64))

    @property
    def fitted(self) -> bool:
        """Whether there is a law yet."""
        return bool(self.reach > 0)

    def fit(self, poses: Tensor, iterations: int, steps: int, lengths: tuple[float, ...]) -> None:
        """Fits all to `poses` `[N, P]` at even times 0..1, over stretches of growing `lengths` (shares of the window)
        for as long as the law can follow. `reach` and `misfit` say how far it could, and how well."""
        self.coordinates.fit(poses)
        used = int(self.coordinates.used)
        q = self.coordinates.encode(poses)
        spacing = 1 / (len(q) - 1)
        v = torch.gradient(q, spacing=spacing, dim=0, edge_order=2)[0]
        a = torch.gradient(v, spacing=spacing, dim=0)[0]
        with torch.no_grad():
            self.law.start_from(q, v, a, used)
        self.nodes.copy_(torch.cat([q, v], dim=-1))
        # Should even the shortest stretch fail: straight on from the window's end.
        self.reach.fill_(1 / (len(q) - 1))
        self.misfit.fill_(float("nan"))
        for length in lengths:
            before = {k: x.clone() for k, x in self.state_dict().items()}
            misfit = self._stage(q, v, length, iterations, steps)
            if not misfit <= ACCEPTED:
                self.load_state_dict(before)
                break
            self.reach.fill_(length)
            self.misfit.fill_(misfit)
        if bool(self.misfit.isnan()):
            with torch.no_grad():
                for parameter in self.law.parameters():
                    parameter.zero_()

    def _stage(self, q: Tensor, v: Tensor, length: float, iterations: int, steps: int) -> float:
        law, nodes = self.law, self.nodes.clone().requires_grad_()
        law.requires_grad_(True)
        stretches = _Stretches(law, q, v, nodes, length, steps)
        # L-BFGS: few unknowns, no noise, and a curvature that differs by orders of magnitude between them.
        optimizer = torch.optim.LBFGS(
            [*law.parameters(), nodes], max_iter=iterations, history_size=30, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss, _ = stretches.loss()
            if not bool(torch.isfinite(loss)):
                # The line search went where the solution explodes: a high flat value sends it back.
                for p in (*law.parameters(), nodes):
                    p.grad = torch.zeros_like(p)
                return torch.full_like(loss, EXPLODED)
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(closure)
        law.requires_grad_(False)
        self.nodes.copy_(nodes.detach())
        with torch.no_grad():
            return float(stretches.loss()[1])

    def extrapolate(self, times: Tensor, steps: int) -> Tensor:
        """Poses `[T, P]` at times outside 0..1, any order: from the states that the longest stretches give for the
        window's two ends."""
        out = torch.empty(len(times), self.coordinates.mean.shape[0], dtype=torch.float64)
        last = len(self.nodes) - 1
        for side, end in ((times > 1, 1.0), (times < 0, 0.0)):
            if not side.any():
                continue
            # The stretch that ends (or begins) at this end of the window starts from its far node.
            far = end - float(self.reach) if end else float(self.reach)
            start = self.nodes[round(far * last)]
            wanted, order = torch.unique(times[side], return_inverse=True)
            wanted = wanted if end else wanted.flip(0)
            order = order if end else len(wanted) - 1 - order
            line = torch.cat([torch.tensor([far], dtype=torch.float64), wanted.double()])
            span = abs(float(line[-1] - line[0]))
            path = integrate(self.law, start, line, steps=max(8, round(steps * span)))
            out[side] = self.coordinates.decode(_held(path[:, : self.law.size])[1:])[order]
        return out


def _held(path: Tensor) -> Tensor:
    """`path` `[T, d]`, standing still from where it leaves all sense: a law may explode far outside the window."""
    sane = (path.abs() <= FARTHEST).all(-1).cumprod(0)
    return path[torch.minimum(torch.arange(len(path)), sane.sum() - 1)]


class _Stretches:
    """Stretches of one length that cover the window, solved as one batch."""

    def __init__(self, law: Law, q: Tensor, v: Tensor, nodes: Tensor, length: float, steps: int) -> None:
        count = len(q)
        span = max(2, round(length * (count - 1)))
        self.law, self.nodes = law, nodes
        self.starts = torch.linspace(0, count - 1 - span, min(12, count - span)).round().long()
        self.times = torch.linspace(0, span / (count - 1), span + 1, dtype=q.dtype)
        self.steps = max(2, round(steps * span / (count - 1)))
        pieces = [slice(s, s + span + 1) for s in self.starts.tolist()]
        self.q = torch.stack([q[p] for p in pieces], dim=1)
        self.pace = torch.stack([v[p] for p in pieces], dim=1) / law.rate

    def loss(self) -> tuple[Tensor, Tensor]:
        """What is minimised, and the root mean square misfit of q."""
        law = self.law
        path = integrate(law, self.nodes[self.starts], self.times, steps=self.steps)
        error = (path[..., : law.size] - self.q).square().mean()
        pace = (path[..., law.size :] / law.rate - self.pace).square().mean()
        small = sum(p.square().sum() for p in law.network.parameters())
        return error + 0.01 * pace + 1e-7 * small + 1e-4 * law.bend.square().sum(), error.sqrt()
