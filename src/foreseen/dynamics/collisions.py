"""Balls that fly, hit one another and walls, and roll: solved from event to event, compiled by Numba.

Between events the motion `x'' = g - c x'` has a closed form, x + v s(t) + a r(t), with s = (1 - exp(-c t)) / c and
r = (t - s) / c. The height over a wall has a second derivative of one sign, so Newton's method finds its zero from the
side where it cannot overshoot; two balls under the same acceleration come together along a straight line in s, whose
meeting with a sphere is a quadratic equation. An impact is that of rigid solid spheres: the normal velocity turns round
and loses a share, and friction pulls on the point of contact until it holds, by the normal push times the coefficient
of friction at most (Coulomb). What hardly leaves a wall any more stays on it and rolls.

A ball's state is one row of `WIDTH` numbers: position, velocity, spin [rad by time].
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

WIDTH = 9
MAX_EVENTS = 1000
"""After so many events in one call nothing moves any more: such balls are stuck between walls."""
INERTIA = 0.4
"""Of a solid sphere, over mass and squared radius."""
CONTACT_FACTOR = 1.0 + 1.0 / INERTIA
"""How much more a push along the surface moves the point of contact than the centre."""
NO_EVENT = np.inf
CONTACT_TOLERANCE = 1e-12
MAX_LEVEL_SLOPE = 0.01
"""A slope [rad] that no ball rolls down."""
STRIDE = 1e-2
"""Least step, in distances of the centres at a touch, of the search for one."""

# Numba keys its cache by a function's own file: after an edit, touch the files that call into it.
compiled = njit(cache=True, nogil=True, error_model="numpy")


class CollisionWorld(NamedTuple):
    """What acts on K balls among W walls; float64.

    Attributes:
        radii, masses: `[K]`.
        weights: `[K]` share of the gravity that a ball feels.
        solid: `[K]` bool: whether it touches anything.
        gravity: `[3]`.
        drag: velocity that is lost by time, as a share; not negative.
        friction: coefficient (Coulomb).
        restitution: speed after an impact of two balls over that before it.
        normals: `[W, 3]` of the walls, unit, to the side where the balls are; offsets: `[W]`, along the normals.
        bounces: `[W]` restitution of each wall.
        settling: a bounce that takes less time than this is none.
    """

    radii: np.ndarray
    masses: np.ndarray
    weights: np.ndarray
    collides: np.ndarray
    gravity: np.ndarray
    drag: float
    friction: float
    restitution: float
    normals: np.ndarray
    offsets: np.ndarray
    bounces: np.ndarray
    settling_time: float


@compiled
def travel_factors(drag, t):
    """How far a unit of velocity and a unit of acceleration go in a time t."""
    z = drag * t
    if z < 1e-3:
        s = t * (1.0 - z / 2.0 + z * z / 6.0 - z * z * z / 24.0)
        return s, t * t * (0.5 - z / 6.0 + z * z / 24.0 - z * z * z / 120.0)
    s = -math.expm1(-z) / drag
    return s, (t - s) / drag


@compiled
def wall_time(height, v, a, drag, maximum):
    """When a height h >= 0 that changes by v under an acceleration a comes to 0 from above, within a time `maximum`."""
    if height <= 0.0 and (v < -CONTACT_TOLERANCE or (v <= 0.0 and a < 0.0)):
        return 0.0
    if a - drag * v <= 0.0:  # it bends down: from the right, where it is below
        s, r = travel_factors(drag, maximum)
        if height + v * s + a * r >= 0.0:
            return NO_EVENT
        t = maximum
    elif v < 0.0:  # it bends up: from the left
        t = 0.0
    else:
        return NO_EVENT
    for _ in range(100):
        s, r = travel_factors(drag, t)
        slope = v * math.exp(-drag * t) + a * s
        if slope >= 0.0:
            return NO_EVENT
        step = -(height + v * s + a * r) / slope
        t += step
        if t > maximum:
            return NO_EVENT
        if abs(step) <= 1e-14 * (1.0 + t):
            break
    return max(t, 0.0)


@compiled
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled
def _distance(x, v, a, drag, t):
    s, r = travel_factors(drag, t)
    square = 0.0
    for i in range(3):
        square += (x[i] + v[i] * s + a[i] * r) ** 2
    return math.sqrt(square)


@compiled
def pair_time(x, v, a, touch, drag, maximum):
    """When a difference of places x `[3]` that changes by v under a, comes to the length `touch`, within `maximum`."""
    square = _dot(x, x)
    touch = min(touch, math.sqrt(square))
    if square <= touch * touch and _dot(x, v) < -CONTACT_TOLERANCE * touch:
        return 0.0
    if _dot(a, a) == 0.0:
        along, speed = _dot(x, v), _dot(v, v)
        root = along * along - speed * (square - touch * touch)
        if along >= 0.0 or root <= 0.0:
            return NO_EVENT
        s = (square - touch * touch) / (math.sqrt(root) - along)
        if drag * s >= 1.0:
            return NO_EVENT
        t = -math.log1p(-drag * s) / drag if drag * s > 1e-9 else s * (1.0 + 0.5 * drag * s)
        return t if t <= maximum else NO_EVENT
    # As far as the fastest approach allows, again and again; a touch that is shallower than such a step is none.
    fastest = math.sqrt(_dot(v, v)) + math.sqrt(_dot(a, a)) * maximum
    early, gap = 0.0, math.sqrt(square) - touch
    while early < maximum:
        late = min(early + max(gap, STRIDE * touch) / fastest, maximum)
        gap = _distance(x, v, a, drag, late) - touch
        if gap < 0.0:
            for _ in range(60):
                middle = 0.5 * (early + late)
                if _distance(x, v, a, drag, middle) < touch:
                    late = middle
                else:
                    early = middle
            return late
        early = late
    return NO_EVENT


@compiled
def _push(state, k, arm, x, y, z, mass, radius):
    """An impulse (x, y, z) at the point of contact, `arm` radii from the centre along a unit vector."""
    state[k, 3] += x / mass
    state[k, 4] += y / mass
    state[k, 5] += z / mass
    scale = radius / (INERTIA * mass * radius * radius)
    state[k, 6] += scale * (arm[1] * z - arm[2] * y)
    state[k, 7] += scale * (arm[2] * x - arm[0] * z)
    state[k, 8] += scale * (arm[0] * y - arm[1] * x)


@compiled
def _contact_velocity(state, k, arm, radius, out):
    """Of the point of ball k that is a radius along `arm`."""
    out[0] = state[k, 3] + radius * (state[k, 7] * arm[2] - state[k, 8] * arm[1])
    out[1] = state[k, 4] + radius * (state[k, 8] * arm[0] - state[k, 6] * arm[2])
    out[2] = state[k, 5] + radius * (state[k, 6] * arm[1] - state[k, 7] * arm[0])


@compiled
def hit_wall(state, k, w, world, acceleration, on):
    """Ball k meets wall w; it stays on it where it would come back within the settling time."""
    normal, radius = world.normals[w], world.radii[k]
    arm, u = -normal, np.empty(3)
    _contact_velocity(state, k, arm, radius, u)
    coming = _dot(u, normal)
    pull = _dot(acceleration[k], normal)
    leaving = -world.bounces[w] * coming
    stays = pull < 0.0 and 2.0 * leaving <= -pull * world.settling_time
    if stays:
        leaving = 0.0
    push = leaving - coming
    u -= coming * normal
    slip = math.sqrt(_dot(u, u))
    hold = 0.0
    if slip > 0.0 and world.friction > 0.0:
        hold = slip / CONTACT_FACTOR if stays else min(world.friction * push, slip / CONTACT_FACTOR)
        u *= hold / slip
    else:
        u *= 0.0
    _push(
        state, k, arm, push * normal[0] - u[0], push * normal[1] - u[1], push * normal[2] - u[2], 1.0, radius
    )  # fmt: skip
    on[k, w] = stays


@compiled
def hit_ball(state, j, k, world):
    """Balls j and k meet."""
    normal = state[k, :3] - state[j, :3]
    normal /= math.sqrt(_dot(normal, normal))
    one, other = np.empty(3), np.empty(3)
    _contact_velocity(state, j, normal, world.radii[j], one)
    _contact_velocity(state, k, -normal, world.radii[k], other)
    u = other - one
    coming = _dot(u, normal)
    lightness = 1.0 / world.masses[j] + 1.0 / world.masses[k]
    push = -(1.0 + world.restitution) * coming / lightness
    u -= coming * normal
    slip = math.sqrt(_dot(u, u))
    if slip > 0.0:
        u *= min(world.friction * push, slip / (CONTACT_FACTOR * lightness)) / slip
    x, y, z = push * normal[0] - u[0], push * normal[1] - u[1], push * normal[2] - u[2]
    _push(state, k, -normal, x, y, z, world.masses[k], world.radii[k])
    _push(state, j, normal, -x, -y, -z, world.masses[j], world.radii[j])


@compiled
def _accelerations(world, on, out):
    """What gravity leaves to each ball on the walls that it is on; nothing where they are nearly level."""
    for k in range(len(out)):
        out[k] = world.gravity * world.weights[k]
        pull = math.sqrt(_dot(out[k], out[k]))
        for _ in range(2):  # twice: two walls need not be at right angles
            for w in range(len(world.offsets)):
                if on[k, w]:
                    into = _dot(out[k], world.normals[w])
                    if into < 0.0:
                        out[k] -= into * world.normals[w]
        if math.sqrt(_dot(out[k], out[k])) < MAX_LEVEL_SLOPE * pull:
            out[k] = 0.0


@compiled
def _next(state, world, acceleration, on, maximum):
    """Time to the next event, and who takes part: ball and ball, or ball and K + wall."""
    first, one, other = maximum, -1, -1
    count = len(state)
    for k in range(count):
        if not world.collides[k]:
            continue
        for w in range(len(world.offsets)):
            if on[k, w]:
                continue
            normal = world.normals[w]
            height = max(_dot(state[k, :3], normal) - world.offsets[w] - world.radii[k], 0.0)
            v, a = _dot(state[k, 3:6], normal), _dot(acceleration[k], normal)
            t = wall_time(height, v, a, world.drag, first)
            if t < first or (t == first and one < 0):
                first, one, other = t, k, count + w
        for j in range(k):
            if not world.collides[j]:
                continue
            touch = world.radii[j] + world.radii[k]
            x, v = state[k, :3] - state[j, :3], state[k, 3:6] - state[j, 3:6]
            t = pair_time(x, v, acceleration[k] - acceleration[j], touch, world.drag, first)
            if t < first or (t == first and one < 0):
                first, one, other = t, j, k
    return first, one, other


@compiled
def _move(state, acceleration, drag, t, out):
    """Where the balls are a time t later, with no event between."""
    s, r = travel_factors(drag, t)
    kept = math.exp(-drag * t)
    for k in range(len(state)):
        for i in range(3):
            x, v, a = state[k, i], state[k, 3 + i], acceleration[k, i]
            out[k, i] = x + v * s + a * r
            out[k, 3 + i] = v * kept + a * s
            out[k, 6 + i] = state[k, 6 + i]


@compiled
def roll_out(start, times, world):
    """States `[T, K, WIDTH]` at `times` `[T]` (ascending, from 0 on), from `start` `[K, WIDTH]` at time 0, and how many
    impacts there were `[K, K + W]`: of ball by ball and by wall. Balls that begin in one another, or in a wall, go no
    deeper."""
    count, walls = len(start), len(world.offsets)
    state, found = start.copy(), np.empty((len(times), count, WIDTH))
    on = np.zeros((count, walls), np.bool_)
    hits = np.zeros((count, count + walls), np.int64)
    acceleration = np.empty((count, 3))
    now, index, events = 0.0, 0, 0
    while index < len(times):
        _accelerations(world, on, acceleration)
        t, one, other = _next(state, world, acceleration, on, times[-1] - now)
        while index < len(times) and times[index] <= now + t:
            _move(state, acceleration, world.drag, times[index] - now, found[index])
            index += 1
        if one < 0 or index == len(times):
            break
        _move(state, acceleration, world.drag, t, state)
        now += t
        hits[one, other] += 1
        if other >= count:
            hit_wall(state, one, other - count, world, acceleration, on)
            for w in range(walls):  # a push to the side may lift it off another wall
                if on[one, w] and w != other - count:
                    on[one, w] = abs(_dot(state[one, 3:6], world.normals[w])) <= CONTACT_TOLERANCE
        else:
            hits[other, one] += 1
            hit_ball(state, one, other, world)
            on[one], on[other] = False, False
        events += 1
        if events >= MAX_EVENTS:
            state[:, 3:] = 0.0
            for rest in range(index, len(times)):
                found[rest] = state
            break
    while index < len(times) and one < 0:
        _move(state, acceleration, world.drag, times[index] - now, found[index])
        index += 1
    return found, hits
