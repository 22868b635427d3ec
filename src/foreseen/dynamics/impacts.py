"""Dynamics of balls that fly, roll and collide: fitted to their paths, and extrapolated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from foreseen.dynamics.collisions import WIDTH, CollisionWorld, roll_out
from foreseen.dynamics.impact_fit import ImpactFit, fit_impacts
from foreseen.dynamics.impacts_config import ImpactsConfig
from foreseen.dynamics.piecewise_paths import PathSampling
from foreseen.errors import UserError


@dataclass(frozen=True)
class PathSmoother:
    """How T observed positions follow from the true ones: as means, with `weights` `[T, M]`, of true positions at
    `times` `[M]`. These ascend from the first of the T times to the last one or beyond."""

    times: Tensor
    weights: Tensor

    def until(self, count: int, scale: float, min_weight: float) -> PathSmoother:
        """For the first `count` observed positions, without true positions whose weights do not exceed `min_weight`;
        times are multiplied by `scale`."""
        weights = self.weights[:count]
        used = int((weights.abs().amax(0) > min_weight).nonzero().max()) + 1
        return PathSmoother(self.times[:used] * scale, weights[:, :used])


class ImpactDynamics(nn.Module):
    """K balls that fall, lose speed by drag, roll, and collide with one another and with walls, which are planes.

    All constants are fitted to the paths: gravity, drag, friction, restitution, walls, and radii. After the window, the
    solution continues from the state that fits its last segment best. Before the window, time runs backwards without
    any loss of energy, as the loss is unknown. Bodies that pass through others (shadows), and bodies that the dynamics
    do not fit, touch nothing.

    Args:
        balls: K.
    """

    bodies: Tensor
    planes: Tensor
    constants: Tensor
    states: Tensor
    window: Tensor
    misfit: Tensor

    def __init__(self, balls: int, config: ImpactsConfig) -> None:
        super().__init__()
        self.balls, self.config = balls, config

        shapes = {
            "bodies": (balls, 4),  # radius, mass, share of gravity, whether it touches anything
            "planes": (config.max_walls, 5),  # normal, offset, restitution; unused rows are 0
            "constants": (6,),  # gravity, drag, friction, restitution of two balls
            "states": (2, balls, WIDTH),  # at the start and the end of the window
            "window": (2,),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("misfit", torch.tensor(float("inf"), dtype=torch.float64))

    @property
    def fitted(self) -> bool:
        """Whether the dynamics fit at least one of the balls."""
        return bool(self.misfit.isfinite())

    @property
    def world(self) -> CollisionWorld:
        """The fitted world; time runs from 0 to 1 over the window."""
        planes = self.planes[self.planes.any(1)].numpy()
        radii, masses, weights, collides = self.bodies.numpy().T.copy()
        drag, friction, restitution = self.constants[3:].tolist()
        limits = self.config.solver
        return CollisionWorld(
            radii, masses, weights, collides > 0, self.constants[:3].numpy(), drag, friction, restitution,
            planes[:, :3].copy(), planes[:, 3].copy(), planes[:, 4].copy(),
            limits.settling_time, limits.level_slope, limits.search_step, limits.max_events,
        )  # fmt: skip

    @torch.no_grad()
    def fit(self, times: Tensor, centres: Tensor, radii: Tensor, smoother: PathSmoother | None = None) -> None:
        """Fits the dynamics. If the paths are not those of balls, it is not `fitted` afterwards.

        Args:
            times: `[T]` float64, ascending.
            centres: `[T, K, 3]` at these times.
            radii: `[K]` of the balls, approximate.
            smoother: how `centres` follow from the true positions, such as those of a spline; None if they were
                observed directly.

        Raises:
            UserError: shapes do not fit, or numbers are not finite.
        """
        _check(times, centres, radii, self.balls)
        for buffer in self.buffers():
            buffer.zero_()
        self.misfit.fill_(float("inf"))
        if len(times) < self.config.min_times or self.balls == 0:
            return
        first, last = times[0], times[-1]
        window_times = ((times - first) / (last - first)).numpy()
        weights, fine_times = np.eye(len(window_times)), window_times
        if smoother is not None:
            weights, fine_times = smoother.weights.double().numpy(), ((smoother.times - first) / (last - first)).numpy()
        paths, sampling = centres.double().numpy(), PathSampling(window_times, fine_times, weights)
        try:
            fit = fit_impacts(sampling, paths, radii.double().numpy(), self.config)
        except np.linalg.LinAlgError:  # equations may be singular if the paths are not those of balls
            return
        if fit is not None:
            self._keep(fit)
            self.window.copy_(torch.stack([first, last]))

    def describe(self) -> str:
        """The fit in words, such as "2 walls, restitution 0.85, misfit 1.2%"."""
        world = self.world
        count = len(world.offsets)
        alone = int((~world.collides).sum())
        return (
            f"{count} wall{'' if count == 1 else 's'}, restitution {np.mean([world.restitution, *world.bounces]):.2f}, "
            + (f"{alone} of {self.balls} parts touch nothing, " if alone else "")
            + f"misfit {float(self.misfit):.2%}"
        )

    def _keep(self, fit: ImpactFit) -> None:
        world, planes = fit.world, np.zeros(tuple(self.planes.shape))
        planes[: len(world.offsets)] = np.column_stack([world.normals, world.offsets, world.bounces])
        self.planes.copy_(torch.from_numpy(planes))
        self.bodies.copy_(torch.from_numpy(np.column_stack([world.radii, world.masses, world.weights, world.collides])))
        self.constants.copy_(torch.tensor([*world.gravity, world.drag, world.friction, world.restitution]))
        self.states.copy_(torch.from_numpy(np.stack([fit.first_state, fit.last_state])))
        self.misfit.fill_(fit.misfit)

    @torch.no_grad()
    def extrapolate(self, times: Tensor) -> Tensor:
        """Positions `[N, K, 3]` at `times` `[N]`, any order. Inside the window this is the solution from its start."""
        first, last = self.window.tolist()
        t = ((times.double() - first) / (last - first)).numpy()
        out = np.empty((len(t), self.balls, 3))
        begin, end = self.states.numpy()
        back = begin.copy()
        back[:, 3:] *= -1
        world = self.world
        lossless = world._replace(drag=0.0, friction=0.0, restitution=1.0, bounces=np.ones_like(world.bounces))
        for inside, since, start, dynamics in (
            (t < 0, -t, back, lossless),
            ((t >= 0) & (t < 1), t, begin, world),
            (t >= 1, t - 1, end, world),
        ):
            if inside.any():
                ascending, order = np.unique(since[inside], return_inverse=True)
                out[inside] = roll_out(start, ascending, dynamics)[0][order, :, :3]
        return torch.from_numpy(out)


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
