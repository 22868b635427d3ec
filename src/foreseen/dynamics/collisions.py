"""Balls that fly, hit one another and walls, and roll: solved from event to event, compiled by Numba.

Between events the motion `x'' = g - c x'` has a closed form, x + v s(t) + a r(t), with s = (1 - exp(-c t)) / c and
r = (t - s) / c. The height over a wall has a second derivative of one sign, so Newton's method finds its zero from the
side where it cannot overshoot. Two balls under the same acceleration approach each other along a straight line in s, so
the time of their contact solves a quadratic equation. Impacts are those of rigid solid spheres: the normal velocity is
reversed and reduced, and friction acts on the contact point until it sticks, by at most the friction coefficient times
the normal impulse (Coulomb). A ball whose bounces have become too small stays on the wall and rolls.

A ball's state is one row of `WIDTH` numbers: position, velocity, angular velocity [rad per unit of time].
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

WIDTH = 9
"""Numbers in a ball's state."""
INERTIA = 0.4
"""Moment of inertia of a solid sphere, over mass times squared radius."""
CONTACT_FACTOR = 1.0 + 1.0 / INERTIA
"""Velocity change of the contact point over that of the centre, by an impulse along the surface."""
NO_EVENT = np.inf
"""The time of an event that does not happen."""
CONTACT_TOLERANCE = 1e-12
"""Normal velocities below this are zero but for float64 rounding."""

# Numba keys its cache by a function's own file: after an edit, touch the files that call into it.
compiled = njit(cache=True, nogil=True, error_model="numpy")


