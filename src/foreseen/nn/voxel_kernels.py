"""Numba kernels of voxel grids: features at points, and roughness. Twins: `foreseen.nn.voxels`."""

import numpy as np
from numba import njit, prange

CHANNELS = 7
"""Density before the softplus, colour (3), shade (3)."""


@njit(inline="always")
def gather_features(local, layout, index, values, at, fraction, features):
    """Features at a point of a box: the sum over levels of what the eight voxels around it hold. Fills `at [L, 8]`
    (rows, -1 for none) and `fraction [L, 3]`."""
    for c in range(CHANNELS):
        features[c] = np.float32(0.0)
    for level in range(layout.shape[0]):
        n = layout[level, 1]
        cell = layout[level, 0]
        for a in range(3):
            u = (local[a] + np.float32(1.0)) * np.float32(0.5) * np.float32(n - 1)
            i = min(max(int(u), 0), n - 2)
            fraction[level, a] = u - np.float32(i)
            cell += i * (n * n if a == 0 else (n if a == 1 else 1))
        for q in range(8):
            row = index[cell + (q >> 2) * n * n + ((q >> 1) & 1) * n + (q & 1)]
            at[level, q] = row
            if row < 0:
                continue
            w = fraction[level, 0] if q & 4 else np.float32(1.0) - fraction[level, 0]
            w *= fraction[level, 1] if q & 2 else np.float32(1.0) - fraction[level, 1]
            w *= fraction[level, 2] if q & 1 else np.float32(1.0) - fraction[level, 2]
            for c in range(CHANNELS):
                features[c] += w * values[row, c]


@njit(inline="always")
def scatter_gradients(layout, at, fraction, values, g, grad_values, grad_local):
    """The transpose of `gather_features`: gradients `g` of the features to the voxels, and to the point."""
    for a in range(3):
        grad_local[a] = np.float32(0.0)
    for level in range(layout.shape[0]):
        half = np.float32(0.5) * np.float32(layout[level, 1] - 1)
        for q in range(8):
            row = at[level, q]
            if row < 0:
                continue
            x = fraction[level, 0] if q & 4 else np.float32(1.0) - fraction[level, 0]
            y = fraction[level, 1] if q & 2 else np.float32(1.0) - fraction[level, 1]
            z = fraction[level, 2] if q & 1 else np.float32(1.0) - fraction[level, 2]
            w = x * y * z
            pull = np.float32(0.0)
            for c in range(CHANNELS):
                pull += g[c] * values[row, c]
                grad_values[row, c] += w * g[c]
            pull *= half
            grad_local[0] += pull * y * z if q & 4 else -pull * y * z
            grad_local[1] += pull * x * z if q & 2 else -pull * x * z
            grad_local[2] += pull * x * y if q & 1 else -pull * x * y


@njit(parallel=True, fastmath=True, cache=True, nogil=True, boundscheck=False)
def features(local, box, layout, index, values, out, chunks):
    """Features `out [M, 7]` at points `local [M, 3]` of boxes `box [M]`."""
    for chunk in prange(chunks):
        at, fraction = np.empty((layout.shape[1], 8), np.int64), np.empty((layout.shape[1], 3), np.float32)
        for m in range(chunk * len(local) // chunks, (chunk + 1) * len(local) // chunks):
            gather_features(local[m], layout[box[m]], index, values, at, fraction, out[m])


@njit(parallel=True, fastmath=True, cache=True, nogil=True, boundscheck=False)
def features_backward(local, box, layout, index, values, g, grad_local, grad_values, grad_others, chunks):
    """Gradients of `features`: to the points `[M, 3]`, and to the voxels, `grad_values [V, 7]` of the first chunk and
    `grad_others [chunks - 1, V, 7]` of the others, which must be zero on entry."""
    for chunk in prange(chunks):
        grad_mine = grad_values if chunk == 0 else grad_others[chunk - 1]
        at, fraction = np.empty((layout.shape[1], 8), np.int64), np.empty((layout.shape[1], 3), np.float32)
        unused = np.empty(CHANNELS, np.float32)
        for m in range(chunk * len(local) // chunks, (chunk + 1) * len(local) // chunks):
            gather_features(local[m], layout[box[m]], index, values, at, fraction, unused)
            scatter_gradients(layout[box[m]], at, fraction, values, g[m], grad_mine, grad_local[m])


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def roughness(values, index, offset, nodes, first, period, grad):
    """Sum over voxels of the planes first, first + period, ... (along x), and over each one's next neighbours along x,
    y and z, of the squared difference; adds its gradient to `grad [M, C]`.

    Returns the sum and how many pairs of neighbours it is over. Planes that are worked on side by side never touch the
    same voxel as long as the period is two or more.
    """
    planes = max((nodes - first + period - 1) // period, 0)
    channels = values.shape[1]
    total, pairs = 0.0, 0
    for p in prange(planes):
        i = first + p * period
        own, own_pairs = 0.0, 0
        for j in range(nodes):
            for k in range(nodes):
                here = offset + (i * nodes + j) * nodes + k
                a = index[here]
                if a < 0:
                    continue
                for axis in range(3):
                    if (i, j, k)[axis] == nodes - 1:
                        continue
                    b = index[here + (nodes * nodes, nodes, 1)[axis]]
                    if b < 0:
                        continue
                    own_pairs += 1
                    for c in range(channels):
                        d = values[b, c] - values[a, c]
                        own += d * d
                        g = np.float32(2.0) * d
                        grad[b, c] += g
                        grad[a, c] -= g
        total += own
        pairs += own_pairs
    return total, pairs
