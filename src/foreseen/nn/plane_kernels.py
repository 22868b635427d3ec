"""Numba kernels of feature-plane interpolation: forward, and backward to planes and coordinates.

`foreseen.nn.planes` holds the plain-torch twin that defines them and the autograd function that calls them.

Layout. All planes lie in one flat float32 array. A plane is `[group, row, column, channel]`; `layout[s, p]` gives, for
scale s and plane p, its offset, rows, columns, and the two coordinate axes that index column and row. Samples are
`coords [M, D]` in [-1, 1] (clamped), each with a `group [M]`. A scale's feature is the product of its planes' values.

Backward gives every thread its own gradient array, so no atomics are needed.
"""

import numpy as np
from numba import get_num_threads, njit, prange

MAX_PLANES = 8
MAX_CHANNELS = 64


def threads() -> int:
    """Threads that the kernels will use. Read outside the kernels: one that reads it inside is not cached."""
    return get_num_threads()


@njit(inline="always")
def _cell(x, n):
    """Cell and fraction of a coordinate in [-1, 1] on n nodes, and the slope of the position (0 where clamped)."""
    u = (x + 1.0) * 0.5 * (n - 1)
    slope = 0.5 * (n - 1)
    if u <= 0.0:
        return 0, np.float32(0.0), np.float32(0.0)
    if u >= n - 1:
        return n - 2, np.float32(1.0), np.float32(0.0)
    i = int(u)
    return i, np.float32(u - i), np.float32(slope)


@njit(parallel=True, fastmath=True, cache=True, nogil=True, boundscheck=False)
def forward(data, layout, coords, group, channels, out, chunks):
    count = coords.shape[0]
    scales, planes = layout.shape[0], layout.shape[1]
    for chunk in prange(chunks):
        for m in range(chunk * count // chunks, (chunk + 1) * count // chunks):
            for s in range(scales):
                base = s * channels
                for p in range(planes):
                    offset, rows, cols = layout[s, p, 0], layout[s, p, 1], layout[s, p, 2]
                    j, fx, _ = _cell(coords[m, layout[s, p, 3]], cols)
                    i, fy, _ = _cell(coords[m, layout[s, p, 4]], rows)
                    a = offset + ((group[m] * rows + i) * cols + j) * channels
                    b = a + cols * channels
                    w00 = (1 - fx) * (1 - fy)
                    w01 = fx * (1 - fy)
                    w10 = (1 - fx) * fy
                    w11 = fx * fy
                    if p == 0:
                        for c in range(channels):
                            out[m, base + c] = (
                                w00 * data[a + c]
                                + w01 * data[a + channels + c]
                                + w10 * data[b + c]
                                + w11 * data[b + channels + c]
                            )
                    else:
                        for c in range(channels):
                            out[m, base + c] *= (
                                w00 * data[a + c]
                                + w01 * data[a + channels + c]
                                + w10 * data[b + c]
                                + w11 * data[b + channels + c]
                            )


@njit(parallel=True, fastmath=True, cache=True, nogil=True, boundscheck=False)
def backward(data, layout, coords, group, channels, grad_out, grad_data, grad_coords, chunks):
    """`grad_data [chunks, P]` must be zero on entry; `grad_coords [M, D]` too."""
    count = coords.shape[0]
    scales, planes = layout.shape[0], layout.shape[1]
    for chunk in prange(chunks):
        value = np.empty((MAX_PLANES, MAX_CHANNELS), np.float32)
        at = np.empty(MAX_PLANES, np.int64)
        down = np.empty(MAX_PLANES, np.int64)
        fxs = np.empty(MAX_PLANES, np.float32)
        fys = np.empty(MAX_PLANES, np.float32)
        sxs = np.empty(MAX_PLANES, np.float32)
        sys = np.empty(MAX_PLANES, np.float32)
        g = np.empty(MAX_CHANNELS, np.float32)
        grad = grad_data[chunk]
        for m in range(chunk * count // chunks, (chunk + 1) * count // chunks):
            for s in range(scales):
                base = s * channels
                for p in range(planes):
                    offset, rows, cols = layout[s, p, 0], layout[s, p, 1], layout[s, p, 2]
                    j, fx, sx = _cell(coords[m, layout[s, p, 3]], cols)
                    i, fy, sy = _cell(coords[m, layout[s, p, 4]], rows)
                    a = offset + ((group[m] * rows + i) * cols + j) * channels
                    b = a + cols * channels
                    at[p], down[p], fxs[p], fys[p], sxs[p], sys[p] = a, b, fx, fy, sx, sy
                    w00 = (1 - fx) * (1 - fy)
                    w01 = fx * (1 - fy)
                    w10 = (1 - fx) * fy
                    w11 = fx * fy
                    for c in range(channels):
                        value[p, c] = (
                            w00 * data[a + c]
                            + w01 * data[a + channels + c]
                            + w10 * data[b + c]
                            + w11 * data[b + channels + c]
                        )
                for p in range(planes):
                    for c in range(channels):
                        g[c] = grad_out[m, base + c]
                    for q in range(planes):
                        if q != p:
                            for c in range(channels):
                                g[c] *= value[q, c]
                    a, b, fx, fy = at[p], down[p], fxs[p], fys[p]
                    w00 = (1 - fx) * (1 - fy)
                    w01 = fx * (1 - fy)
                    w10 = (1 - fx) * fy
                    w11 = fx * fy
                    dx = np.float32(0.0)
                    dy = np.float32(0.0)
                    for c in range(channels):
                        v00, v01 = data[a + c], data[a + channels + c]
                        v10, v11 = data[b + c], data[b + channels + c]
                        dx += g[c] * ((v01 - v00) * (1 - fy) + (v11 - v10) * fy)
                        dy += g[c] * ((v10 - v00) * (1 - fx) + (v11 - v01) * fx)
                    for c in range(channels):
                        grad[a + c] += g[c] * w00
                        grad[a + channels + c] += g[c] * w01
                    for c in range(channels):
                        grad[b + c] += g[c] * w10
                        grad[b + channels + c] += g[c] * w11
                    grad_coords[m, layout[s, p, 3]] += dx * sxs[p]
                    grad_coords[m, layout[s, p, 4]] += dy * sys[p]
