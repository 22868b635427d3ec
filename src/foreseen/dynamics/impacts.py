"""The law of balls that fly, roll and collide: found from their paths, rolled out past them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from foreseen.dynamics.collisions import WIDTH, CollisionWorld, roll_out
from foreseen.dynamics.contacts import body_impacts, find_intangible, impact_events, restitutions, walls
from foreseen.dynamics.multiple_shooting import (
    MAX_SEGMENTS,
    SEGMENT_TIMES,
    MultipleShooting,
    TypicalScales,
    WorldParameters,
)
from foreseen.dynamics.piecewise_paths import PathSampling, PiecewisePath, find_gravity
from foreseen.errors import UserError

MAX_WALLS = 12
MAX_VELOCITY_JUMPS = 20
SETTLING_TIME = 4e-3
"""A bounce that takes less time than this is none, in windows."""
MAX_MISS, MAX_MISS_SHARE = 0.4, 0.75
"""A body goes on by its own if the law is not within so many radii of it for so large a share of the times."""
LAST_POSITIONS = 6
"""It does so as its last so many places lead."""
MIN_WEIGHT = 1e-3
"""Weights that are no greater do not count where what was seen is cut off."""
MISFIT_SHARE = 0.9
"""Share of the times, those that are followed best, that the misfit is of."""
MIN_NOISE = 2e-3
"""Places are known no better than to this share of the paths' extent, for a real impact is no moment."""
MIN_TIMES = 8
"""Paths with fewer times say too little of impacts."""


@dataclass(frozen=True)
class PathSmoother:
    """What was seen at T times are means, by `weights` `[T, M]`, of true places at `times` `[M]`, which ascend from the
    first of the T times to the last one or beyond."""

    times: Tensor
    weights: Tensor

    def until(self, count: int, scale: float) -> PathSmoother:
        """For the first `count` of what was seen; times are multiplied by `scale`."""
        weights = self.weights[:count]
        requested = int((weights.abs().amax(0) > MIN_WEIGHT).nonzero().max()) + 1
        return PathSmoother(self.times[:requested] * scale, weights[:, :requested])


