"""The motion of one sequence: which law its trajectory bears, and where forecasts start from."""

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

VALIDATION_START = 0.85
"""Laws are tried on what follows this share of the window, which they are then not fitted to."""
MAX_ERROR_RATIO = 0.75
"""A law is taken that foretells that with less than this share of the error of coasting, ..."""
GIVE_UP_RATIO = 2.0
"""... and no more is tried where the plain law's error is so many times that of coasting."""
LINEAR_ERROR_RATIO = 0.9
"""The plain law is taken where its error is less than this share of the other one's."""
MAX_MISFIT = 0.15
"""A law must follow stretches of the window to this misfit (root mean square, of q of unit variance)."""
VALIDATION_STARTS = (0.55, 0.7, VALIDATION_START)
"""Where bodies may collide, laws are tried from all these shares of the window on: in one stretch there may be no
impact, or one too many."""
MIN_IMPACT_POSES = 24
"""So few poses say nothing of impacts, and a fit to them takes long."""
NEGLIGIBLE_ERROR = 0.02
"""Errors below this share of the motion's usual size say no more which of two laws is better."""


class SequenceDynamics(CPUModule):
    """A law, or coasting, and the two states that forecasts start from: the one follows the beginning of the window
    best and leads back from it, the other one its end.

    One sequence may say too little of a law, or follow none. So what is fitted to the first part of the window has to
    foretell the last one: the law with its hidden units, without them, or no force at all, whichever does best; or
    impacts, where the poses are those of balls.

    Poses are `[..., P]` float64 on the CPU; time runs from 0 to 1 over the window.

    Args:
        poses: P.
        balls: how many bodies `fit` is told of (`BallParameters`), whose impacts are then thought of.
    """

    initial_states: Tensor
    forecast_start: Tensor
    uses_impacts: Tensor

    def __init__(self, config: DynamicsConfig, poses: int, balls: int = 0) -> None:
        super().__init__()
        self.dynamics = LearnedDynamics(config, poses)
        self.balls = BallMotion(balls)
        self.register_buffer("uses_impacts", torch.tensor(False))
        shape = (2, 2 * self.dynamics.manifold.maximum)
        self.register_buffer("initial_states", torch.full(shape, float("nan"), dtype=torch.float64))
        self.register_buffer("forecast_start", torch.tensor(0.0, dtype=torch.float64))

    @property
    def fitted(self) -> bool:
        """Whether forecasts can start."""
        return not bool(self.initial_states.isnan().any())

    @on_cpu
    @torch.no_grad()
    def fit(self, poses: Tensor, balls: BallParameters | None = None) -> None:
        """To `poses` `[N, P]` at even times 0..1; `balls`: whose they are, where they may collide."""
        with one_thread():
            self._fit(poses, balls)

    def _fit(self, poses: Tensor, balls: BallParameters | None) -> None:
        dynamics, times = self.dynamics, torch.linspace(0, 1, len(poses), dtype=torch.float64)
        linear_only, errors = self._choose_dynamics(poses, times)
        self.uses_impacts.fill_(balls is not None and self._impacts_forecast_better(poses, balls, linear_only, errors))
        if bool(self.uses_impacts) or linear_only is None or not self._fits(dynamics, poses, times, linear_only):
            dynamics.fit_constant_velocity(poses, times)
        (_, begin), (forecast_start, end) = dynamics.forecast_states(poses, times, exact=False)
        self.initial_states.zero_()
        self.initial_states[:, : len(begin)] = torch.stack([begin, end])
        self.forecast_start.fill_(forecast_start)

    @staticmethod
    def _fits(dynamics: LearnedDynamics, poses: Tensor, times: Tensor, linear_only: bool) -> bool:
        """Fits the law; whether there is one."""
        try:
            dynamics.fit(poses[None], times[None], torch.tensor([len(poses)]), exact=False, linear_only=linear_only)
        except torch.linalg.LinAlgError:  # where a law is no description, equations may have no solution
            return False
        return bool(dynamics.misfit <= MAX_MISFIT)

    def _choose_dynamics(self, poses: Tensor, times: Tensor) -> tuple[bool | None, dict[bool | None, float]]:
        """Whether the law that foretells the window's end is plain, None where coasting is better; and the errors."""
        errors: dict[bool | None, float] = {}
        for linear_only in (None, True, False):
            errors[linear_only] = self._error(poses, times, VALIDATION_START, linear_only)
            if linear_only and errors[True] > GIVE_UP_RATIO * errors[None]:
                return None, errors
        linear_only, small = errors[True] < LINEAR_ERROR_RATIO * errors[False], NEGLIGIBLE_ERROR * _extent(poses)
        return (linear_only if errors[linear_only] + small < MAX_ERROR_RATIO * (errors[None] + small) else None), errors

    def _error(self, poses: Tensor, times: Tensor, moment: float, linear_only: bool | None) -> float:
        """Root mean square error of what a law (None: coasting) that knows the window up to a moment foretells."""
        known, end = round(moment * len(poses)), _end(moment, len(poses))
        trial = LearnedDynamics(replace(self.dynamics.config, ensemble_size=0), poses.shape[1])
        if linear_only is None:
            trial.fit_constant_velocity(poses[:known], times[:known])
        elif not self._fits(trial, poses[:known], times[:known], linear_only):
            return math.inf
        paths = trial.paths(poses[None, :known], times[None, :known], torch.tensor([known]), exact=False)
        skipped, states = trial.initial_states(paths, last=True)
        path = trial.solve(states[0], int(skipped) * paths.spacing, times[known:end])[:, : trial.manifold.size]
        return float((trial.manifold.decode(path) - poses[known:end]).square().mean().sqrt())

    def _impacts_forecast_better(
        self, poses: Tensor, balls: BallParameters, linear_only: bool | None, errors: dict[bool | None, float]
    ) -> bool:
        """Whether impacts foretell the window better, in the geometric mean over several moments, than the better one
        of coasting and the smooth law. They are fitted if so."""
        if len(poses) < MIN_IMPACT_POSES:
            return False
        self.balls.fit(poses, balls)
        if not self.balls.impacts.fitted or self.balls.impacts.misfit > MAX_MISFIT:
            return False
        times, trial, ratios = torch.linspace(0, 1, len(poses), dtype=torch.float64), BallMotion(len(balls.radii)), []
        small = NEGLIGIBLE_ERROR * _extent(poses)
        for moment in VALIDATION_STARTS:
            known, end = round(moment * len(poses)), _end(moment, len(poses))
            trial.fit(poses[:known], balls.until(known, len(poses)))
            if not trial.impacts.fitted:
                return False
            ahead = trial.extrapolate(times[known:end] / times[known - 1])
            error = float((ahead - poses[known:end]).square().mean().sqrt())
            others = (
                errors
                if moment == VALIDATION_START
                else {p: self._error(poses, times, moment, p) for p in {None, linear_only}}
            )
            ratios.append(math.log((error + small) / (min(others.values()) + small)))
        return sum(ratios) / len(ratios) < math.log(MAX_ERROR_RATIO)

    @on_cpu
    def extrapolate(self, times: Tensor) -> Tensor:
        """Poses `[T, P]` at `times` `[T]` outside of 0..1, any order."""
        if self.uses_impacts:
            return self.balls.extrapolate(times)
        return self._poses(self.dynamics.solve, times)

    @on_cpu
    def ensemble(self, times: Tensor) -> Tensor:
        """As `extrapolate`, by the law and by the others that the window leaves possible: `[T, E, P]`."""
        count = len(self.dynamics.ensemble_weights)

        def solve(state: Tensor, start: float, times: Tensor) -> Tensor:
            return self.dynamics.solve_ensemble(state.expand(count, -1), start, times)

        return self._poses(solve, times)

    def _poses(self, solve: Callable[[Tensor, float, Tensor], Tensor], times: Tensor) -> Tensor:
        size, before = self.dynamics.manifold.size, times < 0
        begin, end = self.initial_states[:, : 2 * size]
        sides = (self._earlier(solve, begin, times[before]), solve(end, float(self.forecast_start), times[~before]))
        path = sides[1].new_empty(len(times), *sides[1].shape[1:])
        path[before], path[~before] = sides
        return self.dynamics.manifold.decode(path[..., :size])

    def _earlier(self, solve: Callable[[Tensor, float, Tensor], Tensor], begin: Tensor, times: Tensor) -> Tensor:
        """Solutions that lead back from the window's beginning. What coasts goes straight back, as fast as it went on
        average over the first stretch: against time a drag would make it faster and faster."""
        segment = self.dynamics.segment
        if self.dynamics.fitted or not segment:
            return solve(begin, 0.0, times)
        place, _ = begin.chunk(2, dim=-1)
        later, _ = solve(begin, 0.0, segment[None]).chunk(2, dim=-1)
        rate = (later[0] - place) / segment
        return torch.cat([place + rate * times[:, None], rate.expand(len(times), -1)], dim=-1)


def _extent(poses: Tensor) -> float:
    """Root mean square of how far poses are from their middle."""
    return float((poses - poses.mean(0)).square().mean().sqrt())


def _end(moment: float, count: int) -> int:
    """How many of the poses there are until the end of what is foretold from a moment on."""
    return min(count, round((moment + 1 - VALIDATION_START) * count))
