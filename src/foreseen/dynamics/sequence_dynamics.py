"""The motion of one sequence: which model extrapolates it, and the states that extrapolations start from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from foreseen.dynamics.ball_motion import BallMotion, BallParameters
from foreseen.dynamics.config import DynamicsConfig
from foreseen.dynamics.learned import LearnedDynamics
from foreseen.nn.cpu_module import CPUModule, on_cpu
from foreseen.nn.threads import one_thread

Solver = Callable[[Tensor, float, Tensor], Tensor]


class SequenceDynamics(CPUModule):
    """Dynamics of one sequence, or constant velocity, and two initial states: one follows the start of the window best
    and is solved backwards, the other follows its end and is solved forwards.

    A single sequence may show too little to fit dynamics, or follow none. So the models are compared on the last part
    of the window, after a fit to the first part: dynamics with hidden units, linear dynamics, constant velocity, and
    impacts if the poses are those of balls (`SelectionConfig`).

    Poses are `[..., P]` float64 on the CPU; time runs from 0 to 1 over the window.

    Args:
        pose_size: P.
        balls: number of bodies that `fit` gets parameters of (`BallParameters`), whose impacts are then tried.
    """

    initial_states: Tensor
    forecast_start: Tensor
    uses_impacts: Tensor

    def __init__(self, config: DynamicsConfig, pose_size: int, balls: int = 0) -> None:
        super().__init__()
        self.config = config
        self.dynamics = LearnedDynamics(config, pose_size)
        self.balls = BallMotion(balls, config.impacts)
        self.register_buffer("uses_impacts", torch.tensor(False))
        shape = (2, 2 * self.dynamics.manifold.maximum)
        self.register_buffer("initial_states", torch.full(shape, float("nan"), dtype=torch.float64))
        self.register_buffer("forecast_start", torch.tensor(0.0, dtype=torch.float64))

    @property
    def fitted(self) -> bool:
        """Whether the motion can be extrapolated."""
        return not bool(self.initial_states.isnan().any())

    @on_cpu
    @torch.no_grad()
    def fit(self, poses: Tensor, balls: BallParameters | None = None) -> None:
        """Fits to `poses` `[N, P]` at even times 0..1; `balls`: their parameters, if the parts may collide."""
        with one_thread():
            self._fit(poses, balls)

    def _fit(self, poses: Tensor, balls: BallParameters | None) -> None:
        dynamics, times = self.dynamics, torch.linspace(0, 1, len(poses), dtype=torch.float64)
        linear_only, errors = self._choose_dynamics(poses, times)
        self.uses_impacts.fill_(balls is not None and self._impacts_forecast_better(poses, balls, linear_only, errors))
        if bool(self.uses_impacts) or linear_only is None or not self._fits(dynamics, poses, times, linear_only):
            dynamics.fit_constant_velocity(poses, times, self.config.constant_velocity)
        (_, start_state), (forecast_start, end_state) = dynamics.forecast_states(poses, times, exact=False)
        self.initial_states.zero_()
        self.initial_states[:, : len(start_state)] = torch.stack([start_state, end_state])
        self.forecast_start.fill_(forecast_start)

    def _fits(self, dynamics: LearnedDynamics, poses: Tensor, times: Tensor, linear_only: bool) -> bool:
        """Fits the dynamics; returns whether they follow the poses."""
        try:
            dynamics.fit(poses[None], times[None], torch.tensor([len(poses)]), exact=False, linear_only=linear_only)
        except torch.linalg.LinAlgError:  # equations may be singular if no dynamics describe the poses
            return False
        return bool(dynamics.misfit <= self.config.selection.max_misfit)

    def _choose_dynamics(self, poses: Tensor, times: Tensor) -> tuple[bool | None, dict[bool | None, float]]:
        """Which model predicts the end of the window best: True: linear dynamics; False: with hidden units; None:
        constant velocity. And the validation error of each model."""
        c = self.config.selection
        errors: dict[bool | None, float] = {}
        for linear_only in (None, True, False):
            errors[linear_only] = self._error(poses, times, c.validation_start, linear_only)
            if linear_only and errors[True] > c.give_up_ratio * errors[None]:
                return None, errors
        best, negligible = errors[True] < c.linear_error_ratio * errors[False], c.negligible_error * _extent(poses)
        is_better = errors[best] + negligible < c.max_error_ratio * (errors[None] + negligible)
        return (best if is_better else None), errors

    def _error(self, poses: Tensor, times: Tensor, moment: float, linear_only: bool | None) -> float:
        """Root mean square error of the forecast by a model (as in `_choose_dynamics`) that was fitted to the window up
        to a moment."""
        count, end = round(moment * len(poses)), self._validation_end(moment, len(poses))
        trial = LearnedDynamics(replace(self.config, ensemble_size=0), poses.shape[1])
        if linear_only is None:
            trial.fit_constant_velocity(poses[:count], times[:count], self.config.constant_velocity)
        elif not self._fits(trial, poses[:count], times[:count], linear_only):
            return math.inf
        paths = trial.paths(poses[None, :count], times[None, :count], torch.tensor([count]), exact=False)
        skipped, states = trial.initial_states(paths, last=True)
        path = trial.solve(states[0], int(skipped) * paths.spacing, times[count:end])[:, : trial.manifold.size]
        return float((trial.manifold.decode(path) - poses[count:end]).square().mean().sqrt())

    def _validation_end(self, moment: float, count: int) -> int:
        """The number of poses up to the end of the span that is predicted from a moment; all spans are equally long."""
        return min(count, round((moment + 1 - self.config.selection.validation_start) * count))

    def _impacts_forecast_better(
        self, poses: Tensor, balls: BallParameters, linear_only: bool | None, errors: dict[bool | None, float]
    ) -> bool:
        """Whether impacts predict the window better than the better one of constant velocity and smooth dynamics, in
        the geometric mean over several moments. If so, they are fitted afterwards."""
        c = self.config.selection
        if len(poses) < c.min_impact_poses:
            return False
        self.balls.fit(poses, balls)
        if not self.balls.impacts.fitted or self.balls.impacts.misfit > c.max_misfit:
            return False
        times, log_ratios = torch.linspace(0, 1, len(poses), dtype=torch.float64), []
        negligible = c.negligible_error * _extent(poses)
        for moment in c.impact_validation_starts:
            error = self._impacts_error(poses, times, balls, moment)
            if error is None:
                return False
            others = (
                errors
                if moment == c.validation_start
                else {model: self._error(poses, times, moment, model) for model in {None, linear_only}}
            )
            log_ratios.append(math.log((error + negligible) / (min(others.values()) + negligible)))
        return sum(log_ratios) / len(log_ratios) < math.log(c.max_error_ratio)

    def _impacts_error(self, poses: Tensor, times: Tensor, balls: BallParameters, moment: float) -> float | None:
        """As `_error`, by impacts; None if they cannot be fitted to the window up to the moment."""
        count, end = round(moment * len(poses)), self._validation_end(moment, len(poses))
        trial = BallMotion(len(balls.radii), self.config.impacts)
        trial.fit(poses[:count], balls.until(count, len(poses), self.config.impacts.min_smoother_weight))
        if not trial.impacts.fitted:
            return None
        ahead = trial.extrapolate(times[count:end] / times[count - 1])
        return float((ahead - poses[count:end]).square().mean().sqrt())

    @on_cpu
    def extrapolate(self, times: Tensor) -> Tensor:
        """Poses `[T, P]` at `times` `[T]` outside of 0..1, any order."""
        if self.uses_impacts:
            return self.balls.extrapolate(times)
        return self._poses(self.dynamics.solve, times)

    @on_cpu
    def ensemble(self, times: Tensor) -> Tensor:
        """As `extrapolate`, by all members of the ensemble, `[T, E, P]`; the first one is the most likely. The dynamics
        must be fitted."""
        count = len(self.dynamics.ensemble_weights)

        def solve(state: Tensor, start: float, times: Tensor) -> Tensor:
            return self.dynamics.solve_ensemble(state.expand(count, -1), start, times)

        return self._poses(solve, times)

    def _poses(self, solve: Solver, times: Tensor) -> Tensor:
        size, before = self.dynamics.manifold.size, times < 0
        begin, end = self.initial_states[:, : 2 * size]
        sides = (self._earlier(solve, begin, times[before]), solve(end, float(self.forecast_start), times[~before]))
        path = sides[1].new_empty(len(times), *sides[1].shape[1:])
        path[before], path[~before] = sides
        return self.dynamics.manifold.decode(path[..., :size])

    def _earlier(self, solve: Solver, begin: Tensor, times: Tensor) -> Tensor:
        """States at times before the window. Without dynamics these move at the mean velocity of the first segment:
        backwards in time, a drag would accelerate them without bound."""
        segment = self.dynamics.segment
        if self.dynamics.fitted or not segment:
            return solve(begin, 0.0, times)
        q, _ = begin.chunk(2, dim=-1)
        later, _ = solve(begin, 0.0, segment[None]).chunk(2, dim=-1)
        rate = (later[0] - q) / segment
        return torch.cat([q + rate * times[:, None], rate.expand(len(times), -1)], dim=-1)


def _extent(poses: Tensor) -> float:
    """Root mean square deviation of the poses from their mean."""
    return float((poses - poses.mean(0)).square().mean().sqrt())
