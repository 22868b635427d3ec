"""The motion of one sequence: which law its trajectory bears, and where forecasts start from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from foreseen.dynamics.balls import BallMotion, Balls
from foreseen.dynamics.config import LawConfig
from foreseen.dynamics.dynamics import Dynamics
from foreseen.nn.on_cpu import OnCPU, on_cpu
from foreseen.nn.threads import one_thread

TRIED = 0.85
"""Laws are tried on what follows this share of the window, which they are then not fitted to."""
BEATEN = 0.75
"""A law is taken that foretells that with less than this share of the error of coasting, ..."""
HOPELESS = 2.0
"""... and no more is tried where the plain law's error is so many times that of coasting."""
PLAINER = 0.9
"""The plain law is taken where its error is less than this share of the other one's."""
FOLLOWED = 0.15
"""A law must follow stretches of the window to this misfit (root mean square, of q of unit variance)."""
MOMENTS = (0.55, 0.7, TRIED)
"""Where bodies may collide, laws are tried from all these shares of the window on: in one stretch there may be no
impact, or one too many."""
FEWEST = 24
"""So few poses say nothing of impacts, and a fit to them takes long."""
CLOSE = 0.02
"""Errors below this share of the motion's usual size say no more which of two laws is better."""


class Motion(OnCPU):
    """A law, or coasting, and the two states that forecasts start from: the one follows the beginning of the window
    best and leads back from it, the other one its end.

    One sequence may say too little of a law, or follow none. So what is fitted to the first part of the window has to
    foretell the last one: the law with its hidden units, without them, or no force at all, whichever does best; or
    impacts, where the poses are those of balls.

    Poses are `[..., P]` float64 on the CPU; time runs from 0 to 1 over the window.

    Args:
        poses: P.
        balls: how many bodies `fit` is told of (`Balls`), whose impacts are then thought of.
    """

    starts: Tensor
    late: Tensor
    collide: Tensor

    def __init__(self, config: LawConfig, poses: int, balls: int = 0) -> None:
        super().__init__()
        self.dynamics = Dynamics(config, poses)
        self.balls = BallMotion(balls)
        self.register_buffer("collide", torch.tensor(False))
        shape = (2, 2 * self.dynamics.manifold.most)
        self.register_buffer("starts", torch.full(shape, float("nan"), dtype=torch.float64))
        self.register_buffer("late", torch.tensor(0.0, dtype=torch.float64))

    @property
    def fitted(self) -> bool:
        """Whether forecasts can start."""
        return not bool(self.starts.isnan().any())

    @on_cpu
    @torch.no_grad()
    def fit(self, poses: Tensor, balls: Balls | None = None) -> None:
        """To `poses` `[N, P]` at even times 0..1; `balls`: whose they are, where they may collide."""
        with one_thread():
            self._fit(poses, balls)

    def _fit(self, poses: Tensor, balls: Balls | None) -> None:
        dynamics, times = self.dynamics, torch.linspace(0, 1, len(poses), dtype=torch.float64)
        plain, errors = self._tried(poses, times)
        self.collide.fill_(balls is not None and self._collide(poses, balls, plain, errors))
        if bool(self.collide) or plain is None or not self._follows(dynamics, poses, times, plain):
            dynamics.coast(poses, times)
        (_, begin), (late, end) = dynamics.ends(poses, times, exact=False)
        self.starts.zero_()
        self.starts[:, : len(begin)] = torch.stack([begin, end])
        self.late.fill_(late)

    @staticmethod
    def _follows(dynamics: Dynamics, poses: Tensor, times: Tensor, plain: bool) -> bool:
        """Fits the law; whether there is one."""
        try:
            dynamics.fit(poses[None], times[None], torch.tensor([len(poses)]), exact=False, plain=plain)
        except torch.linalg.LinAlgError:  # where a law is no description, equations may have no solution
            return False
        return bool(dynamics.misfit <= FOLLOWED)

    def _tried(self, poses: Tensor, times: Tensor) -> tuple[bool | None, dict[bool | None, float]]:
        """Whether the law that foretells the window's end is plain, None where coasting is better; and the errors."""
        errors: dict[bool | None, float] = {}
        for plain in (None, True, False):
            errors[plain] = self._error(poses, times, TRIED, plain)
            if plain and errors[True] > HOPELESS * errors[None]:
                return None, errors
        plain, small = errors[True] < PLAINER * errors[False], CLOSE * _extent(poses)
        return (plain if errors[plain] + small < BEATEN * (errors[None] + small) else None), errors

    def _error(self, poses: Tensor, times: Tensor, moment: float, plain: bool | None) -> float:
        """Root mean square error of what a law (None: coasting) that knows the window up to a moment foretells."""
        known, end = round(moment * len(poses)), _end(moment, len(poses))
        trial = Dynamics(replace(self.dynamics.config, members=0), poses.shape[1])
        if plain is None:
            trial.coast(poses[:known], times[:known])
        elif not self._follows(trial, poses[:known], times[:known], plain):
            return math.inf
        paths = trial.paths(poses[None, :known], times[None, :known], torch.tensor([known]), exact=False)
        skipped, states = trial.starts(paths, last=True)
        path = trial.solve(states[0], int(skipped) * paths.spacing, times[known:end])[:, : trial.manifold.size]
        return float((trial.manifold.decode(path) - poses[known:end]).square().mean().sqrt())

    def _collide(self, poses: Tensor, balls: Balls, plain: bool | None, errors: dict[bool | None, float]) -> bool:
        """Whether impacts foretell the window better, in the geometric mean over several moments, than the better one
        of coasting and the smooth law. They are fitted if so."""
        if len(poses) < FEWEST:
            return False
        self.balls.fit(poses, balls)
        if not self.balls.impacts.fitted or self.balls.impacts.misfit > FOLLOWED:
            return False
        times, trial, ratios = torch.linspace(0, 1, len(poses), dtype=torch.float64), BallMotion(len(balls.radii)), []
        small = CLOSE * _extent(poses)
        for moment in MOMENTS:
            known, end = round(moment * len(poses)), _end(moment, len(poses))
            trial.fit(poses[:known], balls.until(known, len(poses)))
            if not trial.impacts.fitted:
                return False
            ahead = trial.extrapolate(times[known:end] / times[known - 1])
            error = float((ahead - poses[known:end]).square().mean().sqrt())
            others = errors if moment == TRIED else {p: self._error(poses, times, moment, p) for p in {None, plain}}
            ratios.append(math.log((error + small) / (min(others.values()) + small)))
        return sum(ratios) / len(ratios) < math.log(BEATEN)

    @on_cpu
    def extrapolate(self, times: Tensor) -> Tensor:
        """Poses `[T, P]` at `times` `[T]` outside of 0..1, any order."""
        if self.collide:
            return self.balls.extrapolate(times)
        return self._poses(self.dynamics.solve, times)

    @on_cpu
    def futures(self, times: Tensor) -> Tensor:
        """As `extrapolate`, by the law and by the others that the window leaves possible: `[T, E, P]`."""
        count = len(self.dynamics.members)

        def solve(state: Tensor, start: float, times: Tensor) -> Tensor:
            return self.dynamics.futures(state.expand(count, -1), start, times)

        return self._poses(solve, times)

    def _poses(self, solve: Callable[[Tensor, float, Tensor], Tensor], times: Tensor) -> Tensor:
        size, before = self.dynamics.manifold.size, times < 0
        begin, end = self.starts[:, : 2 * size]
        sides = (self._earlier(solve, begin, times[before]), solve(end, float(self.late), times[~before]))
        path = sides[1].new_empty(len(times), *sides[1].shape[1:])
        path[before], path[~before] = sides
        return self.dynamics.manifold.decode(path[..., :size])

    def _earlier(self, solve: Callable[[Tensor, float, Tensor], Tensor], begin: Tensor, times: Tensor) -> Tensor:
        """Solutions that lead back from the window's beginning. What coasts goes straight back, as fast as it went on
        average over the first stretch: against time a drag would make it faster and faster."""
        stretch = self.dynamics.stretch
        if self.dynamics.fitted or not stretch:
            return solve(begin, 0.0, times)
        place, _ = begin.chunk(2, dim=-1)
        later, _ = solve(begin, 0.0, stretch[None]).chunk(2, dim=-1)
        rate = (later[0] - place) / stretch
        return torch.cat([place + rate * times[:, None], rate.expand(len(times), -1)], dim=-1)


def _extent(poses: Tensor) -> float:
    """Root mean square of how far poses are from their middle."""
    return float((poses - poses.mean(0)).square().mean().sqrt())


def _end(moment: float, count: int) -> int:
    """How many of the poses there are until the end of what is foretold from a moment on."""
    return min(count, round((moment + 1 - TRIED) * count))
