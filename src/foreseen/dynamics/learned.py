"""Learned dynamics of the poses of one or several sequences: fit, solution from any state, and ensemble."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from scipy.interpolate import make_smoothing_spline
from torch import Tensor

from foreseen.dynamics.config import ConstantVelocityConfig, LearnedDynamicsConfig
from foreseen.dynamics.constant_velocity import fit_constant_velocity
from foreseen.dynamics.initial_states import fit_initial_states
from foreseen.dynamics.integral_matching import fit_closed_form
from foreseen.dynamics.lagrangian import LAST_LAYER, LagrangianODE
from foreseen.dynamics.manifold import Manifold
from foreseen.dynamics.sampled_paths import SampledPaths
from foreseen.dynamics.shooting import WeightPosterior, multiple_shooting
from foreseen.errors import UserError
from foreseen.nn.cpu_module import CPUModule
from foreseen.nn.threads import one_thread
from foreseen.ode import integrate

Rate = Callable[[Tensor, Tensor], Tensor]
"""Right-hand side of an ODE: from time and state `[..., 2 d]` to the time derivative of the state."""


class LearnedDynamics(CPUModule):
    """The manifold of the poses, an ODE for its coordinates, and an ensemble of weights of the ODE's last layer.

    Poses are pose vectors `[..., P]` float64. A state is `[..., 2 d]`: generalized coordinates q and their rates. The
    unit of time is the observed window.

    Args:
        pose_size: P.

    Attributes:
        ensemble_weights: `[E, C]`; member 0 is the most likely one.
        spacing: `[]`, interval of the resampled paths.
        segment: `[]`, length of the last segment that constant-velocity extrapolation was fitted to.
        misfit: `[]`, root mean square misfit of q; NaN without fitted dynamics.
    """

    ensemble_weights: Tensor
    spacing: Tensor
    misfit: Tensor
    segment: Tensor

    def __init__(self, config: LearnedDynamicsConfig, pose_size: int) -> None:
        super().__init__()
        self.config = config
        self.manifold = Manifold(pose_size, config.max_coordinates, config.manifold)
        self.ode = LagrangianODE(self.manifold, config.widths, config.structure, config.ode)
        self.ode.requires_grad_(False)
        count = sum(p.numel() for p in self.ode.last_layer())
        self.register_buffer("ensemble_weights", torch.zeros(1 + config.ensemble_size, count, dtype=torch.float64))
        self.register_buffer("spacing", torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer("segment", torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer("misfit", torch.tensor(float("nan"), dtype=torch.float64))

    @property
    def fitted(self) -> bool:
        """Whether there are learned dynamics (not only constant velocity)."""
        return not bool(self.misfit.isnan())

    def fit(
        self, poses: Tensor, times: Tensor, counts: Tensor, exact: bool, seed: int = 0, linear_only: bool = False
    ) -> None:
        """Fits manifold, dynamics and ensemble.

        Args:
            poses: `[S, T, P]` of S sequences.
            times: `[S, T]`.
            counts: `[S]`, number of valid times of each sequence; the rest is padding.
            exact: the poses are ground truth, without noise.
            seed: of the hidden layers and the ensemble.
            linear_only: no hidden units: the forces are linear in q.
        """
        check_counts(counts, self.config.min_times)
        with one_thread():
            self._fit(poses, times, counts, exact, seed, linear_only)

    def _fit(self, poses: Tensor, times: Tensor, counts: Tensor, exact: bool, seed: int, linear_only: bool) -> None:
        self.segment.zero_()
        paths = self._fit_manifold(poses, times, counts, exact, is_curved=True)
        if paths is None:  # nothing moves: no force
            self.misfit.zero_()
            return
        generator = torch.Generator().manual_seed(seed)
        weights, misfit = fit_closed_form(self.ode, paths, self.config, None if linear_only else generator)
        self.misfit.fill_(misfit)
        posterior = None
        for length in self.config.shooting_lengths:
            posterior, misfit = multiple_shooting(self.ode, paths, weights, length, self.config)
            weights = posterior.weights
            self.misfit.fill_(misfit)
        self._sample_ensemble(weights, posterior, generator)
        self.use_member(0)

    def _sample_ensemble(self, weights: Tensor, posterior: WeightPosterior | None, generator: torch.Generator) -> None:
        """Samples the weights of all members from the posterior. Member 0 gets the most likely weights; without a
        posterior, all members do."""
        for index, member in enumerate(self.ensemble_weights):
            member_weights = weights
            if index and posterior is not None:
                draw = torch.randn(posterior.factor.shape[1], generator=generator, dtype=weights.dtype)
                member_weights = weights + posterior.factor @ draw
            self.ode.set_weights(member_weights, self.manifold.size)
            member.copy_(torch.cat([p.flatten() for p in self.ode.last_layer()]))

    def _fit_manifold(
        self,
        poses: Tensor,
        times: Tensor,
        counts: Tensor,
        exact: bool,
        is_curved: bool,
        max_error: float | None = None,
    ) -> SampledPaths | None:
        """Fits the manifold and the velocity scale. Returns the paths on the manifold; None if nothing moves."""
        valid = torch.arange(poses.shape[1]) < counts[:, None]
        self.manifold.fit(poses[valid], is_curved, max_error)
        self.spacing.fill_(_median_interval(times, counts) / self.config.steps_per_interval)
        if self.manifold.size == 0:
            return None
        paths = self.paths(poses, times, counts, exact)
        is_valid = torch.arange(paths.q.shape[1]) < paths.counts[:, None]
        self.ode.velocity_scale.copy_(paths.v[is_valid].square().mean().sqrt().clamp_min(1e-6))
        return paths

    @torch.no_grad()
    def fit_constant_velocity(self, poses: Tensor, times: Tensor, config: ConstantVelocityConfig) -> None:
        """The fallback for one sequence, `poses` `[T, P]` at `times` `[T]`: constant velocity, velocity with drag, or
        constant acceleration (`fit_constant_velocity`). `fitted` is False afterwards."""
        counts = torch.tensor([len(poses)])
        paths = self._fit_manifold(
            poses[None], times[None], counts, exact=False, is_curved=False, max_error=config.manifold_error
        )
        self.misfit.fill_(float("nan"))
        self.ode.zero_hidden_layers()
        size = self.manifold.size
        self.ode.set_weights(self.ode.penalties(size) * 0, size)
        if paths is not None:
            minimum = self.config.min_times * self.config.steps_per_interval
            model = fit_constant_velocity(paths.q[0], paths.spacing, minimum, config)
            self.segment.fill_(model.segment * paths.spacing)
            self.ode.set_constant_force(model.acceleration)
            self.ode.drag[:size, :size] = model.drag / self.ode.velocity_scale * torch.eye(size, dtype=torch.float64)
        self.ensemble_weights[:] = torch.cat([p.flatten() for p in self.ode.last_layer()])

    def paths(self, poses: Tensor, times: Tensor, counts: Tensor, exact: bool) -> SampledPaths:
        """The coordinates q of poses (arguments as in `fit`), smoothed by splines and resampled at even times."""
        q = self.manifold.encode(poses)
        spacing = float(self.spacing)
        spans = torch.stack([times[s, n - 1] - times[s, 0] for s, n in enumerate(counts.tolist())])
        lengths = (spans / spacing).round().long() + 1
        shape = (len(q), int(lengths.max()), q.shape[-1])
        smooth, rates, raw = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
        observed_mask = torch.zeros(shape[:2], dtype=torch.bool)
        smoothing = self.config.exact_smoothing if exact else None  # None: generalised cross-validation
        for s, n in enumerate(counts.tolist()):
            elapsed = (times[s, :n] - times[s, 0]).numpy()
            grid = np.arange(int(lengths[s])) * spacing
            nearest = torch.from_numpy(elapsed / spacing).round().long()
            for k in range(q.shape[-1]):
                spline = make_smoothing_spline(elapsed, q[s, :n, k].numpy(), lam=smoothing)
                smooth[s, : len(grid), k] = torch.from_numpy(spline(grid))
                rates[s, : len(grid), k] = torch.from_numpy(spline.derivative()(grid))
            # An observed q between two grid times is moved to the nearer one, to first order in time.
            offset = torch.from_numpy(grid)[nearest] - torch.from_numpy(elapsed)
            raw[s, nearest] = q[s, :n] + rates[s, nearest] * offset[:, None]
            observed_mask[s, nearest] = True
        return SampledPaths(smooth, rates, raw, observed_mask, lengths, spacing)

    def solve(self, state: Tensor, start: float, times: Tensor) -> Tensor:
        """States `[T, ..., 2 d]` at `times` `[T]` (in any order, also before `start`), from `state` `[..., 2 d]` at the
        time `start`. A solution that diverges stops (`LagrangianConfig.max_coordinate`)."""
        return self._solve(self.ode, state, start, times)

    def solve_ensemble(self, states: Tensor, start: float, times: Tensor) -> Tensor:
        """As `solve`, with the dynamics of all E members of the ensemble: `[T, E, 2 d]` from `states` `[E, 2 d]`, one
        for each member. The first member is the most likely one."""
        members_rate = torch.func.vmap(self._rate_of_member, in_dims=(0, None, 0))
        weights = self._last_layers()
        return self._solve(lambda time, state: members_rate(weights, time, state), states, start, times)

    def state_scale(self) -> Tensor:
        """`[2 d]`: a typical size of each component of a state: 1 for coordinates, the velocity scale for rates."""
        size = self.manifold.size
        return torch.cat([torch.ones(size, dtype=torch.float64), self.ode.velocity_scale.expand(size)])

    def sampled_rates(self) -> list[Rate]:
        """The right-hand sides of the ensemble's members, without the most likely one."""
        weights = self._last_layers()
        members = [{name: value[i] for name, value in weights.items()} for i in range(1, len(self.ensemble_weights))]
        return [partial(self._rate_of_member, member) for member in members]

    def _last_layers(self) -> dict[str, Tensor]:
        """Parameters of the last layer of all members, `[E, ...]` by name."""
        shapes = [p.shape for p in self.ode.last_layer()]
        parts = self.ensemble_weights.split([shape.numel() for shape in shapes], dim=-1)
        return {name: part.unflatten(-1, shape) for name, part, shape in zip(LAST_LAYER, parts, shapes)}

    def _rate_of_member(self, last_layer: dict[str, Tensor], time: Tensor, state: Tensor) -> Tensor:
        return torch.func.functional_call(self.ode, last_layer, (time, state))

    def _solve(self, ode: Rate, state: Tensor, start: float, times: Tensor) -> Tensor:
        """Solves forwards to the times from `start` on, and backwards to those before it."""
        if self.manifold.size == 0:
            return state.expand(len(times), *state.shape)
        out = torch.empty(len(times), *state.shape, dtype=torch.float64)
        for side in (times >= start, times < start):
            if not side.any():
                continue
            ascending, order = torch.unique(times[side], return_inverse=True)
            is_forward = bool(ascending[0] >= start)
            targets = ascending if is_forward else ascending.flip(0)
            order = order if is_forward else len(targets) - 1 - order
            add_start = bool(targets[0] != start)
            solver_times = torch.cat([torch.tensor([start], dtype=torch.float64), targets]) if add_start else targets
            if len(solver_times) == 1:
                out[side] = state
                continue
            steps = max(4, round(abs(float(solver_times[-1] - solver_times[0])) / float(self.spacing)))
            path = integrate(_stop_diverged(ode, self.config.ode.max_coordinate), state, solver_times, steps=steps)
            out[side] = (path[1:] if add_start else path)[order]
        return out

    def forecast_states(
        self, poses: Tensor, times: Tensor, exact: bool
    ) -> tuple[tuple[float, Tensor], tuple[float, Tensor]]:
        """Two pairs of time and state for one sequence, `poses` `[T, P]` at `times` `[T]`: the first to extrapolate to
        earlier times, the second to extrapolate to later times (see `initial_states`)."""
        paths = self.paths(poses[None], times[None], torch.tensor([len(times)]), exact)
        (_, start_state), (skipped, end_state) = self.initial_states(paths), self.initial_states(paths, last=True)
        first_time = float(times[0])
        return (first_time, start_state[0]), (first_time + int(skipped[0]) * paths.spacing, end_state[0])

    def initial_states(self, paths: SampledPaths, last: bool = False) -> tuple[Tensor, Tensor]:
        """For each path the time index `[S]` and the state `[S, 2 d]` at the start of its first segment, or of its
        `last` one. The solution from this state is the best fit to the segment: the rates of a smoothed path are least
        certain at its ends, so they are not used directly."""
        length = self.config.final_segment if self.fitted else float(self.segment)
        minimum = self.config.min_times * self.config.steps_per_interval
        spans = (paths.counts - 1).clamp_max(max(minimum, round(length / paths.spacing)))
        skipped = paths.counts - 1 - spans if last else torch.zeros_like(spans)
        states = torch.zeros(len(paths.q), 2 * self.manifold.size, dtype=torch.float64)
        if self.manifold.size:
            for span in spans.unique().tolist():  # all paths at once, except those shorter than a segment
                rows = (spans == span).nonzero()[:, 0]
                q, v = paths.cut(rows, skipped[rows], span)
                settings = self.config.initial_states
                states[rows], _ = fit_initial_states(self.ode, q, v, paths.spacing, span, settings)
        return skipped, states

    def use_member(self, member: int) -> None:
        """Sets the weights of `solve` to those of a member of the ensemble; 0 is the most likely one."""
        self.ode.set_last_layer(self.ensemble_weights[member])


def _stop_diverged(ode: Rate, max_coordinate: float) -> Rate:
    """The right-hand side, or 0 where a coordinate exceeds `max_coordinate`. A diverged solution then stays constant,
    and does not depend on which times are requested."""

    def rate(time: Tensor, state: Tensor) -> Tensor:
        q = state[..., : state.shape[-1] // 2]
        return torch.where((q.abs() <= max_coordinate).all(-1, keepdim=True), ode(time, state), 0.0)

    return rate


def check_counts(counts: Tensor, minimum: int, names: Sequence[str] = ()) -> None:
    """Raises `UserError` if a sequence has fewer times than `minimum`; it is named where `names` of all are given."""
    if int(counts.min()) < minimum:
        one = f"'{names[int(counts.argmin())]}'" if names else "one"
        raise UserError(
            f"dynamics are learned from sequences of {minimum} training times or more, and {one} has "
            f"{int(counts.min())}: give more frames, or a larger --observe-until."
        )


def _median_interval(times: Tensor, counts: Tensor) -> float:
    steps = torch.cat([times[s, :n].diff() for s, n in enumerate(counts.tolist())])
    return float(steps.median())
