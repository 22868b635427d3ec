"""One Numba kernel that renders rays through voxel grids in moving boxes, and differentiates what it rendered.

`foreseen.render.voxel_rays` calls it and says what it computes; the twin is the packed renderer with the field's plain
form (`VoxelScene.composed`).

The backward pass walks each ray front to back once more. What lies behind a sample is the ray's final colour minus the
sum up to it, so the forward pass keeps nothing but that colour. Every thread has its own gradient arrays.
"""

import numpy as np
from numba import njit, prange

from foreseen.nn.voxel_kernels import CHANNELS, gather_features, scatter_gradients


@njit(inline="always")
def _enter(origin, direction, rotation, centre, half, near, far, start, slope):
    """A ray in a box's own coordinates, `start + t slope`, and where it enters and leaves the box (enters after it
    leaves where it misses)."""
    low, high = near, far
    for a in range(3):
        o = np.float32(0.0)
        d = np.float32(0.0)
        for b in range(3):
            o += rotation[b, a] * (origin[b] - centre[b])
            d += rotation[b, a] * direction[b]
        o /= half[a]
        d /= half[a]
        start[a] = o
        slope[a] = d
        if abs(d) < 1e-9:
            if abs(o) > 1:
                high = low - np.float32(1.0)
            continue
        t0 = (np.float32(-1.0) - o) / d
        t1 = (np.float32(1.0) - o) / d
        low = max(low, min(t0, t1))
        high = min(high, max(t0, t1))
    return low, high


