"""Light on solids: direct light with soft shadows, and ambient light from sky and ground; compiled by Numba."""

from __future__ import annotations

import math

import numpy as np

from foreseen.simulate.intersections import MISS, Vector, along, compiled, dot
from foreseen.simulate.kernel_tables import BOUND, CAPSULE, CASTS, FIELD, KIND, ROTATION, SIZE, SPHERE, LightParameters
from foreseen.simulate.ray_hits import distance_to, from_centre, rotate_back


@compiled
def _covered(offset: float, half: float, disc: float) -> float:
    """Share of the light's disc (angular radius `disc`) behind an object of angular half width `half` at
    `offset`."""
    share = (min(offset + half, disc) - max(offset - half, -disc)) / (2 * disc)
    share = min(max(share, 0.0), 1.0)
    return share * share * (3.0 - 2.0 * share)


@compiled
def _sphere_shade(radius: float, centre: Vector, light: Vector, disc: float) -> float:
    """Covered share of the light behind a sphere; `centre` is the shaded point seen from the sphere's
    centre."""
    distance = math.sqrt(dot(centre, centre))
    if distance <= radius:
        return 1.0
    offset = math.acos(min(max(-dot(centre, light) / distance, -1.0), 1.0))
    return _covered(offset, math.asin(radius / distance), disc)


@compiled
def _capsule_shade(radius: float, half: float, o: Vector, d: Vector, disc: float) -> float:
    """Covered share of the light behind a capsule, where its axis comes nearest to the ray to the light (in
    the capsule's frame)."""
    across = 1.0 - d[2] * d[2]
    z = (o[2] - d[2] * dot(o, d)) / across if across > 1e-12 else 0.0
    z = min(max(z, -half), half)
    ahead = (z - o[2]) * d[2] - o[0] * d[0] - o[1] * d[1]
    if ahead <= 0.0:
        return 0.0
    q = along(o, d, ahead)
    gap = math.sqrt(q[0] * q[0] + q[1] * q[1] + (q[2] - z) * (q[2] - z))
    distance = math.sqrt(gap * gap + ahead * ahead)
    if distance <= radius:
        return 1.0
    return _covered(math.atan2(gap, ahead), math.asin(radius / distance), disc)


@compiled
def shadow(
    solids: np.ndarray,
    heights: np.ndarray,
    first: int,
    hit: int,
    point: Vector,
    normal: Vector,
    light_params: LightParameters,
) -> float:
    """Covered share of the light at a point of solid `hit`, by the solids from index `first` on: soft behind
    spheres and capsules, hard behind boxes and fields."""
    light, disc = (light_params.x, light_params.y, light_params.z), light_params.radius
    covered = 0.0
    for p in range(first, solids.shape[0]):
        kind, reach = solids[p, KIND], solids[p, BOUND]
        if solids[p, CASTS] == 0.0 or (p == hit and kind != FIELD):
            continue
        centre = from_centre(solids, p, point)
        ahead = -dot(centre, light)
        wide = reach + max(ahead + reach, 0.0) * 1.01 * disc
        if ahead < -reach or dot(centre, centre) - ahead * ahead > wide * wide:
            continue
        if kind == SPHERE:
            covered = max(covered, _sphere_shade(reach, centre, light, disc))
        elif kind == CAPSULE:
            o, d = rotate_back(solids, p, ROTATION, centre), rotate_back(solids, p, ROTATION, light)
            covered = max(covered, _capsule_shade(solids[p, SIZE], solids[p, SIZE + 1], o, d, disc))
        elif covered < 1.0 and distance_to(solids, heights, p, along(point, normal, 1e-4), light) < MISS:
            covered = 1.0
    return covered


@compiled
def free_sky(solids: np.ndarray, first: int, hit: int, point: Vector, normal: Vector) -> float:
    """Share of the sky that the spheres from index `first` on do not cover: one of radius r at distance d covers
    cos(angle) r^2/d^2 of the hemisphere, which fades to 0 at d = 5 r."""
    free = 1.0
    for p in range(first, solids.shape[0]):
        if p == hit or solids[p, KIND] != SPHERE or solids[p, CASTS] == 0.0:
            continue
        centre, reach = from_centre(solids, p, point), solids[p, SIZE] ** 2
        square, cosine = max(dot(centre, centre), reach), -dot(centre, normal)
        if square < 25.0 * reach and cosine > 0.0:
            free *= 1.0 - cosine / math.sqrt(square) * (reach / square - 0.04)
    return free


@compiled
def _encode(x: float) -> float:
    """Linear light to sRGB, 0..1."""
    x = min(max(x, 0.0), 1.0)
    return 12.92 * x if x <= 0.0031308 else 1.055 * x ** (1.0 / 2.4) - 0.055


@compiled
def lit(albedo: Vector, light: float) -> Vector:
    return (_encode(light * albedo[0]), _encode(light * albedo[1]), _encode(light * albedo[2]))


@compiled
def sun_on(normal: Vector, light_params: LightParameters) -> float:
    """Direct light on a surface without shadows: Lambert."""
    return light_params.sun * max(
        normal[0] * light_params.x + normal[1] * light_params.y + normal[2] * light_params.z, 0.0
    )


@compiled
def glow_on(normal: Vector, light_params: LightParameters) -> float:
    """Ambient light from sky and ground: a hemisphere."""
    up = 0.5 + 0.5 * normal[2]
    return light_params.sky * up + light_params.ground * (1.0 - up)
