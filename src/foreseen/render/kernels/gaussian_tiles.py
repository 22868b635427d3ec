"""Lists of the Gaussians that reach each tile, nearest first: a radix sort by depth, then a counting sort into
tiles."""

import numpy as np
from numba import njit

from foreseen.render.kernels.gaussian_projection import DEPTH

TILE_WIDTH, TILE_HEIGHT = 64, 16
"""In pixels. Wide, because work on a row starts at the first pixel of a Gaussian, not of a tile."""
_BITS = 11


@njit(cache=True, nogil=True, boundscheck=False)
def bin_gaussians(record, tiles, columns, rows):
    """Returns, for all Gaussians [N], where their slots begin (one slot for every tile that one reaches); for all tiles
    [columns rows + 1], where their entries begin; and the entries [P]: Gaussians, front to back, equals by index."""
    count = record.shape[0]
    offsets, total, seen = np.empty(count, np.int64), 0, 0
    starts = np.zeros(columns * rows + 1, np.int64)
    for n in range(count):
        offsets[n] = total
        many = (tiles[n, 1] - tiles[n, 0]) * (tiles[n, 3] - tiles[n, 2])
        total += many
        seen += many > 0
        for row in range(tiles[n, 2], tiles[n, 3]):
            for column in range(tiles[n, 0], tiles[n, 1]):
                starts[row * columns + column + 1] += 1
    for tile in range(columns * rows):
        starts[tile + 1] += starts[tile]
    order = _by_depth(record, tiles, seen)
    entries, place = np.empty(total, np.int32), starts[:-1].copy()
    for n in order:
        for row in range(tiles[n, 2], tiles[n, 3]):
            for column in range(tiles[n, 0], tiles[n, 1]):
                tile = row * columns + column
                entries[place[tile]] = n
                place[tile] += 1
    return offsets, starts, entries


@njit(cache=True, nogil=True, boundscheck=False)
def _by_depth(record, tiles, seen):
    """Indices of the `seen` Gaussians by depth; positive floats sort as their bits do."""
    keys, order = np.empty(seen, np.float32), np.empty(seen, np.int32)
    place = 0
    for n in range(record.shape[0]):
        if tiles[n, 1] > tiles[n, 0]:
            keys[place], order[place] = record[n, DEPTH], n
            place += 1
    bits = keys.view(np.uint32)
    other_bits, other_order = np.empty(seen, np.uint32), np.empty(seen, np.int32)
    size = 1 << _BITS
    for shift in range(0, 32, _BITS):
        counts = np.zeros(size + 1, np.int64)
        for i in range(seen):
            counts[((bits[i] >> np.uint32(shift)) & np.uint32(size - 1)) + 1] += 1
        for i in range(size):
            counts[i + 1] += counts[i]
        for i in range(seen):
            digit = (bits[i] >> np.uint32(shift)) & np.uint32(size - 1)
            to = counts[digit]
            counts[digit] += 1
            other_bits[to], other_order[to] = bits[i], order[i]
        bits, other_bits = other_bits, bits
        order, other_order = other_order, order
    return order
