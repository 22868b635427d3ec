"""Numba kernels for packed samples: finding them along rays, and compositing them. Twins: `foreseen.render.marching`.

Packed means that the samples of all rays stand in one list, ray after ray, each ray's from near to far;
`starts [N + 1]` says where each ray's begin.
"""

import numpy as np
from numba import njit, prange

CELL_THICKNESS = 1.75
"""Largest optical thickness of one cell in the test that ends a ray. With this value a ray of transmittance below 0.001
has passed four opaque cells. Larger: rays end earlier, and may miss what lies behind one cell."""


@njit(inline="always")
def _local(origin, direction, distance, rotation, centre, half, out):
    """Coordinates in [-1, 1] of a point of the ray in a component's frame; False outside."""
    inside = True
    for a in range(3):
        value = np.float32(0.0)
        for b in range(3):
            value += rotation[b, a] * (origin[b] + distance * direction[b] - centre[b])
        out[a] = value / half[a]
        if not (-1.0 <= out[a] <= 1.0):
            inside = False
    return inside


@njit(inline="always")
def _span(origin, direction, rotation, centre, half, near, far):
    """Entry and exit distance of a ray through a component's box (slab test); exit < entry where it misses."""
    low, high = near, far
    for a in range(3):
        o = np.float32(0.0)
        d = np.float32(0.0)
        for b in range(3):
            o += rotation[b, a] * (origin[b] - centre[b])
            d += rotation[b, a] * direction[b]
        if abs(d) < 1e-9:
            if abs(o) > half[a]:
                return np.float32(1.0), np.float32(0.0)
            continue
        t0 = (-half[a] - o) / d
        t1 = (half[a] - o) / d
        if t0 > t1:
            t0, t1 = t1, t0
        low = max(low, t0)
        high = min(high, t1)
    return low, high


