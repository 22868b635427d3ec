"""What caused the velocity jumps of bodies: impacts on one another, or on walls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foreseen.dynamics.impacts_config import ContactsConfig
from foreseen.dynamics.piecewise_paths import PiecewisePath


@dataclass(frozen=True)
class ImpactEvent:
    """A velocity jump of a body: when and where, and the velocities before and after."""

    body: int
    time: float
    position: np.ndarray
    before: np.ndarray
    after: np.ndarray

    @property
    def velocity_jump(self) -> np.ndarray:
        """`[3]`."""
        return np.asarray(self.after - self.before)


@dataclass(frozen=True)
class Wall:
    """A plane: unit `normal` `[3]` towards the bodies, `offset` along it, and the impacts on it."""

    normal: np.ndarray
    offset: float
    impact_events: tuple[ImpactEvent, ...]


def impact_events(piecewise_paths: list[PiecewisePath], frame: float, config: ContactsConfig) -> list[ImpactEvent]:
    """All velocity jumps, and where bodies came to rest. Jumps less than a `frame` apart are a single impact, whose
    true time was not among the candidates."""
    events = []
    for body, path in enumerate(piecewise_paths):
        sizes = np.linalg.norm(path.velocity_jumps, axis=1)
        for group in np.split(np.arange(len(path.times)), np.flatnonzero(np.diff(path.times) > frame) + 1):
            if len(group):
                first, last = path.times[group[[0, -1]]]
                time = float(np.average(path.times[group], weights=sizes[group]))
                position = path.at(np.array([time]))[0]
                events.append(ImpactEvent(body, time, position, path.rate(first, after=False), path.rate(last)))
        if 0 < path.rest_time < 1 and path.acceleration.any():
            velocity = path.rate(path.rest_time)
            velocity_before = velocity + config.rest_jump * path.acceleration
            position = path.at(np.array([path.rest_time]))[0]
            events.append(ImpactEvent(body, path.rest_time, position, velocity_before, velocity))
    return events


def body_impacts(
    events: list[ImpactEvent], piecewise_paths: list[PiecewisePath], radii: np.ndarray, config: ContactsConfig
) -> list[tuple[ImpactEvent, float]]:
    """Impacts on another body, with the distance of the two centres at that time over the sum of the radii."""
    explained = []
    for event in events:
        for other in range(len(piecewise_paths)):
            if other == event.body:
                continue
            offset = event.position - piecewise_paths[other].at(np.array([event.time]))[0]
            distance = float(np.linalg.norm(offset))
            contact_distance = radii[event.body] + radii[other]
            if (
                0 < distance < config.max_contact_distance * contact_distance
                and _is_along(event.velocity_jump, offset, config.min_normal_cosine)
                and _other_body_reacts(event, other, events, config)
            ):
                explained.append((event, distance / contact_distance))
                break
    return explained


def _is_along(velocity_jump: np.ndarray, direction: np.ndarray, min_cosine: float) -> bool:
    size, length = float(np.linalg.norm(velocity_jump)), float(np.linalg.norm(direction))
    return bool(velocity_jump @ direction > min_cosine * size * length)


def _other_body_reacts(event: ImpactEvent, other: int, events: list[ImpactEvent], config: ContactsConfig) -> bool:
    """Whether the other body was pushed the opposite way at that time."""
    return any(
        s.body == other
        and abs(s.time - event.time) < config.max_impact_delay
        and s.velocity_jump @ event.velocity_jump < 0
        for s in events
    )


def find_walls(
    events: list[ImpactEvent],
    paths: np.ndarray,
    radii: np.ndarray,
    gravity: np.ndarray,
    inside: np.ndarray,
    config: ContactsConfig,
) -> list[Wall]:
    """Planes that explain the impacts, and that no body of `paths` `[N, K, 3]` passes through.

    Args:
        inside: `[K]` bool: the bodies that must stay on one side.
    """
    remaining = sorted(events, key=lambda s: -float(np.linalg.norm(s.velocity_jump)))
    result: list[Wall] = []
    while remaining:
        wall = _wall(remaining[0], remaining, radii, gravity, config)
        members = {id(s) for s in wall.impact_events}
        is_aligned = _aligned(wall.normal, gravity, config) is not None
        if (is_aligned or len(members) > 1) and _contains(wall, paths[:, inside], radii[inside], config):
            if all(wall.normal @ w.normal < config.min_wall_cosine for w in result):
                result.append(wall)
            remaining = [s for s in remaining if id(s) not in members]
        else:
            remaining = remaining[1:]
    return result


def _wall(
    first: ImpactEvent, events: list[ImpactEvent], radii: np.ndarray, gravity: np.ndarray, config: ContactsConfig
) -> Wall:
    """The wall that one impact implies, with all the impacts that imply the same wall."""
    normal = _aligned_or_same(first.velocity_jump / np.linalg.norm(first.velocity_jump), gravity, config)
    offset = float(first.position @ normal - radii[first.body])
    members = [first]
    for _ in range(2):
        members = [s for s in events if _explains_impact(s, normal, offset, radii, config)] or [first]
        jumps = np.sum([s.velocity_jump for s in members], axis=0)
        normal = _aligned_or_same(jumps / np.linalg.norm(jumps), gravity, config)
        offset = float(np.median([s.position @ normal - radii[s.body] for s in members]))
    return Wall(normal, offset, tuple(members))


def _explains_impact(
    event: ImpactEvent, normal: np.ndarray, offset: float, radii: np.ndarray, config: ContactsConfig
) -> bool:
    jump, radius = event.velocity_jump, radii[event.body]
    is_near = abs(event.position @ normal - radius - offset) < config.wall_slack * radius
    is_along = jump @ normal > config.min_wall_cosine * np.linalg.norm(jump)
    return bool(is_near and is_along and event.before @ normal < 0)


def _aligned(normal: np.ndarray, gravity: np.ndarray, config: ContactsConfig) -> np.ndarray | None:
    """The normal made exactly vertical or horizontal if it nearly is, else None."""
    size = float(np.linalg.norm(gravity))
    if size == 0:
        return normal
    up = -gravity / size
    rise = float(normal @ up)
    if abs(rise) > (1 - config.aligned_sine**2) ** 0.5:
        return np.asarray(np.sign(rise) * up)
    if abs(rise) < config.aligned_sine:
        horizontal = normal - rise * up
        return np.asarray(horizontal / np.linalg.norm(horizontal))
    return None


def _aligned_or_same(normal: np.ndarray, gravity: np.ndarray, config: ContactsConfig) -> np.ndarray:
    aligned = _aligned(normal, gravity, config)
    return normal if aligned is None else aligned


def _contains(wall: Wall, paths: np.ndarray, radii: np.ndarray, config: ContactsConfig) -> bool:
    """Whether all bodies stay on their side of the wall."""
    depth = wall.offset - (paths @ wall.normal - radii)
    return bool((depth > config.wall_slack * radii).mean() < config.max_inside_share)


def restitutions(wall: Wall) -> list[tuple[float, float]]:
    """Of each impact on a wall: the normal speed before, and the share of it that is left after."""
    return [
        (-float(s.before @ wall.normal), -float(s.after @ wall.normal) / float(s.before @ wall.normal))
        for s in wall.impact_events
    ]


def find_intangible(
    piecewise_paths: list[PiecewisePath], paths: np.ndarray, radii: np.ndarray, config: ContactsConfig
) -> np.ndarray:
    """`[K]` bool: bodies that pass through others, as shadows do. Of two such bodies it is the one without gravity, or
    else the one that parabolas fit worse."""
    count = paths.shape[1]
    intangible = np.zeros(count, bool)
    for k in range(count):
        for j in range(k):
            distances = np.linalg.norm(paths[:, k] - paths[:, j], axis=-1)
            if (distances < config.overlap_distance * (radii[j] + radii[k])).mean() > config.max_overlap_share:
                order = sorted(
                    (j, k), key=lambda i: (piecewise_paths[i].rest_time == 0, piecewise_paths[i].penalized_cost)
                )
                intangible[order[-1]] = True
    return intangible
