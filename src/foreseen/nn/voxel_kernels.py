"""Numba kernel of voxel grids' roughness and its gradient. Twin: `VoxelGrids.roughness_reference`."""

import numpy as np
from numba import njit, prange


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def roughness(values, index, offset, nodes, first, period, weights, grad):
    """Sum over voxels of the planes first, first + period, ... (along x), and over each one's next neighbours along x,
    y and z, of the weighted squared difference; adds its gradient to `grad [M, C]`.

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
                        own += weights[c] * d * d
                        g = np.float32(2.0) * weights[c] * d
                        grad[b, c] += g
                        grad[a, c] -= g
        total += own
        pairs += own_pairs
    return total, pairs
