"""What bodies were struck by: walls and one another, told from the kinks in their paths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foreseen.dynamics.piecewise_paths import PiecewisePath

MAX_CONTACT_DISTANCE = 1.35
"""Bodies no farther apart than so many sums of their radii may have touched: radii are known to a third only."""
MIN_NORMAL_COSINE = 0.6
"""Cosine of the angle between a jump of the velocity and the line of the centres, at least: friction tilts it."""
MAX_IMPACT_DELAY = 0.03
"""Two bodies that struck each other have kinks at times no farther apart, in windows."""
MIN_WALL_COSINE = 0.75
"""Cosine of the angle between jumps that one wall explains."""
WALL_SLACK = 0.4
"""Bodies may seem to be so many radii inside a wall."""
MAX_INSIDE_SHARE = 0.03
"""Share of all places that may seem to be deeper in it."""
ALIGNED_SINE = 0.42
"""A wall whose normal is this near (sine) to being level or upright counts as that."""
OVERLAP_DISTANCE, MAX_OVERLAP_SHARE = 0.6, 0.03
"""Two bodies nearer than so many sums of their radii in more than this share of the times cannot both be solid."""


@dataclass(frozen=True)
class ImpactEvent:
    """A kink: body, time, place, the velocity before it and after."""

    body: int
    time: float
    position: np.ndarray
    before: np.ndarray
    after: np.ndarray

    @property
    def velocity_jump(self) -> np.ndarray:
        """Of the velocity."""
        return np.asarray(self.after - self.before)


@dataclass(frozen=True)
class Wall:
    """A plane: `normal` `[3]` to the side of the bodies, `offset` along it; who struck it."""

    normal: np.ndarray
    offset: float
    impact_events: tuple[ImpactEvent, ...]


def impact_events(piecewise_paths: list[PiecewisePath], frame: float) -> list[ImpactEvent]:
    """All kinks, and where bodies came to rest. Kinks that are less than a `frame` apart are one, whose own time was
    not among those that were tried."""
    found = []
    for k, one in enumerate(piecewise_paths):
        sizes = np.linalg.norm(one.velocity_jumps, axis=1)
        for group in np.split(np.arange(len(one.times)), np.flatnonzero(np.diff(one.times) > frame) + 1):
            if len(group):
                first, last = one.times[group[[0, -1]]]
                time = float(np.average(one.times[group], weights=sizes[group]))
                place = one.at(np.array([time]))[0]
                found.append(ImpactEvent(k, time, place, one.rate(first, after=False), one.rate(last)))
        if 0 < one.rest_time < 1 and one.acceleration.any():
            v = one.rate(one.rest_time)
            found.append(
                ImpactEvent(k, one.rest_time, one.at(np.array([one.rest_time]))[0], v + 0.05 * one.acceleration, v)
            )
    return found


def body_impacts(
    found: list[ImpactEvent], piecewise_paths: list[PiecewisePath], radii: np.ndarray
) -> list[tuple[ImpactEvent, float]]:
    """Strikes that another body explains, with the distance of the two at that time over the sum of their radii."""
    explained = []
    for one in found:
        for other in range(len(piecewise_paths)):
            if other == one.body:
                continue
            way = one.position - piecewise_paths[other].at(np.array([one.time]))[0]
            gap = float(np.linalg.norm(way))
            near = gap < MAX_CONTACT_DISTANCE * (radii[one.body] + radii[other])
            size = float(np.linalg.norm(one.velocity_jump))
            if (
                near
                and gap > 0
                and one.velocity_jump @ way > MIN_NORMAL_COSINE * size * gap
                and _answered(one, other, found)
            ):
                explained.append((one, gap / (radii[one.body] + radii[other])))
                break
    return explained


def _answered(one: ImpactEvent, other: int, found: list[ImpactEvent]) -> bool:
    """Whether the other body was pushed the opposite way at that time."""
    return any(
        s.body == other and abs(s.time - one.time) < MAX_IMPACT_DELAY and s.velocity_jump @ one.velocity_jump < 0
        for s in found
    )


def walls(
    found: list[ImpactEvent], paths: np.ndarray, radii: np.ndarray, gravity: np.ndarray, inside: np.ndarray
) -> list[Wall]:
    """Planes that explain strikes, and that no body of `paths` `[N, K, 3]` goes through, of those that are to stay
    `inside` `[K]` bool."""
    left = sorted(found, key=lambda s: -float(np.linalg.norm(s.velocity_jump)))
    result: list[Wall] = []
    while left:
        wall = _wall(left[0], left, radii, gravity)
        members = {id(s) for s in wall.impact_events}
        upright = _squared(wall.normal, gravity) is not None
        if (upright or len(members) > 1) and _holds(wall, paths[:, inside], radii[inside]):
            if all(wall.normal @ w.normal < MIN_WALL_COSINE for w in result):
                result.append(wall)
            left = [s for s in left if id(s) not in members]
        else:
            left = left[1:]
    return result


def _wall(first: ImpactEvent, left: list[ImpactEvent], radii: np.ndarray, gravity: np.ndarray) -> Wall:
    """The wall that a strike speaks of, with all others that speak of the same."""
    normal = _upright(first.velocity_jump / np.linalg.norm(first.velocity_jump), gravity)
    offset = float(first.position @ normal - radii[first.body])
    members = [first]
    for _ in range(2):
        members = [s for s in left if _explains_impact(s, normal, offset, radii)] or [first]
        jumps = np.sum([s.velocity_jump for s in members], axis=0)
        normal = _upright(jumps / np.linalg.norm(jumps), gravity)
        offset = float(np.median([s.position @ normal - radii[s.body] for s in members]))
    return Wall(normal, offset, tuple(members))


def _explains_impact(s: ImpactEvent, normal: np.ndarray, offset: float, radii: np.ndarray) -> bool:
    velocity_jump = s.velocity_jump
    near = abs(s.position @ normal - radii[s.body] - offset) < WALL_SLACK * radii[s.body]
    return bool(
        near and velocity_jump @ normal > MIN_WALL_COSINE * np.linalg.norm(velocity_jump) and s.before @ normal < 0
    )


def _squared(normal: np.ndarray, gravity: np.ndarray) -> np.ndarray | None:
    """The normal turned level or upright where it nearly is."""
    size = float(np.linalg.norm(gravity))
    if size == 0:
        return normal
    up = -gravity / size
    rise = float(normal @ up)
    if abs(rise) > (1 - ALIGNED_SINE**2) ** 0.5:
        return np.asarray(np.sign(rise) * up)
    if abs(rise) < ALIGNED_SINE:
        level = normal - rise * up
        return np.asarray(level / np.linalg.norm(level))
    return None


def _upright(normal: np.ndarray, gravity: np.ndarray) -> np.ndarray:
    squared = _squared(normal, gravity)
    return normal if squared is None else squared


def _holds(wall: Wall, paths: np.ndarray, radii: np.ndarray) -> bool:
    """Whether all bodies stay on its side."""
    depth = wall.offset - (paths @ wall.normal - radii)
    return bool((depth > WALL_SLACK * radii).mean() < MAX_INSIDE_SHARE)


def restitutions(wall: Wall) -> list[tuple[float, float]]:
    """Of each strike of a wall: speed towards it, and what share of that is left after it."""
    return [
        (-float(s.before @ wall.normal), -float(s.after @ wall.normal) / float(s.before @ wall.normal))
        for s in wall.impact_events
    ]


def find_intangible(piecewise_paths: list[PiecewisePath], paths: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """`[K]` bool: bodies that go through others, as shadows do: of two such the one that feels no gravity, or else the
    one whose path is less like a flight."""
    count = paths.shape[1]
    found = np.zeros(count, bool)
    for k in range(count):
        for j in range(k):
            gap = np.linalg.norm(paths[:, k] - paths[:, j], axis=-1)
            if (gap < OVERLAP_DISTANCE * (radii[j] + radii[k])).mean() > MAX_OVERLAP_SHARE:
                order = sorted(
                    (j, k), key=lambda i: (piecewise_paths[i].rest_time == 0, piecewise_paths[i].penalized_cost)
                )
                found[order[-1]] = True
    return found
