"""Numba kernels that composite projected Gaussians tile by tile, and differentiate what they composited.

`foreseen.render.splat` calls them; `composite_reference` of `foreseen.render.splat_reference` is their twin.

A tile is stored as planes of floats, row after row: first the transmittance of its pixels, then the sums. A Gaussian is
drawn row by row, sixteen pixels at a time, from the first pixel that it reaches in that row to the last. There are no
branches: where alpha is too small the weight is 0, and a finished pixel keeps its transmittance with a negative sign.
The backward pass goes front to back once more. What lies behind a Gaussian is the pixel's final value minus the sum up
to it, so the forward pass keeps nothing but the picture. Each Gaussian has a slot for every tile that it reaches: no
two threads add to the same number.
"""

import numpy as np
from numba import njit, prange

from foreseen.nn.simd import WIDTH, fma, lanes, load, maximum, minimum, root, splat, store, total, where
from foreseen.render.kernels.gaussian_projection import (
    BLUE,
    DEPTH,
    GREEN,
    INVERSE_VARIANCE_X,
    INVERSE_VARIANCE_Y,
    OPACITY,
    REACH,
    RECORD,
    RED,
    SHEAR,
    SUMS,
    X,
    Y,
)  # fmt: skip
from foreseen.render.kernels.gaussian_tiles import TILE_HEIGHT, TILE_WIDTH

STRIDE = TILE_WIDTH + WIDTH
"""Floats from one row of a tile to the next: a load that begins at a row's last pixel stays in the same row."""
PLANE = TILE_HEIGHT * STRIDE
BATCH = 32
"""Number of Gaussians that are fetched together: waiting for one record at a time took a third of the forward pass.
Between batches a tile checks which rows have unfinished pixels."""

ZERO, HALF, ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)


@njit(inline="always")
def decay(power):
    """exp(-power) for 0 <= power <= 6, to 4e-6 of itself: a quartic for exp(-power / 16), squared four times."""
    p = fma(splat(5.289172995246068e-07), power, splat(-4.015849078772295e-05))
    p = fma(p, power, splat(0.0019520570615920545))
    p = fma(p, power, splat(-0.06249932061524068))
    p = fma(p, power, splat(1.0))
    p = p * p
    p = p * p
    p = p * p
    return p * p


@njit(inline="always")
def _spans(row, left, top, begins, ends, middles):
    """For each row of the tile: the Gaussian's middle, and the first and last pixel that it reaches, as floats."""
    down = lanes() + splat(np.float32(top) + HALF - row[Y])
    # A little more than alpha's cut needs, so that rounding leaves no pixel out.
    rest = fma(splat(-row[INVERSE_VARIANCE_Y]) * down, down, splat(row[REACH] * np.float32(1.0001) + np.float32(1e-3)))
    half = root(maximum(rest, splat(0.0)) / splat(row[INVERSE_VARIANCE_X]))
    middle = fma(splat(row[SHEAR]), down, splat(row[X] - np.float32(left) - HALF))
    none = splat(-1.0)
    store(middles, 0, middle)
    store(begins, 0, minimum(maximum(middle - half, splat(0.0)), splat(np.float32(TILE_WIDTH))))
    store(ends, 0, where(rest >= splat(0.0), minimum(middle + half, splat(np.float32(TILE_WIDTH - 1))), none))


@njit(inline="always")
def _fetch(record, entries, batch):
    for e in range(len(entries)):
        store(batch, e * RECORD, load(record, np.int64(entries[e]) * RECORD))


@njit(inline="always")
def _lit(state, first, last):
    """First and last row, among these, with a pixel that has not ended; none if the first is above the last."""
    while first <= last and not _row_is_lit(state, first):
        first += 1
    while first <= last and not _row_is_lit(state, last):
        last -= 1
    return first, last


@njit(inline="always")
def _row_is_lit(state, row):
    left = splat(0.0)
    for x in range(0, TILE_WIDTH, WIDTH):
        left = maximum(left, load(state, row * STRIDE + x))
    return total(left) > 0