class ImpactDynamics(nn.Module):
    """K balls that fall, lose speed to a drag, roll, and strike one another and walls, which are planes.

    Everything is found from the paths: gravity, drag, friction, restitution, walls, the radii by which balls touch.
    After the window the solution starts from the state that follows its last stretch best. Before it, time runs
    backwards without any loss: how much was lost is not known, and what rests may have come from anywhere. Bodies that
    go through others (shadows), and those that no such law follows, touch nothing.

    Args:
        balls: K.
    """

    bodies: Tensor
    planes: Tensor
    constants: Tensor
    states: Tensor
    window: Tensor
    misfit: Tensor

    def __init__(self, balls: int) -> None:
        super().__init__()
        self.balls = balls

        shapes = {
            "bodies": (balls, 4),  # radius, mass, share of gravity, whether it touches
            "planes": (MAX_WALLS, 5),  # normal, offset, restitution; what is no wall is 0
            "constants": (6,),  # gravity, drag, friction, restitution of two balls
            "states": (2, balls, WIDTH),  # at the window's ends
            "window": (2,),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("misfit", torch.tensor(float("inf"), dtype=torch.float64))

    @property
    def fitted(self) -> bool:
        """Whether there is a law that follows at least one of the balls."""
        return bool(self.misfit.isfinite())

    @property
    def world(self) -> CollisionWorld:
        """What was found; time runs from 0 to 1 over the window."""
        planes = self.planes[self.planes.any(1)].numpy()
        radii, masses, weights, solid = self.bodies.numpy().T.copy()
        drag, friction, restitution = self.constants[3:].tolist()
        return CollisionWorld(
            radii, masses, weights, solid > 0, self.constants[:3].numpy(), drag, friction, restitution,
            planes[:, :3].copy(), planes[:, 3].copy(), planes[:, 4].copy(), SETTLING_TIME,
        )  # fmt: skip

    @torch.no_grad()
    def fit(self, times: Tensor, centres: Tensor, radii: Tensor, smoother: PathSmoother | None = None) -> None:
        """Finds the law. Where there is none, it is not `fitted` afterwards.

        Args:
            times: `[T]` float64, ascending.
            centres: `[T, K, 3]` at these times.
            radii: `[K]` of the balls, roughly.
            smoother: how `centres` come from what was, as a spline's places do; None where they were seen as they are.

        Raises:
            UserError: shapes do not fit, or numbers are not finite.
        """
        _check(times, centres, radii, self.balls)
        for buffer in self.buffers():
            buffer.zero_()
        self.misfit.fill_(float("inf"))
        if len(times) < MIN_TIMES or self.balls == 0:
            return
        first, last = times[0], times[-1]
        unit = ((times - first) / (last - first)).numpy()
        weights, fine = np.eye(len(unit)), unit
        if smoother is not None:
            weights, fine = smoother.weights.double().numpy(), ((smoother.times - first) / (last - first)).numpy()
        paths = centres.double().numpy()
        try:
            found = fit_impacts(PathSampling(unit, fine, weights), paths, radii.double().numpy())
        except np.linalg.LinAlgError:  # paths that are no motion of balls may leave equations without a solution
            return
        if found is not None:
            self._keep(found)
            self.window.copy_(torch.stack([first, last]))

    def describe(self) -> str:
        """What was found, such as "2 walls, restitution 0.85, misfit 1.2%"."""
        world = self.world
        count = len(world.offsets)
        alone = int((~world.collides).sum())
        return (
            f"{count} wall{'' if count == 1 else 's'}, restitution {np.mean([world.restitution, *world.bounces]):.2f}, "
            + (f"{alone} of {self.balls} parts touch nothing, " if alone else "")
            + f"misfit {float(self.misfit):.2%}"
        )

    def _keep(self, found: ImpactFit) -> None:
        world, planes = found.world, np.zeros((MAX_WALLS, 5))
        planes[: len(world.offsets)] = np.column_stack([world.normals, world.offsets, world.bounces])
        self.planes.copy_(torch.from_numpy(planes))
        self.bodies.copy_(torch.from_numpy(np.column_stack([world.radii, world.masses, world.weights, world.collides])))
        self.constants.copy_(torch.tensor([*world.gravity, world.drag, world.friction, world.restitution]))
        self.states.copy_(torch.from_numpy(np.stack([found.first_state, found.last_state])))
        self.misfit.fill_(found.misfit)

    @torch.no_grad()
    def extrapolate(self, times: Tensor) -> Tensor:
        """Places `[N, K, 3]` at `times` `[N]`, any order. Inside the window this is the solution from its beginning."""
        first, last = self.window.tolist()
        t = ((times.double() - first) / (last - first)).numpy()
        out = np.empty((len(t), self.balls, 3))
        begin, end = self.states.numpy()
        back = begin.copy()
        back[:, 3:] *= -1
        world = self.world
        lossless = world._replace(drag=0.0, friction=0.0, restitution=1.0, bounces=np.ones_like(world.bounces))
        for here, since, start, dynamics in (
            (t < 0, -t, back, lossless),
            ((t >= 0) & (t < 1), t, begin, world),
            (t >= 1, t - 1, end, world),
        ):
            if here.any():
                line, order = np.unique(since[here], return_inverse=True)
                out[here] = roll_out(start, line, dynamics)[0][order, :, :3]
        return torch.from_numpy(out)


@dataclass(frozen=True)
class ImpactFit:
    """The world that paths show, the states `[K, WIDTH]` at the window's ends, and how well paths are followed: what is
    left over the paths' own deviation (root mean squares), without each path's worst times (`MISFIT_SHARE`)."""

    world: CollisionWorld
    first_state: np.ndarray
    last_state: np.ndarray
    misfit: float


def fit_impacts(path_sampling: PathSampling, paths: np.ndarray, radii: np.ndarray) -> ImpactFit | None:
    """The world that `paths` `[N, K, 3]` of bodies with `radii` `[K]` show; None where none follows a single body."""
    gravity_scale, piecewise_paths = find_gravity(
        path_sampling, paths, max(4, min(MAX_VELOCITY_JUMPS, path_sampling.degrees_of_freedom // 2))
    )
    sizes = _sizes(piecewise_paths, paths, radii)
    world, lost = _guess(path_sampling, piecewise_paths, paths, radii, gravity_scale), np.zeros(len(radii), bool)
    for _ in range(2):
        world = world._replace(collides=world.collides & ~lost, weights=np.where(lost, 0.0, world.weights))
        constants = WorldParameters(world, sizes)
        cuts = _cuts(path_sampling, piecewise_paths)
        shooting = MultipleShooting(
            path_sampling,
            paths,
            cuts,
            _impulses(path_sampling, piecewise_paths, cuts),
            constants,
            np.where(lost, 1e-3, 1.0),
        )
        theta, starts, solved = shooting.fit(_starts(shooting, world, piecewise_paths))
        left = shooting.path_residuals(solved)
        off = np.quantile(np.linalg.norm(left, axis=-1), MAX_MISS_SHARE, axis=0) > MAX_MISS * radii
        if not (off & ~lost).any():
            break
        lost |= off
    if lost.all():
        return None
    begin, end = starts[0].copy(), shooting.at(theta, starts, float(path_sampling.times[-1]))
    for k in np.flatnonzero(lost):
        for state, few in ((begin, slice(None, LAST_POSITIONS)), (end, slice(-LAST_POSITIONS, None))):
            slope = np.polyfit(path_sampling.times[few], paths[few, k], 1)[0]
            state[k, :3], state[k, 3:] = paths[few, k][0 if state is begin else -1], [*slope, 0, 0, 0]
    squares, deviation = np.sort(np.square(left[:, ~lost]).sum(-1), axis=0), paths[:, ~lost] - paths[:, ~lost].mean(0)
    maximum = squares[: max(1, round(MISFIT_SHARE * len(squares)))]
    misfit = np.sqrt(maximum.mean() / max(np.square(deviation).sum(-1).mean(), 1e-300))
    return ImpactFit(constants.world(theta), begin, end, float(misfit))


def _sizes(piecewise_paths: list[PiecewisePath], paths: np.ndarray, radii: np.ndarray) -> TypicalScales:
    noise = np.sqrt(np.median([np.median(np.square(c.residual).sum(1)) / 2.37 for c in piecewise_paths]))
    rates = np.array([[c.rate(t) for t in np.linspace(0.05, 0.95, 19)] for c in piecewise_paths])
    extent = max(float(np.ptp(paths, axis=0).max()), 1e-9)
    speed = float(np.sqrt(np.square(rates).sum(-1).mean()))
    return TypicalScales(max(float(noise), MIN_NOISE * extent), speed + 1e-3 * extent, float(radii.mean()))


def _check(times: Tensor, centres: Tensor, radii: Tensor, balls: int) -> None:
    if centres.shape != (len(times), balls, 3) or radii.shape != (balls,):
        raise UserError(
            f"impacts: centres {list(centres.shape)} and radii {list(radii.shape)} must be [{len(times)}, {balls}, 3] "
            f"and [{balls}]: one row for each time, one ball for each radius."
        )
    for name, values in (("times", times), ("centres", centres), ("radii", radii)):
        if not bool(values.isfinite().all()):
            raise UserError(f"impacts: {name} hold a number that is not finite: leave these times out.")
    if bool((times.diff() <= 0).any()) or bool((radii <= 0).any()):
        raise UserError("impacts: times must ascend and radii be positive.")


def _guess(
    seen: PathSampling,
    piecewise_paths: list[PiecewisePath],
    paths: np.ndarray,
    radii: np.ndarray,
    gravity_scale: np.ndarray,
) -> CollisionWorld:
    found = impact_events(piecewise_paths, float(np.diff(seen.fine_times).mean()))
    pairs = body_impacts(found, piecewise_paths, radii)
    explained = {id(s) for s, _ in pairs}
    held, through = (
        np.array([c.rest_time == 0 for c in piecewise_paths]),
        find_intangible(piecewise_paths, paths, radii),
    )
    inside = ~(held | through)  # shadows lie in walls
    told = [s for s in found if id(s) not in explained and not through[s.body]]
    planes = walls(told, paths, radii, gravity_scale, inside if inside.any() else ~inside)[:MAX_WALLS]
    speeds = [one for plane in planes for one in restitutions(plane) if one[0] > 0]
    speeds = sorted(speeds, reverse=True)[: max(3, len(speeds) // 2)]
    bounce = float(np.clip(np.median([e for _, e in speeds]), 0.1, 0.98)) if speeds else 0.7
    factor = float(np.median([q for _, q in pairs])) if pairs else 1.0
    size = radii * factor
    normals = np.array([p.normal for p in planes]).reshape(-1, 3)
    offsets = np.array([p.offset + (1 - factor) * float(radii.mean()) for p in planes])
    return CollisionWorld(
        size, size**3, np.where(held, 0.0, 1.0), ~through, gravity_scale, 0.01, 0.2, bounce,
        normals, offsets, np.full(len(planes), bounce), SETTLING_TIME,
    )  # fmt: skip


def _cuts(seen: PathSampling, piecewise_paths: list[PiecewisePath]) -> np.ndarray:
    """Where stretches meet: at even distances about, as far from kinks as can be."""
    count = max(1, min(MAX_SEGMENTS, round(len(seen.fine_times) / SEGMENT_TIMES)))
    kinks = np.concatenate([c.times for c in piecewise_paths] + [[-1.0]])
    length = (seen.fine_times[-1] - seen.fine_times[0]) / count
    cuts = []
    for middle in seen.fine_times[0] + length * np.arange(1, count):
        tried = middle + length * np.linspace(-0.3, 0.3, 13)
        cuts.append(tried[np.abs(tried[:, None] - kinks).min(1).argmax()])
    return np.array(cuts)


def _impulses(seen: PathSampling, piecewise_paths: list[PiecewisePath], cuts: np.ndarray) -> np.ndarray:
    """`[S - 1, K]`: the sum of all jumps of velocity in each stretch but the last."""
    edges = np.concatenate([[seen.fine_times[0]], cuts])
    within = [(c.times >= a) & (c.times < b) for a, b in pairwise(edges) for c in piecewise_paths]
    sums = [
        float(np.linalg.norm(c.velocity_jumps[here], axis=1).sum())
        for here, c in zip(within, piecewise_paths * len(cuts))
    ]
    return np.array(sums).reshape(len(cuts), len(piecewise_paths))


def _starts(shooting: MultipleShooting, world: CollisionWorld, piecewise_paths: list[PiecewisePath]) -> np.ndarray:
    """First guesses of the states: places and velocities of the courses, spins as the impacts make them."""
    spins, starts = np.zeros((len(piecewise_paths), 3)), []
    for index, time in enumerate(shooting.edges[:-1]):
        places = np.array([c.at(np.array([time]))[0] for c in piecewise_paths])
        start = np.concatenate([places, np.array([c.rate(time) for c in piecewise_paths]), spins], axis=1)
        starts.append(start)
        spins = shooting.segment(world, index, start)[-1][:, 6:]
    return np.array(starts)
