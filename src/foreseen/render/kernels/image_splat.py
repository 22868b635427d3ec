"""Numba kernels that sum 2D Gaussians in the plane of a picture. Twin: `foreseen.render.image_splat`.

A Gaussian is drawn row by row, sixteen pixels at a time, from the first pixel that it reaches in that row to the last.
A record is x, y, across, lean, down: power = across (dx - lean dy)^2 + down dy^2.
"""

import numpy as np
from numba import njit, prange

from foreseen.nn.simd import WIDTH, fma, lanes, load, minimum, splat, store, total, where

HALF = np.float32(0.5)


@njit(inline="always")
def _decay(power):
    """exp(-power) for 0 <= power <= 13, to 1e-5 of itself: a quartic for exp(-power / 32), squared five times."""
    p = fma(splat(3.255067149062754e-08), power, splat(-5.008905603920389e-06))
    p = fma(p, power, splat(0.0004879442629159307))
    p = fma(p, power, splat(-0.031249534387996613))
    p = fma(p, power, splat(1.0))
    p = p * p
    p = p * p
    p = p * p
    p = p * p
    return p * p


@njit(inline="always")
def _rows(row, cut, height):
    """First row that a Gaussian reaches, and one past the last; none where it is not finite."""
    reach = np.sqrt(cut / row[4])
    if not (reach >= 0 and row[2] > 0 and abs(row[0]) < 1e9 and abs(row[1]) < 1e9 and abs(row[3]) < 1e9):
        return 0, 0
    first = min(max(np.ceil(row[1] - HALF - reach), np.float32(0.0)), np.float32(height))
    last = min(max(np.floor(row[1] - HALF + reach) + 1, np.float32(0.0)), np.float32(height))
    return int(first), int(last)


@njit(inline="always")
def _span(row, y, cut, width):
    """In row y: the middle, the first pixel that the Gaussian reaches, one past the last."""
    down = np.float32(y) + HALF - row[1]
    middle = row[0] - HALF + row[3] * down
    # A little more than the cut, so that rounding leaves no pixel out.
    half = np.sqrt(max(cut * np.float32(1.0001) - row[4] * down * down, np.float32(0.0)) / row[2])
    first = min(max(np.ceil(middle - half), np.float32(0.0)), np.float32(width))
    last = min(max(np.floor(middle + half) + 1, np.float32(0.0)), np.float32(width))
    return down, middle, int(first), int(last)


@njit(parallel=True, cache=True, nogil=True, boundscheck=False, error_model="numpy")
def draw(record, weights, cut, planes, chunks):
    """Fills `planes [B, C, H, W]` from `record [B, N, 5]` and `weights [B, N, C]`. A job is one band of one picture."""
    images, channels, height, width = planes.shape
    count, stride = record.shape[1], width + WIDTH
    for chunk in prange(chunks):
        sums = np.empty(channels * height * stride, np.float32)
        for job in range(chunk, images * chunks, chunks):
            image, band = job // chunks, job % chunks
            top, bottom = band * height // chunks, (band + 1) * height // chunks
            sums[:] = np.float32(0.0)
            for n in range(count):
                row = record[image, n]
                first, last = _rows(row, cut, height)
                for y in range(max(first, top), min(last, bottom)):
                    down, middle, begin, end = _span(row, y, cut, width)
                    base = splat(row[4] * down * down)
                    for x in range(begin, end, WIDTH):
                        across = lanes() + splat(np.float32(x) - middle)
                        power = fma(splat(row[2]) * across, across, base)
                        value = where(power <= splat(cut), _decay(minimum(power, splat(13.0))), splat(0.0))
                        for c in range(channels):
                            at = (c * height + y) * stride + x
                            store(sums, at, fma(value, splat(weights[image, n, c]), load(sums, at)))
            for c in range(channels):
                for y in range(top, bottom):
                    at = (c * height + y) * stride
                    planes[image, c, y] = sums[at : at + width]


@njit(parallel=True, cache=True, nogil=True, boundscheck=False, error_model="numpy")
def draw_backward(record, weights, cut, gradient, grad_record, grad_weights, chunks):
    """Fills the gradients of `record` and `weights` from that of `draw`'s planes `[B, C, H, W]`."""
    images, channels, height, width = gradient.shape
    count, stride = record.shape[1], width + WIDTH
    for chunk in prange(chunks):
        slopes, sums = np.zeros(channels * height * stride, np.float32), np.empty(channels * WIDTH, np.float32)
        drawn = -1
        for job in range(chunk * images * count // chunks, (chunk + 1) * images * count // chunks):
            image, n = job // count, job % count
            if image != drawn:
                for c in range(channels):
                    for y in range(height):
                        at = (c * height + y) * stride
                        slopes[at : at + width] = gradient[image, c, y]
                drawn = image
            row = record[image, n]
            s_u, s_uu, s_d, s_dd, s_ud = splat(0.0), splat(0.0), splat(0.0), splat(0.0), splat(0.0)
            for c in range(channels):
                store(sums, c * WIDTH, splat(0.0))
            first, last = _rows(row, cut, height)
            for y in range(first, last):
                down, middle, begin, end = _span(row, y, cut, width)
                base = splat(row[4] * down * down)
                for x in range(begin, end, WIDTH):
                    across = lanes() + splat(np.float32(x) - middle)
                    power = fma(splat(row[2]) * across, across, base)
                    value = where(power <= splat(cut), _decay(minimum(power, splat(13.0))), splat(0.0))
                    pull = splat(0.0)
                    for c in range(channels):
                        slope = load(slopes, (c * height + y) * stride + x)
                        pull = fma(slope, splat(weights[image, n, c]), pull)
                        store(sums, c * WIDTH, fma(value, slope, load(sums, c * WIDTH)))
                    pull = -(pull * value)
                    across_pull, down_pull = pull * across, pull * splat(down)
                    s_u, s_d = s_u + across_pull, s_d + down_pull
                    s_uu, s_dd = fma(across_pull, across, s_uu), fma(down_pull, splat(down), s_dd)
                    s_ud = fma(across_pull, splat(down), s_ud)
            out, two = grad_record[image, n], np.float32(2.0)
            out[0] = -two * row[2] * total(s_u)
            out[1] = two * row[2] * row[3] * total(s_u) - two * row[4] * total(s_d)
            out[2], out[3], out[4] = total(s_uu), -two * row[2] * total(s_ud), total(s_dd)
            for c in range(channels):
                grad_weights[image, n, c] = total(load(sums, c * WIDTH))