@njit(inline="always")
def _rows(row, top, first, last):
    """First and last row that a Gaussian reaches, among these of the tile."""
    middle, reach = row[Y] - HALF - np.float32(top), np.sqrt(row[REACH] / row[INVERSE_VARIANCE_Y])
    begin = max(np.ceil(middle - reach), np.float32(first))
    end = min(np.floor(middle + reach), np.float32(last))
    return int(min(begin, np.float32(TILE_HEIGHT))), int(max(end, np.float32(-1.0)))


@njit(inline="always")
def _meet(state, at, offset, base, inverse_variance_x, opacity, largest, smallest, stop):
    """Updates the transmittance of sixteen pixels by one Gaussian. Returns their horizontal offsets from its centre,
    alpha before and after the cut, and the weight."""
    across = lanes() + splat(offset)
    full = opacity * decay(minimum(fma(inverse_variance_x * across, across, base), splat(6.0)))
    alpha = minimum(full, splat(largest))
    transmittance = load(state, at)
    weight = where(alpha >= splat(smallest), alpha * transmittance, splat(0.0))
    after = transmittance - weight
    alive = after > splat(stop)
    store(state, at, where(alive, after, minimum(transmittance, -transmittance)))
    return across, full, alpha, where(alive, weight, splat(0.0))


@njit(nogil=True, boundscheck=False, error_model="numpy")
def _draw(record, extras, entries, left, top, largest, smallest, stop, state, batch, begins, ends, middles):
    """Composites `entries` onto the tile whose first pixel is (left, top)."""
    channels = extras.shape[1]
    top_row, bottom_row = 0, TILE_HEIGHT - 1
    for e in range(len(entries)):
        if e % BATCH == 0:
            top_row, bottom_row = _lit(state, top_row, bottom_row)
            if top_row > bottom_row:
                break
            _fetch(record, entries[e : e + BATCH], batch)
        n, row = entries[e], batch[e % BATCH]
        _spans(row, left, top, begins, ends, middles)
        inverse_variance_x, opacity = splat(row[INVERSE_VARIANCE_X]), splat(row[OPACITY])
        red, green, blue, depth = splat(row[RED]), splat(row[GREEN]), splat(row[BLUE]), splat(row[DEPTH])
        first, last = _rows(row, top, top_row, bottom_row)
        for r in range(first, last + 1):
            down = np.float32(top + r) + HALF - row[Y]
            base = splat(row[INVERSE_VARIANCE_Y] * down * down)
            begin = int(np.ceil(begins[r]))
            while np.float32(begin) <= ends[r]:
                at = r * STRIDE + begin
                offset = np.float32(begin) - middles[r]
                _, _, _, weight = _meet(state, at, offset, base, inverse_variance_x, opacity, largest, smallest, stop)
                store(state, at + PLANE, fma(weight, red, load(state, at + PLANE)))
                store(state, at + 2 * PLANE, fma(weight, green, load(state, at + 2 * PLANE)))
                store(state, at + 3 * PLANE, fma(weight, blue, load(state, at + 3 * PLANE)))
                store(state, at + 4 * PLANE, fma(weight, depth, load(state, at + 4 * PLANE)))
                for c in range(channels):
                    plane = at + (5 + c) * PLANE
                    store(state, plane, fma(weight, splat(extras[n, c]), load(state, plane)))
                begin += WIDTH