class CollisionWorld(NamedTuple):
    """K balls among W walls, what acts on them, and the limits of the solver; float64.

    Attributes:
        radii, masses: `[K]`.
        weights: `[K]` share of gravity that acts on a ball.
        collides: `[K]` bool: whether the ball can touch anything.
        gravity: `[3]` acceleration.
        drag: share of the velocity that is lost per unit of time; not negative.
        friction: Coulomb's coefficient.
        restitution: normal speed after an impact of two balls over that before it.
        normals: `[W, 3]` unit normals of the walls, towards the balls; offsets: `[W]` positions along the normals.
        bounces: `[W]` restitution of each wall.
        settling_time, level_slope, search_step, max_events: see `CollisionConfig`.
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
    level_slope: float
    search_step: float
    max_events: int


@compiled
def travel_factors(drag, t):
    """Distances that a unit of velocity and a unit of acceleration give in a time t."""
    z = drag * t
    if z < 1e-3:
        s = t * (1.0 - z / 2.0 + z * z / 6.0 - z * z * z / 24.0)
        return s, t * t * (0.5 - z / 6.0 + z * z / 24.0 - z * z * z / 120.0)
    s = -math.expm1(-z) / drag
    return s, (t - s) / drag


@compiled
def wall_time(height, v, a, drag, maximum):
    """Time at which a height >= 0, with velocity v and acceleration a, falls to 0; `NO_EVENT` if not before
    `maximum`."""
    if height <= 0.0 and (v < -CONTACT_TOLERANCE or (v <= 0.0 and a < 0.0)):
        return 0.0
    if a - drag * v <= 0.0:  # concave: Newton from the right end, where the height is negative
        s, r = travel_factors(drag, maximum)
        if height + v * s + a * r >= 0.0:
            return NO_EVENT
        t = maximum
    elif v < 0.0:  # convex: Newton from the left end
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
def pair_time(x, v, a, touch, drag, maximum, search_step):
    """Time at which a difference of two positions x `[3]`, with relative velocity v and acceleration a, shrinks to the
    length `touch`; `NO_EVENT` if not before `maximum`."""
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
    # Steps that no approach can overrun, but of `search_step` at least: contacts that are shallower are not found.
    fastest = math.sqrt(_dot(v, v)) + math.sqrt(_dot(a, a)) * maximum
    early, gap = 0.0, math.sqrt(square) - touch
    while early < maximum:
        late = min(early + max(gap, search_step * touch) / fastest, maximum)
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
    """Applies an impulse (x, y, z) at the contact point, one radius from the centre along the unit vector `arm`."""
    state[k, 3] += x / mass
    state[k, 4] += y / mass
    state[k, 5] += z / mass
    scale = radius / (INERTIA * mass * radius * radius)
    state[k, 6] += scale * (arm[1] * z - arm[2] * y)
    state[k, 7] += scale * (arm[2] * x - arm[0] * z)
    state[k, 8] += scale * (arm[0] * y - arm[1] * x)


@compiled
def _contact_velocity(state, k, arm, radius, out):
    """Velocity of the point of ball k that is one radius from its centre along the unit vector `arm`."""
    out[0] = state[k, 3] + radius * (state[k, 7] * arm[2] - state[k, 8] * arm[1])
    out[1] = state[k, 4] + radius * (state[k, 8] * arm[0] - state[k, 6] * arm[2])
    out[2] = state[k, 5] + radius * (state[k, 6] * arm[1] - state[k, 7] * arm[0])


@compiled
def hit_wall(state, k, w, world, acceleration, on):
    """Ball k hits wall w. It stays on the wall (`on`) if it would come back within the settling time."""
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
    """Balls j and k hit each other."""
    normal = state[k, :3] - state[j, :3]
    normal /= math.sqrt(_dot(normal, normal))
    u_j, u_k = np.empty(3), np.empty(3)
    _contact_velocity(state, j, normal, world.radii[j], u_j)
    _contact_velocity(state, k, -normal, world.radii[k], u_k)
    u = u_k - u_j
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
    """Acceleration of each ball by gravity, less what the walls that it lies on hold; 0 where these are nearly
    level."""
    for k in range(len(out)):
        out[k] = world.gravity * world.weights[k]
        pull = math.sqrt(_dot(out[k], out[k]))
        for _ in range(2):  # twice, as two walls need not be at right angles
            for w in range(len(world.offsets)):
                if on[k, w]:
                    into = _dot(out[k], world.normals[w])
                    if into < 0.0:
                        out[k] -= into * world.normals[w]
        if math.sqrt(_dot(out[k], out[k])) < world.level_slope * pull:
            out[k] = 0.0


@compiled
def _next_event(state, world, acceleration, on, maximum):
    """Time until the next event, and its participants: two balls, or a ball and K + wall; -1, -1 if there is none."""
    first, ball, other = maximum, -1, -1
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
            if t < first or (t == first and ball < 0):
                first, ball, other = t, k, count + w
        for j in range(k):
            if not world.collides[j]:
                continue
            touch = world.radii[j] + world.radii[k]
            x, v = state[k, :3] - state[j, :3], state[k, 3:6] - state[j, 3:6]
            t = pair_time(x, v, acceleration[k] - acceleration[j], touch, world.drag, first, world.search_step)
            if t < first or (t == first and ball < 0):
                first, ball, other = t, j, k
    return first, ball, other


@compiled
def _move(state, acceleration, drag, t, out):
    """States of the balls a time t later, without an event in between."""
    s, r = travel_factors(drag, t)
    velocity_decay = math.exp(-drag * t)
    for k in range(len(state)):
        for i in range(3):
            x, v, a = state[k, i], state[k, 3 + i], acceleration[k, i]
            out[k, i] = x + v * s + a * r
            out[k, 3 + i] = v * velocity_decay + a * s
            out[k, 6 + i] = state[k, 6 + i]


@compiled
def roll_out(start, times, world):
    """States `[T, K, WIDTH]` at `times` `[T]` (ascending, from 0 on), from `start` `[K, WIDTH]` at time 0, and the
    numbers of impacts `[K, K + W]`: of each ball with each ball and each wall. Balls that overlap at the start, or lie
    in a wall, go no deeper."""
    count, walls = len(start), len(world.offsets)
    state, states = start.copy(), np.empty((len(times), count, WIDTH))
    on = np.zeros((count, walls), np.bool_)
    hits = np.zeros((count, count + walls), np.int64)
    acceleration = np.empty((count, 3))
    now, index, events = 0.0, 0, 0
    while index < len(times):
        _accelerations(world, on, acceleration)
        t, ball, other = _next_event(state, world, acceleration, on, times[-1] - now)
        while index < len(times) and times[index] <= now + t:
            _move(state, acceleration, world.drag, times[index] - now, states[index])
            index += 1
        if ball < 0 or index == len(times):
            break
        _move(state, acceleration, world.drag, t, state)
        now += t
        hits[ball, other] += 1
        if other >= count:
            hit_wall(state, ball, other - count, world, acceleration, on)
            for w in range(walls):  # a push to the side may lift it off another wall it lies on
                if on[ball, w] and w != other - count:
                    on[ball, w] = abs(_dot(state[ball, 3:6], world.normals[w])) <= CONTACT_TOLERANCE
        else:
            hits[other, ball] += 1
            hit_ball(state, ball, other, world)
            on[ball], on[other] = False, False
        events += 1
        if events >= world.max_events:
            state[:, 3:] = 0.0
            for later in range(index, len(times)):
                states[later] = state
            break
    while index < len(times) and ball < 0:
        _move(state, acceleration, world.drag, times[index] - now, states[index])
        index += 1
    return states, hits
