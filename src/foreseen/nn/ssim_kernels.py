"""Numba kernels of structural similarity: its mean, and the slope by every pixel. Twin: `foreseen.nn.ssim`.

Images are `[B, H, L]` with L = width times channels: the taps of a row lie `channels` floats apart. What a window's
value depends on are four blurred planes: of a, b, a^2 + b^2 and a b.
"""

import numpy as np
from numba import njit, prange

from foreseen.nn.simd import WIDTH, fma, lanes, load, splat, store, total, where

TAPS = 11


@njit(nogil=True, boundscheck=False, error_model="numpy")
def _down(a, b, taps, first, size, sums, plane):
    """Blurs the eleven rows of `size` floats that begin at `first`, down the columns, into four planes of `sums`."""
    for block in range(0, size, WIDTH):
        x = min(block, size - WIDTH)
        mean_a, mean_b, squares, product = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
        for k in range(TAPS):
            weight = splat(taps[k])
            one, two = load(a, first + k * size + x), load(b, first + k * size + x)
            mean_a, mean_b = fma(weight, one, mean_a), fma(weight, two, mean_b)
            squares = fma(weight, fma(one, one, two * two), squares)
            product = fma(weight, one * two, product)
        store(sums, x, mean_a)
        store(sums, plane + x, mean_b)
        store(sums, 2 * plane + x, squares)
        store(sums, 3 * plane + x, product)


@njit(inline="always")
def _across(sums, at, step, taps):
    """A plane's blur along the row, where the window begins at `at`."""
    blurred = splat(taps[0]) * load(sums, at)
    for k in range(1, TAPS):
        blurred = fma(splat(taps[k]), load(sums, at + k * step), blurred)
    return blurred


@njit(parallel=True, cache=True, nogil=True, boundscheck=False, error_model="numpy")
def similarity(a, b, channels, taps, c1, c2, slopes, chunks):
    """Sum of the SSIM of all windows inside the images `[B, H, L]`.

    `slopes` `[3, B, H - 10, S]`, zero on entry, gets each window's slope by its mean of a, of a^2 and of a b, from
    column 10 channels on; S is at least L + 10 channels + 32. It is empty where they are not wanted.
    """
    images, height, size = a.shape
    rows, reach = height - TAPS + 1, (TAPS - 1) * channels
    inside, plane, edge = size - reach, size + WIDTH, slopes.shape[3]
    found = np.zeros(chunks, np.float64)
    for chunk in prange(chunks):
        sums = np.zeros(4 * plane, np.float32)
        for job in range(chunk * images * rows // chunks, (chunk + 1) * images * rows // chunks):
            image, row = job // rows, job % rows
            _down(a, b, taps, (image * height + row) * size, size, sums, plane)
            line = splat(0.0)
            for x in range(0, inside, WIDTH):
                mean_a = _across(sums, x, channels, taps)
                mean_b = _across(sums, plane + x, channels, taps)
                squares = _across(sums, 2 * plane + x, channels, taps)
                product = _across(sums, 3 * plane + x, channels, taps)
                means = mean_a * mean_b
                levels = fma(mean_a, mean_a, mean_b * mean_b)
                a1, b1 = means + means + splat(c1), levels + splat(c1)
                a2, b2 = splat(2.0) * (product - means) + splat(c2), squares - levels + splat(c2)
                within = splat(np.float32(inside - x)) > lanes()
                over = splat(1.0) / (b1 * b2)
                value = a1 * a2 * over
                line = line + where(within, value, splat(0.0))
                if edge > 0:
                    by_mean = splat(2.0) * over * (mean_b * (a2 - a1) + mean_a * value * (b1 - b2))
                    at = (image * rows + row) * edge + reach + x
                    planes = images * rows * edge
                    store(slopes, at, where(within, by_mean, splat(0.0)))
                    store(slopes, at + planes, where(within, -(value * b1 * over), splat(0.0)))
                    store(slopes, at + 2 * planes, where(within, splat(2.0) * a1 * over, splat(0.0)))
            found[chunk] += total(line)
    return found.sum()


@njit(parallel=True, cache=True, nogil=True, boundscheck=False, error_model="numpy")
def similarity_backward(a, b, channels, taps, slopes, scale, grad, chunks):
    """Fills `grad` `[B, H, L]` with `scale` times the slope of the sum by every value of `a`."""
    images, height, size = a.shape
    rows, reach, edge = height - TAPS + 1, (TAPS - 1) * channels, slopes.shape[3]
    planes, plane = images * rows * edge, edge + WIDTH
    for chunk in prange(chunks):
        sums = np.zeros(3 * plane, np.float32)
        for job in range(chunk * images * height // chunks, (chunk + 1) * images * height // chunks):
            image, row = job // height, job % height
            first, last = max(row - TAPS + 1, 0), min(row, rows - 1)
            for x in range(0, size + reach, WIDTH):
                s0, s1, s2 = splat(0.0), splat(0.0), splat(0.0)
                for r in range(first, last + 1):
                    weight, at = splat(taps[row - r]), (image * rows + r) * edge + x
                    s0 = fma(weight, load(slopes, at), s0)
                    s1 = fma(weight, load(slopes, at + planes), s1)
                    s2 = fma(weight, load(slopes, at + 2 * planes), s2)
                store(sums, x, s0)
                store(sums, plane + x, s1)
                store(sums, 2 * plane + x, s2)
            for block in range(0, size, WIDTH):
                x = min(block, size - WIDTH)
                at = (image * height + row) * size + x
                by_mean = _across(sums, x, channels, taps)
                by_square = _across(sums, plane + x, channels, taps)
                by_product = _across(sums, 2 * plane + x, channels, taps)
                slope = fma(splat(2.0) * load(a, at), by_square, fma(load(b, at), by_product, by_mean))
                store(grad, at, splat(scale) * slope)
