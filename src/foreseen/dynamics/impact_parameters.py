"""The unknown constants of a world of colliding balls, as a vector for least squares, with their prior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foreseen.dynamics.collisions import CollisionWorld
from foreseen.dynamics.impacts_config import ImpactPriorConfig


@dataclass(frozen=True)
class TypicalScales:
    """Usual sizes: of a position's error, a velocity, a radius."""

    noise: float
    velocity: float
    radius: float


class WorldParameters:
    """A world as a vector `theta` `[size]` of deviations from an initial guess.

    Its components: gravity (3), the square root of the drag, friction, restitution, a common factor of the radii, then
    radii `[K]` and densities `[K]` (logarithms), tilts `[W, 2]`, offsets `[W]` and restitutions `[W]` of the walls.
    """

    def __init__(self, guess: CollisionWorld, scales: TypicalScales, prior: ImpactPriorConfig) -> None:
        self.initial_guess, self.scales, self.prior = guess, scales, prior
        self.balls, self.walls = len(guess.radii), len(guess.offsets)
        self.tangents = np.array([np.linalg.svd(n[None])[2][1:] for n in guess.normals]).reshape(-1, 2, 3)
        self.size = 7 + 2 * self.balls + 4 * self.walls
        self.gravity_scale = max(float(np.linalg.norm(guess.gravity)), scales.velocity)
        self.first = np.zeros(self.size)
        self.first[3] = np.sqrt(guess.drag)

    def world(self, theta: np.ndarray) -> CollisionWorld:
        """The world of a vector `[size]`."""
        g, k, w = self.initial_guess, self.balls, self.walls
        radius, density = theta[7 : 7 + k], theta[7 + k : 7 + 2 * k]
        tilt, offset, bounce = np.split(theta[7 + 2 * k :], [2 * w, 3 * w])
        normals = g.normals + np.einsum("wi,wij->wj", tilt.reshape(w, 2), self.tangents)
        radii = g.radii * np.exp(theta[6] + radius)
        return g._replace(
            gravity=g.gravity + self.gravity_scale * theta[:3],
            drag=float(theta[3] ** 2),
            friction=float(np.clip(g.friction + theta[4], 0, 2)),
            restitution=float(np.clip(g.restitution + theta[5], 0.02, 1)),
            radii=radii,
            masses=(g.radii * np.exp(radius)) ** 3 * np.exp(density),
            normals=normals / np.linalg.norm(normals, axis=1, keepdims=True),
            offsets=g.offsets + self.scales.radius * offset,
            bounces=np.clip(g.bounces + bounce, 0.02, 1),
        )

    def prior_residuals(self, theta: np.ndarray) -> np.ndarray:
        """Deviations of the constants from their usual values, over the standard deviations of the prior."""
        g, k, w, prior = self.initial_guess, self.balls, self.walls, self.prior
        offset, bounce = np.split(theta[7 + 2 * k + 2 * w :], 2)
        friction, restitution = g.friction + theta[4], g.restitution + theta[5]
        terms = [
            theta[3:4] ** 2 / prior.drag,
            [
                (friction - prior.friction[0]) / prior.friction[1],
                (restitution - prior.restitution[0]) / prior.restitution[1],
            ],
            (g.bounces + bounce - restitution) / prior.wall_restitution,
            theta[6:7] / prior.common_radius,
            theta[7 : 7 + k] / prior.radius,
            theta[7 + k : 7 + 2 * k] / prior.density,
            offset / prior.wall_offset,
            self._angles(self.world(theta)) / prior.right_angle,
        ]
        return np.concatenate([np.asarray(t, float) for t in terms])

    def _angles(self, world: CollisionWorld) -> np.ndarray:
        """Cosines of the angles, among walls and gravity, that are nearly right in the initial guess, and sines of
        those that are nearly 0."""
        guessed, current = _directions(self.initial_guess), _directions(world)
        rows, columns = np.triu_indices(len(guessed), 1)
        cosines = (guessed[rows] * guessed[columns]).sum(1)
        sines = np.linalg.norm(np.cross(guessed[rows], guessed[columns]), axis=1)
        is_right, is_parallel = np.abs(cosines) < self.prior.nearly_right, sines < self.prior.nearly_right
        a, b = current[rows], current[columns]
        return np.concatenate([(a * b).sum(1)[is_right], np.cross(a, b)[is_parallel].ravel()])


def _directions(world: CollisionWorld) -> np.ndarray:
    """Unit vectors `[W or W + 1, 3]`: of the walls, and of gravity if there is any."""
    size = float(np.linalg.norm(world.gravity))
    return np.concatenate([world.normals, world.gravity[None] / size]) if size else world.normals
