"""One law of motion for one sequence or many: fitted to their poses, solved from any state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy.interpolate import make_smoothing_spline
from torch import Tensor

from foreseen.dynamics.config import DynamicsConfig
from foreseen.dynamics.constant_velocity import fit_constant_velocity
from foreseen.dynamics.integral_matching import MAX_COORDINATE, SampledPaths, fit_closed_form, fit_initial_states
from foreseen.dynamics.lagrangian import LAST_LAYER, LagrangianODE
from foreseen.dynamics.manifold import TOLERANCE, Manifold
from foreseen.dynamics.shooting import multiple_shooting
from foreseen.errors import UserError
from foreseen.nn.cpu_module import CPUModule
from foreseen.nn.threads import one_thread
from foreseen.ode import integrate

Rate = Callable[[Tensor, Tensor], Tensor]

MIN_TIMES = 6
"""A sequence with fewer training times says too little of a law."""
EXACT_SMOOTHING = 1e-12
"""Smoothing of paths that are known exactly, as the weight of squared second derivatives."""
CONSTANT_VELOCITY_TOLERANCE = 0.01
"""What coasts is told by as many coordinates as leave no larger share of the motion."""


class LearnedDynamics(CPUModule):
    """The surface that the poses lie on, the law on it, and others that the poses leave possible.

    Poses are `[..., P]` float64, times are counted in windows.

    Args:
        poses: P.
    """

    ensemble_weights: Tensor
    spacing: Tensor
    misfit: Tensor
    segment: Tensor

    def __init__(self, config: DynamicsConfig, poses: int) -> None:
        super().__init__()
        self.config = config
        self.manifold = Manifold(poses, config.max_coordinates)
        self.ode = LagrangianODE(self.manifold, config.widths, config.structure)
        self.ode.requires_grad_(False)
        count = sum(p.numel() for p in self.ode.last_layer())
        self.register_buffer("ensemble_weights", torch.zeros(1 + config.ensemble_size, count, dtype=torch.float64))
        self.register_buffer("spacing", torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer("segment", torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer("misfit", torch.tensor(float("nan"), dtype=torch.float64))

    @property
    def fitted(self) -> bool:
        """Whether there is a law yet."""
        return not bool(self.misfit.isnan())

    def fit(
        self, poses: Tensor, times: Tensor, counts: Tensor, exact: bool, seed: int = 0, linear_only: bool = False
    ) -> None:
        """Finds surface and law.

        Args:
            poses: `[S, T, P]` at `times` `[S, T]`, of which the first `counts` `[S]` are valid.
            exact: the poses are known, not seen.
            plain: without hidden units: springs and drags alone.
        """
        check_counts(counts)
        with one_thread():
            self._fit(poses, times, counts, exact, seed, linear_only)

    def _fit(self, poses: Tensor, times: Tensor, counts: Tensor, exact: bool, seed: int, linear_only: bool) -> None:
        c = self.config
        self.segment.zero_()
        paths = self._surface(poses, times, counts, exact, is_curved=True)
        if paths is None:  # nothing moves: no force
            self.misfit.zero_()
            return
        generator = torch.Generator().manual_seed(seed)
        weights, left = fit_closed_form(self.ode, paths, c.segment, c.max_segments, None if linear_only else generator)
        self.misfit.fill_(left)
        size, posterior = self.manifold.size, None
        for length in c.shooting_lengths:
            posterior, misfit = multiple_shooting(
                self.ode, paths, weights, length, c.max_shooting_segments, c.iterations
            )
            weights = posterior.weights
            self.misfit.fill_(misfit)
        for index, member in enumerate(self.ensemble_weights):
            moved = weights
            if index and posterior is not None:
                draw = torch.randn(posterior.factor.shape[1], generator=generator, dtype=weights.dtype)
                moved = weights + posterior.factor @ draw
            self.ode.set_weights(moved, size)
            member.copy_(torch.cat([p.flatten() for p in self.ode.last_layer()]))
        self.use_member(0)

    def _surface(
        self, poses: Tensor, times: Tensor, counts: Tensor, exact: bool, is_curved: bool, tolerance: float = TOLERANCE
    ) -> SampledPaths | None:
        """Fits the surface; the paths on it, None where nothing moves."""
        valid = torch.arange(poses.shape[1]) < counts[:, None]
        self.manifold.fit(poses[valid], is_curved, tolerance)
        self.spacing.fill_(_usual_interval(times, counts) / self.config.steps_per_interval)
        if self.manifold.size == 0:
            return None
        paths = self.paths(poses, times, counts, exact)
        everywhere = torch.arange(paths.q.shape[1]) < paths.counts[:, None]
        self.ode.velocity_scale.copy_(paths.v[everywhere].square().mean().sqrt().clamp_min(1e-6))
        return paths

    @torch.no_grad()
    def fit_constant_velocity(self, poses: Tensor, times: Tensor) -> None:
        """For one sequence `[T, P]` at `times` `[T]` that follows no law: straight on, with no force but a drag, or
        under a steady force (`fit_constant_velocity`). It does not count as fitted."""
        counts = torch.tensor([len(poses)])
        paths = self._surface(
            poses[None], times[None], counts, exact=False, is_curved=False, tolerance=CONSTANT_VELOCITY_TOLERANCE
        )
        self.misfit.fill_(float("nan"))
        self.ode.zero_hidden_layers()
        size = self.manifold.size
        self.ode.set_weights(self.ode.penalties(size) * 0, size)
        if paths is not None:
            found = fit_constant_velocity(paths.q[0], paths.spacing, MIN_TIMES * self.config.steps_per_interval)
            self.segment.fill_(found.segment * paths.spacing)
            self.ode.set_constant_force(found.acceleration)
            self.ode.drag[:size, :size] = found.drag / self.ode.velocity_scale * torch.eye(size, dtype=torch.float64)
        self.ensemble_weights[:] = torch.cat([p.flatten() for p in self.ode.last_layer()])

    def paths(self, poses: Tensor, times: Tensor, counts: Tensor, exact: bool) -> SampledPaths:
        """Smooth paths of q on even times, from poses as in `fit`."""
        q = self.manifold.encode(poses)
        spacing = float(self.spacing)
        spans = torch.stack([times[s, n - 1] - times[s, 0] for s, n in enumerate(counts.tolist())])
        lengths = (spans / spacing).round().long() + 1
        shape = (len(q), int(lengths.max()), q.shape[-1])
        smooth, rates, raw = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
        seen = torch.zeros(shape[:2], dtype=torch.bool)
        for s, n in enumerate(counts.tolist()):
            own = (times[s, :n] - times[s, 0]).numpy()
            grid = np.arange(int(lengths[s])) * spacing
            place = torch.from_numpy(own / spacing).round().long()
            for k in range(q.shape[-1]):
                spline = make_smoothing_spline(own, q[s, :n, k].numpy(), lam=EXACT_SMOOTHING if exact else None)
                smooth[s, : len(grid), k] = torch.from_numpy(spline(grid))
                rates[s, : len(grid), k] = torch.from_numpy(spline.derivative()(grid))
            # Where a frame lies between two times of the grid, what it saw is carried to the nearer one.
            late = torch.from_numpy(grid)[place] - torch.from_numpy(own)
            raw[s, place] = q[s, :n] + rates[s, place] * late[:, None]
            seen[s, place] = True
        return SampledPaths(smooth, rates, raw, seen, lengths, spacing)

    def solve(self, state: Tensor, start: float, times: Tensor) -> Tensor:
        """q and q' `[T, ..., 2 d]` at `times` `[T]`, any order, from `state` `[..., 2 d]` at `start`. A solution that
        leaves all sense stays where it does."""
        return self._solved(self.ode, state, start, times)

    def solve_ensemble(self, states: Tensor, start: float, times: Tensor) -> Tensor:
        """As `solve`, by the most likely law and by those that are drawn, all at once: `[T, E, 2 d]` from `states`
        `[E, 2 d]`, one for each law."""
        together = torch.func.vmap(self._by_weights, in_dims=(0, None, 0))
        weights = self._last_layers()
        return self._solved(lambda time, state: together(weights, time, state), states, start, times)

    def state_scale(self) -> Tensor:
        """`[2 d]`: the usual size of each number of a state."""
        size = self.manifold.size
        return torch.cat([torch.ones(size, dtype=torch.float64), self.ode.velocity_scale.expand(size)])

    def sampled_rates(self) -> list[Rate]:
        """The laws that are drawn."""
        weights = self._last_layers()
        own = [{name: value[i] for name, value in weights.items()} for i in range(1, len(self.ensemble_weights))]
        return [partial(self._by_weights, one) for one in own]

    def _last_layers(self) -> dict[str, Tensor]:
        """Of all members, `[E, ...]` by name."""
        shapes = [p.shape for p in self.ode.last_layer()]
        parts = self.ensemble_weights.split([shape.numel() for shape in shapes], dim=-1)
        return {name: part.unflatten(-1, shape) for name, part, shape in zip(LAST_LAYER, parts, shapes)}

    def _by_weights(self, own: dict[str, Tensor], time: Tensor, state: Tensor) -> Tensor:
        return torch.func.functional_call(self.ode, own, (time, state))

    def _solved(self, ode: Rate, state: Tensor, start: float, times: Tensor) -> Tensor:
        if self.manifold.size == 0:
            return state.expand(len(times), *state.shape)
        out = torch.empty(len(times), *state.shape, dtype=torch.float64)
        for side in (times >= start, times < start):
            if not side.any():
                continue
            wanted, order = torch.unique(times[side], return_inverse=True)
            later = bool(wanted[0] >= start)
            wanted = wanted if later else wanted.flip(0)
            order = order if later else len(wanted) - 1 - order
            fresh = bool(wanted[0] != start)
            line = torch.cat([torch.tensor([start], dtype=torch.float64), wanted]) if fresh else wanted
            if len(line) == 1:
                out[side] = state
                continue
            steps = max(4, round(abs(float(line[-1] - line[0])) / float(self.spacing)))
            path = integrate(_stopping(ode), state, line, steps=steps)
            out[side] = (path[1:] if fresh else path)[order]
        return out

    def forecast_states(
        self, poses: Tensor, times: Tensor, exact: bool
    ) -> tuple[tuple[float, Tensor], tuple[float, Tensor]]:
        """For one sequence's poses `[T, P]` at `times` `[T]`: time and state that forecasts before and after it start
        from (see `starts`)."""
        paths = self.paths(poses[None], times[None], torch.tensor([len(times)]), exact)
        (_, begin), (skipped, end) = self.initial_states(paths), self.initial_states(paths, last=True)
        first = float(times[0])
        return (first, begin[0]), (first + int(skipped[0]) * paths.spacing, end[0])

    def initial_states(self, paths: SampledPaths, last: bool = False) -> tuple[Tensor, Tensor]:
        """The states `[S, 2 d]` that forecasts start from: of the solutions that follow each path's first stretch best
        (its own first rate, at its end, is its least certain one), or its last; and how many steps into the path they
        are `[S]`."""
        typical = self.config.final_segment if self.fitted else float(self.segment)
        spans = (paths.counts - 1).clamp_max(
            max(MIN_TIMES * self.config.steps_per_interval, round(typical / paths.spacing))
        )
        skipped = paths.counts - 1 - spans if last else torch.zeros_like(spans)
        states = torch.zeros(len(paths.q), 2 * self.manifold.size, dtype=torch.float64)
        if self.manifold.size:
            for span in spans.unique().tolist():  # all at once, but for those that are shorter than a stretch
                rows = (spans == span).nonzero()[:, 0]
                q, v = paths.cut(rows, skipped[rows], span)
                states[rows], _ = fit_initial_states(self.ode, q, v, paths.spacing, span)
        return skipped, states

    def use_member(self, member: int) -> None:
        """Solves by the most likely law (0), or by one of those that are drawn."""
        self.ode.set_last_layer(self.ensemble_weights[member])


def _stopping(ode: Rate) -> Rate:
    """The law, but what is beyond all sense stays there: the same at every later time, whichever is asked for."""

    def rate(time: Tensor, state: Tensor) -> Tensor:
        q = state[..., : state.shape[-1] // 2]
        return torch.where((q.abs() <= MAX_COORDINATE).all(-1, keepdim=True), ode(time, state), 0.0)

    return rate


def check_counts(counts: Tensor) -> None:
    """Raises `UserError` where a sequence has too few times."""
    if int(counts.min()) < MIN_TIMES:
        raise UserError(
            f"a law is learned from sequences of {MIN_TIMES} training times or more, and one has "
            f"{int(counts.min())}: give more frames, or a larger --observe-until."
        )


def _usual_interval(times: Tensor, counts: Tensor) -> float:
    steps = torch.cat([times[s, :n].diff() for s, n in enumerate(counts.tolist())])
    return float(steps.median())