@njit(inline="always")
def _cached_density(grid, cell, local, size):
    i = min(int((local[0] + 1.0) * 0.5 * size), size - 1)
    j = min(int((local[1] + 1.0) * 0.5 * size), size - 1)
    k = min(int((local[2] + 1.0) * 0.5 * size), size - 1)
    return grid[cell, i, j, k]


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def march(
    origins, directions, jitter, near, far, step, rotations, centres, half_extents, ray_strides, cells, grid, threshold,
    stop, write, starts, ray_index, component, distances, chunks,
):  # fmt: skip
    """Walks each ray in equal steps and keeps the points where some component's cached density exceeds `threshold`.

    Called twice: with `write` False it counts each ray's samples into `starts[ray + 1]`; with True it fills the arrays.
    A ray ends when the transmittance of the cached density (no cell thicker than `CELL_THICKNESS`) is below `stop`.
    Shapes: origins, directions [N, 3]; jitter [N] in 0..1; rotations [N, K, 3, 3]; centres [N, K, 3];
    half_extents [K, 3]; ray_strides [K] (a component is sampled at every so many steps); cells [N, K] (a component's
    grid, -1 for none); grid [B, G, G, G].
    """
    count, parts, size = origins.shape[0], centres.shape[1], grid.shape[1]
    for chunk in prange(chunks):
        local = np.empty(3, np.float32)
        low = np.empty(parts, np.float32)
        high = np.empty(parts, np.float32)
        maximum = np.empty(parts, np.float32)
        for r in range(chunk * count // chunks, (chunk + 1) * count // chunks):
            first, last = far, near
            length = step * np.sqrt(directions[r, 0] ** 2 + directions[r, 1] ** 2 + directions[r, 2] ** 2)
            for k in range(parts):
                # A cell stores its largest density: the ray may still miss what is opaque in it.
                cell = 2 * max(half_extents[k, 0], half_extents[k, 1], half_extents[k, 2]) / size
                maximum[k] = CELL_THICKNESS * min(1.0, length * ray_strides[k] / cell)
                if cells[r, k] < 0:
                    low[k], high[k] = np.float32(1.0), np.float32(0.0)
                    continue
                low[k], high[k] = _span(
                    origins[r], directions[r], rotations[r, k], centres[r, k], half_extents[k], near, far
                )
                if high[k] >= low[k]:
                    first = min(first, low[k])
                    last = max(last, high[k])
            kept = 0
            transmittance = np.float32(1.0)
            base = starts[r]
            i = int((first - near) / step)
            while True:
                t = np.float32(near + (i + jitter[r]) * step)
                if t > last or t > far or transmittance < stop:
                    break
                for k in range(parts):
                    # Jitter also chooses the step within a stride: one half is the middle.
                    if t < low[k] or t > high[k] or i % ray_strides[k] != int(jitter[r] * ray_strides[k]):
                        continue
                    if not _local(origins[r], directions[r], t, rotations[r, k], centres[r, k], half_extents[k], local):
                        continue
                    density = _cached_density(grid, cells[r, k], local, size)
                    if density <= threshold:
                        continue
                    transmittance *= np.exp(-min(density * length * ray_strides[k], maximum[k]))
                    if write:
                        ray_index[base + kept] = r
                        component[base + kept] = k
                        distances[base + kept] = t
                    kept += 1
                i += 1
            if not write:
                starts[r + 1] = kept


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def composite(density, color, distances, lengths, starts, background, rgb, depth, opacity, weights, chunks):
    """Front to back over each ray's samples, `lengths [M]` long."""
    count = starts.shape[0] - 1
    for chunk in prange(chunks):
        for r in range(chunk * count // chunks, (chunk + 1) * count // chunks):
            transmittance = np.float32(1.0)
            a0 = np.float32(0.0)
            a1 = np.float32(0.0)
            a2 = np.float32(0.0)
            z = np.float32(0.0)
            for i in range(starts[r], starts[r + 1]):
                keep = np.exp(-density[i] * lengths[i])
                w = transmittance * (np.float32(1.0) - keep)
                weights[i] = w
                a0 += w * color[i, 0]
                a1 += w * color[i, 1]
                a2 += w * color[i, 2]
                z += w * distances[i]
                transmittance *= keep
            rgb[r, 0] = a0 + transmittance * background[r, 0]
            rgb[r, 1] = a1 + transmittance * background[r, 1]
            rgb[r, 2] = a2 + transmittance * background[r, 2]
            depth[r] = z
            opacity[r] = np.float32(1.0) - transmittance


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def composite_backward(
    color, distances, lengths, starts, rgb, depth, opacity, weights,
    g_rgb, g_depth, g_opacity, g_density, g_color, chunks,
):  # fmt: skip
    """Front to back again: what lies behind a sample is the total less the prefix, so nothing else is saved."""
    count = starts.shape[0] - 1
    for chunk in prange(chunks):
        for r in range(chunk * count // chunks, (chunk + 1) * count // chunks):
            end = np.float32(1.0) - opacity[r]
            v0, v1, v2, vz, va = g_rgb[r, 0], g_rgb[r, 1], g_rgb[r, 2], g_depth[r], g_opacity[r]
            # What the samples after this one and the background make of v . output.
            behind = v0 * rgb[r, 0] + v1 * rgb[r, 1] + v2 * rgb[r, 2] + vz * depth[r]
            transmittance = np.float32(1.0)
            for i in range(starts[r], starts[r + 1]):
                w = weights[i]
                here = v0 * color[i, 0] + v1 * color[i, 1] + v2 * color[i, 2] + vz * distances[i]
                g_color[i, 0] = w * v0
                g_color[i, 1] = w * v1
                g_color[i, 2] = w * v2
                behind -= w * here
                transmittance -= w
                # d alpha = length * (1 - alpha) d sigma; transmittance after this sample is T (1 - alpha).
                g_density[i] = lengths[i] * (transmittance * here - behind + va * end)