@njit(parallel=True, cache=True, nogil=True, boundscheck=False, error_model="numpy")
def draw(
    record, extras, starts, entries, columns, largest, smallest, stop, background,
    rgb, depth, transmittance, sums, chunks,
):  # fmt: skip
    """Composites all tiles into `rgb [H, W, 3]`, `depth [H, W]` (along z), `transmittance [H, W]`, and the sums of
    `extras [N, E]`, `sums [H, W, E]`."""
    height, width, channels = depth.shape[0], depth.shape[1], extras.shape[1]
    for chunk in prange(chunks):
        state = np.empty((5 + channels) * PLANE, np.float32)
        batch = np.empty((BATCH, RECORD), np.float32)
        begins, ends = np.empty(TILE_HEIGHT, np.float32), np.empty(TILE_HEIGHT, np.float32)
        middles = np.empty(TILE_HEIGHT, np.float32)
        for tile in range(chunk, starts.shape[0] - 1, chunks):
            left, top = (tile % columns) * TILE_WIDTH, (tile // columns) * TILE_HEIGHT
            wide, high = min(TILE_WIDTH, width - left), min(TILE_HEIGHT, height - top)
            state[:PLANE] = -ONE
            state[PLANE:] = ZERO
            for r in range(high):
                state[r * STRIDE : r * STRIDE + wide] = ONE
            _draw(
                record, extras, entries[starts[tile] : starts[tile + 1]], left, top, largest, smallest, stop,
                state, batch, begins, ends, middles,
            )  # fmt: skip
            for r in range(high):
                for x in range(wide):
                    at, y, to = r * STRIDE + x, top + r, left + x
                    through = abs(state[at])
                    transmittance[y, to] = through
                    for c in range(3):
                        rgb[y, to, c] = state[at + (1 + c) * PLANE] + through * background[c]
                    depth[y, to] = state[at + 4 * PLANE]
                    for c in range(channels):
                        sums[y, to, c] = state[at + (5 + c) * PLANE]


@njit(nogil=True, boundscheck=False, error_model="numpy")
def _draw_backward(
    record, extras, entries, tiles, offsets, column, line, largest, smallest, stop, state, batch, begins, ends,
    middles, extra_sums, slots,
):  # fmt: skip
    """Fills the slots of one tile's `entries`. Planes of `state`: transmittance, weighted sum of all that is still
    behind, gradients of the colours, of depth, of the extra channels."""
    channels = extras.shape[1]
    left, top = column * TILE_WIDTH, line * TILE_HEIGHT
    top_row, bottom_row = 0, TILE_HEIGHT - 1
    for e in range(len(entries)):
        if e % BATCH == 0:
            top_row, bottom_row = _lit(state, top_row, bottom_row)
            if top_row > bottom_row:
                break
            _fetch(record, entries[e : e + BATCH], batch)
        n, row = entries[e], batch[e % BATCH]
        _spans(row, left, top, begins, ends, middles)
        inverse_variance_x, opacity = splat(row[INVERSE_VARIANCE_X]), splat(row[OPACITY])
        red, green, blue, depth = splat(row[RED]), splat(row[GREEN]), splat(row[BLUE]), splat(row[DEPTH])
        g_red, g_green, g_blue, g_depth = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
        s, s_u, s_uu, s_d, s_dd, s_ud = splat(0.0), splat(0.0), splat(0.0), splat(0.0), splat(0.0), splat(0.0)
        for c in range(channels):
            store(extra_sums, c * WIDTH, splat(0.0))
        first, last = _rows(row, top, top_row, bottom_row)
        for r in range(first, last + 1):
            down = np.float32(top + r) + HALF - row[Y]
            base = splat(row[INVERSE_VARIANCE_Y] * down * down)
            begin = int(np.ceil(begins[r]))
            while np.float32(begin) <= ends[r]:
                at = r * STRIDE + begin
                offset = np.float32(begin) - middles[r]
                across, full, alpha, weight = _meet(
                    state, at, offset, base, inverse_variance_x, opacity, largest, smallest, stop
                )
                v_red, v_green = load(state, at + 2 * PLANE), load(state, at + 3 * PLANE)
                v_blue, v_depth = load(state, at + 4 * PLANE), load(state, at + 5 * PLANE)
                g_red, g_green = fma(weight, v_red, g_red), fma(weight, v_green, g_green)
                g_blue, g_depth = fma(weight, v_blue, g_blue), fma(weight, v_depth, g_depth)
                value = fma(v_red, red, fma(v_green, green, fma(v_blue, blue, v_depth * depth)))
                for c in range(channels):
                    v = load(state, at + (6 + c) * PLANE)
                    value = fma(v, splat(extras[n, c]), value)
                    store(extra_sums, c * WIDTH, fma(weight, v, load(extra_sums, c * WIDTH)))
                behind = load(state, at + PLANE) - weight * value
                store(state, at + PLANE, behind)
                # d loss / d power = -alpha d loss / d alpha, where alpha counts and is not cut.
                slope = alpha * behind / (splat(1.0) - alpha) - weight * value
                slope = where(weight > splat(0.0), where(full <= splat(largest), slope, splat(0.0)), splat(0.0))
                s_row = slope * splat(down)
                s_across = slope * across
                s = s + slope
                s_u = s_u + s_across
                s_uu = fma(s_across, across, s_uu)
                s_d = s_d + s_row
                s_dd = fma(s_row, splat(down), s_dd)
                s_ud = fma(s_row, across, s_ud)
                begin += WIDTH
        wide = tiles[n, 1] - tiles[n, 0]
        slot = slots[offsets[n] + (line - tiles[n, 2]) * wide + column - tiles[n, 0]]
        t_u, t_d = total(s_u), total(s_d)
        slot[0] = -2 * row[INVERSE_VARIANCE_X] * t_u
        slot[1] = 2 * row[INVERSE_VARIANCE_X] * row[SHEAR] * t_u - 2 * row[INVERSE_VARIANCE_Y] * t_d
        slot[2] = total(s_uu)
        slot[3] = -2 * row[INVERSE_VARIANCE_X] * total(s_ud)
        slot[4] = total(s_dd)
        slot[5] = -total(s) / row[OPACITY]
        slot[6], slot[7], slot[8], slot[9] = total(g_red), total(g_green), total(g_blue), total(g_depth)
        for c in range(channels):
            slot[SUMS + c] = total(load(extra_sums, c * WIDTH))


@njit(parallel=True, cache=True, nogil=True, boundscheck=False, error_model="numpy")
def draw_backward(
    record, extras, tiles, offsets, starts, entries, columns, largest, smallest, stop,
    rgb, depth, transmittance, sums, g_rgb, g_depth, g_transmittance, g_sums, slots, chunks,
):  # fmt: skip
    """Fills `slots [P, SUMS + E]`, which must be zero on entry, with the gradients of what `draw` gave."""
    height, width, channels = depth.shape[0], depth.shape[1], extras.shape[1]
    for chunk in prange(chunks):
        state = np.empty((6 + channels) * PLANE, np.float32)
        extra_sums = np.empty(channels * WIDTH, np.float32)
        batch = np.empty((BATCH, RECORD), np.float32)
        begins, ends = np.empty(TILE_HEIGHT, np.float32), np.empty(TILE_HEIGHT, np.float32)
        middles = np.empty(TILE_HEIGHT, np.float32)
        for tile in range(chunk, starts.shape[0] - 1, chunks):
            if starts[tile] == starts[tile + 1]:
                continue
            column, line = tile % columns, tile // columns
            left, top = column * TILE_WIDTH, line * TILE_HEIGHT
            wide, high = min(TILE_WIDTH, width - left), min(TILE_HEIGHT, height - top)
            state[:PLANE] = -ONE
            state[PLANE:] = ZERO
            for r in range(high):
                for x in range(wide):
                    at, y, to = r * STRIDE + x, top + r, left + x
                    state[at] = ONE
                    # The background's part needs no term of its own: it is in the picture.
                    behind = depth[y, to] * g_depth[y, to] + transmittance[y, to] * g_transmittance[y, to]
                    for c in range(3):
                        behind += rgb[y, to, c] * g_rgb[y, to, c]
                        state[at + (2 + c) * PLANE] = g_rgb[y, to, c]
                    state[at + 5 * PLANE] = g_depth[y, to]
                    for c in range(channels):
                        behind += sums[y, to, c] * g_sums[y, to, c]
                        state[at + (6 + c) * PLANE] = g_sums[y, to, c]
                    state[at + PLANE] = behind
            _draw_backward(
                record, extras, entries[starts[tile] : starts[tile + 1]], tiles, offsets, column, line,
                largest, smallest, stop, state, batch, begins, ends, middles, extra_sums, slots,
            )  # fmt: skip