@njit(parallel=True, fastmath=True, cache=True, nogil=True, boundscheck=False)
def trace(
    order, origins, directions, views, rows, jitter, near, far, step, background,
    rotations, centres, half_extents, ray_strides, grid, threshold,
    layout, index, values, gain, shift, scales, light, stop,
    rgb, depth, opacity, samples,
    differentiate, g_rgb, g_depth, g_opacity, grad_values, grad_others, grad_rotations, grad_centres, grad_light,
    chunks,
):  # fmt: skip
    """Renders rays into `rgb [N, 3]`, `depth`, `opacity`, `samples [N]`; with `differentiate` it reads those and adds
    gradients.

    Shapes: order [N], in which the rays are taken; origins, directions, views (unit, world) [N, 3]; rows [N], which
    pose; jitter [N] in 0..1; rotations [R, K, 3, 3]; centres [R, K, 3]; half_extents [K, 3]; ray_strides [K]; grid [K,
    G, G, G] cached densities; layout [K, L, 2]; index flat; values [M, 7]; scales [K] density per unit length for a
    softplus of 1; light [3]; grad_values [M, 7] of the first chunk; grad_others [chunks - 1, M, 7] of the others;
    grad_rotations [chunks, R, K, 3, 3]; grad_centres [chunks, R, K, 3]; grad_light [chunks, 3].
    """
    count, parts, size, levels = origins.shape[0], centres.shape[1], grid.shape[1], layout.shape[1]
    one, zero, half_cell = np.float32(1.0), np.float32(0.0), np.float32(0.5) * np.float32(size)
    for chunk in prange(chunks):
        grad_mine = grad_values if chunk == 0 else grad_others[chunk - 1]
        start, slope = np.empty((parts, 3), np.float32), np.empty((parts, 3), np.float32)
        low, high = np.empty(parts, np.float32), np.empty(parts, np.float32)
        local, features = np.empty(3, np.float32), np.empty(CHANNELS, np.float32)
        at, fraction = np.empty((levels, 8), np.int64), np.empty((levels, 3), np.float32)
        toward, color = np.empty((parts, 3), np.float32), np.empty(3, np.float32)
        g, g_color, g_local = np.empty(CHANNELS, np.float32), np.empty(3, np.float32), np.empty(3, np.float32)
        sum_flat, sum_far = np.zeros((parts, 3), np.float32), np.zeros((parts, 3), np.float32)
        sum_toward, done = np.zeros((parts, 3), np.float32), np.empty(3, np.float32)
        for place in range(chunk * count // chunks, (chunk + 1) * count // chunks):
            r = order[place]
            row = rows[r]
            first, last = far, near
            length = step * np.sqrt(directions[r, 0] ** 2 + directions[r, 1] ** 2 + directions[r, 2] ** 2)
            for k in range(parts):
                low[k], high[k] = _enter(
                    origins[r], directions[r], rotations[row, k], centres[row, k], half_extents[k], near, far,
                    start[k], slope[k],
                )  # fmt: skip
                if high[k] < low[k]:
                    continue
                first, last = min(first, low[k]), max(last, high[k])
                for a in range(3):
                    toward[k, a] = zero
                    for b in range(3):
                        toward[k, a] += rotations[row, k, b, a] * (light[b] - views[r, b])
                    sum_flat[k, a], sum_far[k, a], sum_toward[k, a] = zero, zero, zero
            transmittance, reached, kept = one, zero, 0
            for a in range(3):
                done[a] = zero
            i = max(int((first - near) / step - one), 0)
            while transmittance >= stop:
                t = np.float32(near + (np.float32(i) + jitter[r]) * step)
                if t > last:
                    break
                beside, upcoming = True, last
                for k in range(parts):
                    if t < low[k]:
                        if high[k] >= low[k]:
                            upcoming = min(upcoming, low[k])
                        continue
                    if t > high[k]:
                        continue
                    beside = False
                    # Jitter also chooses the step within a stride: one half is the middle.
                    if i % ray_strides[k] != int(jitter[r] * ray_strides[k]):
                        continue
                    outside = False
                    for a in range(3):
                        local[a] = start[k, a] + t * slope[k, a]
                        outside |= not (-one <= local[a] <= one)
                    if outside:
                        continue
                    x = min(int((local[0] + one) * half_cell), size - 1)
                    y = min(int((local[1] + one) * half_cell), size - 1)
                    z = min(int((local[2] + one) * half_cell), size - 1)
                    if grid[k, x, y, z] <= threshold:
                        continue
                    gather_features(local, layout[k], index, values, at, fraction, features)
                    raw = max(gain * features[0] + shift, np.float32(-30.0))
                    rise = one / (one + np.exp(-raw))  # slope of the softplus
                    soft = np.log(one + np.exp(raw)) if raw < 15 else raw
                    long = length * ray_strides[k] * scales[k]
                    passed = np.exp(-soft * long)
                    weight = transmittance * (one - passed)
                    transmittance *= passed
                    kept += 1
                    reached += weight * t
                    shade = one
                    for a in range(3):
                        shade += features[4 + a] * toward[k, a]
                    for a in range(3):
                        color[a] = min(max(features[1 + a] * shade, zero), one)
                        done[a] += weight * color[a]
                    if not differentiate:
                        continue
                    thick = g_depth[r] * (transmittance * t - (depth[r] - reached)) + g_opacity[r] * (one - opacity[r])
                    g_shade = zero
                    for a in range(3):
                        thick += g_rgb[r, a] * (transmittance * color[a] - (rgb[r, a] - done[a]))
                        # A colour that was clamped to 0..1 gets only gradients that lead back into the range.
                        c = features[1 + a] * shade
                        g_color[a] = weight * g_rgb[r, a]
                        if (c > one and g_color[a] < zero) or (c < zero and g_color[a] > zero):
                            g_color[a] = zero
                        g[1 + a] = g_color[a] * shade
                        g_shade += g_color[a] * features[1 + a]
                    g[0] = thick * long * rise * gain
                    for a in range(3):
                        g[4 + a] = g_shade * toward[k, a]
                        sum_toward[k, a] += g_shade * features[4 + a]
                    scatter_gradients(layout[k], at, fraction, values, g, grad_mine, g_local)
                    for a in range(3):
                        sum_flat[k, a] += g_local[a] / half_extents[k, a]
                        sum_far[k, a] += t * g_local[a] / half_extents[k, a]
                i = max(i + 1, int((upcoming - near) / step - one)) if beside else i + 1
            if not differentiate:
                for a in range(3):
                    rgb[r, a] = done[a] + transmittance * background[a]
                depth[r], opacity[r], samples[r] = reached, one - transmittance, kept
                continue
            for k in range(parts):
                if high[k] < low[k]:
                    continue
                for b in range(3):
                    for a in range(3):
                        grad_rotations[chunk, row, k, b, a] += (
                            sum_flat[k, a] * (origins[r, b] - centres[row, k, b]) + sum_far[k, a] * directions[r, b]
                        )
                        grad_centres[chunk, row, k, b] -= sum_flat[k, a] * rotations[row, k, b, a]
                        grad_light[chunk, b] += rotations[row, k, b, a] * sum_toward[k, a]
