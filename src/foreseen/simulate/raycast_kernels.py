"""The inner loop of the ray caster: nearest solid, shading, and exact values at the pixel's centre; compiled by Numba.

The kernels run on one thread and release the interpreter's lock, so that several pictures are rendered in parallel, one
on each thread. A pixel depends on its own rays alone: the bytes are the same with any number of threads.

The static solids are traced once for all pictures of a camera: `rays` `[H, W, S, DEPTHS]` along each of the S rays of a
pixel, the last of them through its centre, and `static_pixels` `[H, W, CALM]`, the pixel without moving bodies. Then
only pixels near moving bodies, and near their shadows, are traced again. The tables are those of `kernel_tables`.
"""

from __future__ import annotations

import math

from foreseen.simulate.intersections import EPSILON, MISS, along, compiled, dot, unit
from foreseen.simulate.kernel_tables import (
    ALBEDO,
    BOUND,
    CASTS,
    CENTRE,
    COVERED,
    CX,
    CY,
    DISTANCE,
    FX,
    FY,
    GLOW,
    INSTANCE,
    KIND,
    NORMAL,
    POINT,
    POSITION_AFTER,
    REACH,
    ROTATION,
    ROTATION_AFTER,
    SHOWN,
    SIZE,
    SPHERE,
    SUN,
)
from foreseen.simulate.ray_hits import from_centre, nearest, normal_and_albedo, rotate, rotate_back
from foreseen.simulate.shading import free_sky, glow_on, lit, shadow, sun_on


