"""The law of balls that fly, roll and collide: found from their paths, rolled out past them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from foreseen.errors import UserError
from foreseen.methods.laws.collisions import WIDTH, World, roll_out
from foreseen.methods.laws.contacts import Strike, Wall, between_bodies, bounciness, ghosts, strikes, walls
from foreseen.methods.laws.following import MOST_STRETCHES, STRETCH, Constants, Following, Sizes
from foreseen.methods.laws.kinks import FLOOR, Course, Seen, gravity

MOST_WALLS = 12
SETTLING = 4e-3
"""A bounce that takes less time than this is none, in windows."""


def find(seen: Seen, paths: np.ndarray, radii: np.ndarray) -> tuple[World, np.ndarray, np.ndarray, np.ndarray]:
    """The world that `paths` `[N, K, 3]` of bodies with `radii` `[K]` show, the states at the first and the last of
    `seen.fine` `[K, WIDTH]`, and how far from the paths it leads `[K]` (root mean square)."""
    most = max(4, min(20, seen.freedom // 2))
    pull, courses = gravity(seen, paths, most)
    noise = np.sqrt(np.median([np.median(np.square(c.left).sum(1)) / 2.37 for c in courses]))
    extent = float(np.ptp(paths, axis=0).max())
    rates = np.array([[c.rate(t) for t in np.linspace(0.05, 0.95, 19)] for c in courses])
    sizes = Sizes(max(float(noise), FLOOR * extent), float(np.sqrt(np.square(rates).sum(-1).mean())) + 1e-9, float(radii.mean()))
    world = _guess(courses, paths, radii, pull)
    constants = Constants(world, sizes)
    following = Following(seen, paths, _cuts(seen, courses), constants, np.ones(len(radii)))
    starts = _starts(following, world, courses)
    theta, starts, solved = following.fit(starts)
    left = following.residuals(theta, starts, solved)[0] / following.weight
    end = solved[-1][-1]
    return constants.world(theta), starts[0], end, np.sqrt(np.square(left).sum(-1).mean(0))


def _guess(courses: list[Course], paths: np.ndarray, radii: np.ndarray, pull: np.ndarray) -> World:
    found = strikes(courses)
    pairs = between_bodies(found, courses, radii)
    explained = {id(s) for s, _ in pairs}
    planes = walls([s for s in found if id(s) not in explained], paths, radii, pull)[:MOST_WALLS]
    speeds = [one for plane in planes for one in bounciness(plane) if one[0] > 0]
    speeds = sorted(speeds, reverse=True)[: max(3, len(speeds) // 2)]
    bounce = float(np.clip(np.median([e for _, e in speeds]), 0.1, 0.98)) if speeds else 0.7
    factor = float(np.median([q for _, q in pairs])) if pairs else 1.0
    size = radii * factor
    normals = np.array([p.normal for p in planes]).reshape(-1, 3)
    offsets = np.array([p.offset + (1 - factor) * float(radii.mean()) for p in planes])
    held = np.array([c.rest == 0 for c in courses])
    return World(
        size, size**3, np.where(held, 0.0, 1.0), ~ghosts(courses, paths, radii), pull, 0.01, 0.2, bounce,
        normals, offsets, np.full(len(planes), bounce), SETTLING,
    )  # fmt: skip


def _cuts(seen: Seen, courses: list[Course]) -> np.ndarray:
    """Where stretches meet: at even distances about, as far from kinks as can be."""
    count = max(1, min(MOST_STRETCHES, round(len(seen.fine) / STRETCH)))
    kinks = np.concatenate([c.times for c in courses] + [[-1.0]])
    length = (seen.fine[-1] - seen.fine[0]) / count
    cuts = []
    for middle in seen.fine[0] + length * np.arange(1, count):
        tried = middle + length * np.linspace(-0.3, 0.3, 13)
        cuts.append(tried[np.abs(tried[:, None] - kinks).min(1).argmax()])
    return np.array(cuts)


def _starts(following: Following, world: World, courses: list[Course]) -> np.ndarray:
    """First guesses of the states: places and velocities of the courses, spins as the impacts make them."""
    spins, starts = np.zeros((len(courses), 3)), []
    for index, time in enumerate(following.edges[:-1]):
        places = np.array([c.at(np.array([time]))[0] for c in courses])
        start = np.concatenate([places, np.array([c.rate(time) for c in courses]), spins], axis=1)
        starts.append(start)
        spins = following.stretch(world, index, start)[-1][:, 6:]
    return np.array(starts)