@compiled
def _pixel_ray(lens, column, row, k, samples):
    """Origin, unit direction, and depth along z per distance, of ray k of a pixel's `samples` squared rays; the one
    after the last runs through the pixel's centre."""
    x, y = column + 0.5, row + 0.5
    if k < samples * samples:
        x, y = column + (k % samples + 0.5) / samples, row + (k // samples + 0.5) / samples
    a, b = (x - lens[CX]) / lens[FX], (y - lens[CY]) / lens[FY]
    d = unit((
        lens[0] * a + lens[1] * b + lens[2],
        lens[4] * a + lens[5] * b + lens[6],
        lens[8] * a + lens[9] * b + lens[10],
    ))  # fmt: skip
    return (lens[3], lens[7], lens[11]), d, 1.0 / math.sqrt(a * a + b * b + 1.0)


@compiled
def _flow(solids, p, lens, point, x, y):
    """Where the body's point that is seen at (x, y) will be seen at the next pose, minus (x, y)."""
    local = rotate_back(solids, p, ROTATION, from_centre(solids, p, point))
    moved = rotate(solids, p, ROTATION_AFTER, local)
    u = moved[0] + solids[p, POSITION_AFTER] - lens[3]
    v = moved[1] + solids[p, POSITION_AFTER + 1] - lens[7]
    w = moved[2] + solids[p, POSITION_AFTER + 2] - lens[11]
    depth = max(lens[2] * u + lens[6] * v + lens[10] * w, EPSILON)
    right, down = lens[0] * u + lens[4] * v + lens[8] * w, lens[1] * u + lens[5] * v + lens[9] * w
    return lens[FX] * right / depth + lens[CX] - x, lens[FY] * down / depth + lens[CY] - y


@compiled
def _triple(a, row, column, k, c):
    return (a[row, column, k, c], a[row, column, k, c + 1], a[row, column, k, c + 2])


@compiled
def _trace_still(solids, heights, lens, light_params, samples, row, column, k, rays):
    """Fill one ray of `rays`."""
    o, d, _ = _pixel_ray(lens, column, row, k, samples)
    t, p = nearest(solids, heights, 0, o, d)
    rays[row, column, k, DISTANCE] = t
    if p < 0:
        return
    point = along(o, d, t)
    normal, albedo = normal_and_albedo(solids, heights, p, point, d, t / (lens[FX] * samples))
    sun = sun_on(normal, light_params)
    covered = shadow(solids, heights, 0, p, point, normal, light_params) if sun > 0.0 else 1.0
    glow = glow_on(normal, light_params) * free_sky(solids, 0, p, point, normal)
    shown = lit(albedo, sun * (1.0 - covered) + glow)
    for c in range(3):
        rays[row, column, k, POINT + c], rays[row, column, k, NORMAL + c] = point[c], normal[c]
        rays[row, column, k, ALBEDO + c], rays[row, column, k, SHOWN + c] = albedo[c], shown[c]
    rays[row, column, k, SUN], rays[row, column, k, GLOW], rays[row, column, k, COVERED] = sun, glow, covered


@compiled
def _summarise(rays, row, column, static_pixels):
    """Fill one pixel of `static_pixels` from its rays."""
    hits = 0
    for k in range(rays.shape[2] - 1):
        if rays[row, column, k, DISTANCE] < MISS:
            hits += 1
            for c in range(3):
                static_pixels[row, column, c] += rays[row, column, k, SHOWN + c]
                static_pixels[row, column, CENTRE + c] += rays[row, column, k, POINT + c]
    static_pixels[row, column, 3], static_pixels[row, column, REACH] = hits / (rays.shape[2] - 1), -1.0
    if hits == 0:
        return
    for c in range(3):
        static_pixels[row, column, c] /= hits
        static_pixels[row, column, CENTRE + c] /= hits
    for k in range(rays.shape[2] - 1):
        if rays[row, column, k, DISTANCE] < MISS:
            square = 0.0
            for c in range(3):
                square += (rays[row, column, k, POINT + c] - static_pixels[row, column, CENTRE + c]) ** 2
            static_pixels[row, column, REACH] = max(static_pixels[row, column, REACH], math.sqrt(square) * 1.001)


@compiled
def fill_backdrop(solids, heights, lens, light_params, samples, rays, static_pixels):
    """Trace the static solids into `rays` and `static_pixels`, both zero before."""
    for row in range(rays.shape[0]):
        for column in range(rays.shape[1]):
            for k in range(rays.shape[2]):
                _trace_still(solids, heights, lens, light_params, samples, row, column, k, rays)
            _summarise(rays, row, column, static_pixels)


@compiled
def _is_static(solids, first, lens, light_params, o, d, static_pixels, row, column):
    """True where no moving solid is seen in the pixel of this central ray, nor changes the light there. Conservative:
    it tests the bounding balls of the moving solids."""
    point = (
        static_pixels[row, column, CENTRE],
        static_pixels[row, column, CENTRE + 1],
        static_pixels[row, column, CENTRE + 2],
    )
    extent = static_pixels[row, column, REACH]
    for p in range(first, solids.shape[0]):
        reach, centre = solids[p, BOUND], from_centre(solids, p, o)
        ahead = -dot(centre, d)
        wide = reach + max(ahead + reach, 0.0) / lens[FX]
        if ahead > -reach and dot(centre, centre) - ahead * ahead <= wide * wide:
            return False
        if extent < 0.0 or solids[p, CASTS] == 0.0:
            continue
        centre, reach = from_centre(solids, p, point), reach + extent
        ahead, square = -dot(centre, (light_params.x, light_params.y, light_params.z)), dot(centre, centre)
        wide = reach + max(ahead + reach, 0.0) * 1.01 * light_params.radius
        in_shadow = ahead > -reach and square - ahead * ahead <= wide * wide
        if in_shadow or (solids[p, KIND] == SPHERE and square < (5.0 * solids[p, SIZE] + extent) ** 2):
            return False
    return True


@compiled
def _still_color(solids, heights, first, rays, row, column, k, light_params):
    """sRGB of a static point, in the shadow of the moving solids (from index `first` on)."""
    point, normal = _triple(rays, row, column, k, POINT), _triple(rays, row, column, k, NORMAL)
    before = rays[row, column, k, COVERED]
    covered = before
    if before < 1.0:
        covered = max(before, shadow(solids, heights, first, -1, point, normal, light_params))
    free = free_sky(solids, first, -1, point, normal)
    if covered == before and free == 1.0:
        return _triple(rays, row, column, k, SHOWN)
    light = rays[row, column, k, SUN] * (1.0 - covered) + rays[row, column, k, GLOW] * free
    return lit(_triple(rays, row, column, k, ALBEDO), light)


@compiled
def _moving_color(solids, heights, p, o, d, t, footprint, light_params):
    """sRGB of the point at distance t on a moving solid, in the shadow of all solids."""
    point = along(o, d, t)
    normal, albedo = normal_and_albedo(solids, heights, p, point, d, footprint)
    sun = sun_on(normal, light_params)
    if sun > 0.0:
        sun *= 1.0 - shadow(solids, heights, 0, p, point, normal, light_params)
    return lit(albedo, sun + glow_on(normal, light_params) * free_sky(solids, 0, p, point, normal))


@compiled
def _color(solids, heights, first, lens, light_params, samples, rays, row, column, k):
    """sRGB along one ray of a pixel, and whether it hits anything."""
    o, d, _ = _pixel_ray(lens, column, row, k, samples)
    t, p = nearest(solids, heights, first, o, d)
    if t < rays[row, column, k, DISTANCE]:
        return _moving_color(solids, heights, p, o, d, t, t / (lens[FX] * samples), light_params), 1
    if rays[row, column, k, DISTANCE] < MISS:
        shown = _still_color(solids, heights, first, rays, row, column, k, light_params)
        return (float(shown[0]), float(shown[1]), float(shown[2])), 1
    return (0.0, 0.0, 0.0), 0


@compiled
def _blend(solids, heights, first, lens, light_params, samples, rays, row, column, rgba):
    """Fill one pixel from all its rays."""
    red, green, blue, hits = 0.0, 0.0, 0.0, 0
    count = rays.shape[2] - 1
    for k in range(count):
        color, hit = _color(solids, heights, first, lens, light_params, samples, rays, row, column, k)
        # sRGB is averaged, not linear light: renderers that learn from these pictures blend in the same way.
        red, green, blue, hits = red + color[0], green + color[1], blue + color[2], hits + hit
    if hits > 0:
        rgba[row, column, 0], rgba[row, column, 1] = red / hits, green / hits
        rgba[row, column, 2], rgba[row, column, 3] = blue / hits, hits / count


@compiled
def draw(solids, heights, first, lens, light_params, samples, rays, static_pixels, rgba, truth):
    """Fill a picture and its exact values.

    Args:
        solids: all of them; those from index `first` on move, the others are in `rays` and `static_pixels`.
        samples: rays per pixel and axis.
        rgba: `[H, W, 4]`, zero before: sRGB averaged over the rays that hit, and the share that did.
        truth: `[H, W, 4]`, zero before: instance, depth along z (0: nothing is hit) and flow (0: static) at
            the pixel's centre.
    """
    height, width, count, _ = rays.shape
    for row in range(height):
        for column in range(width):
            o, d, cosine = _pixel_ray(lens, column, row, count - 1, samples)
            still = rays[row, column, count - 1, DISTANCE]
            if still < MISS:
                truth[row, column, 1] = still * cosine
            if _is_static(solids, first, lens, light_params, o, d, static_pixels, row, column):
                for c in range(4):
                    rgba[row, column, c] = static_pixels[row, column, c]
                continue
            _blend(solids, heights, first, lens, light_params, samples, rays, row, column, rgba)
            t, p = nearest(solids, heights, first, o, d)
            if t < still:
                x, y = _flow(solids, p, lens, along(o, d, t), column + 0.5, row + 0.5)
                truth[row, column, 0], truth[row, column, 1] = solids[p, INSTANCE], t * cosine
                truth[row, column, 2], truth[row, column, 3] = x, y
