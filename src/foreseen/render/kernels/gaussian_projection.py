"""Numba kernels from Gaussians in space to Gaussians on the picture, colours included, and back.

`foreseen.render.splat` calls them; `project_reference` of `foreseen.render.splat_reference` is their twin. A Gaussian
on the picture is a row of `RECORD` numbers, in which the power of its density at (dx, dy) from its centre is

    power = inverse_variance_x (dx - shear dy)^2 + inverse_variance_y dy^2

with shear = xy / yy, inverse_variance_y = 1 / (2 yy), inverse_variance_x = yy / (2 det). Sums of squares lose no
digits, and one square root gives the first and last pixel that the Gaussian reaches in a row.
"""

import numpy as np
from numba import njit, prange

RECORD = 16
X, Y, INVERSE_VARIANCE_X, SHEAR, INVERSE_VARIANCE_Y, OPACITY, REACH, RED, GREEN, BLUE, DEPTH, RADIUS_X, RADIUS_Y = (
    range(13)
)
"""Columns of a record. REACH is the power at which alpha falls to its smallest."""
SUMS = 10
"""Gradients to X .. OPACITY, RED .. DEPTH, in this order; those to extra channels follow."""
MAX_FINITE = np.float32(1e30)
"""Comparisons with it are false for NaN and for infinite values."""
MIN_COMPENSATION = np.float32(1e-12)
"""An antialiased Gaussian's opacity is compensated by no less than the root of this."""
FAST_MATH = {"contract", "reassoc", "nsz", "arcp", "afn"}
"""Fast arithmetic that keeps NaN."""

ONE, TWO, HALF = np.float32(1.0), np.float32(2.0), np.float32(0.5)


@njit(inline="always")
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit(inline="always")
def _basis(x, y, z, count, basis):
    basis[0] = np.float32(0.28209479177387814)
    if count > 1:
        a = np.float32(0.4886025119029199)
        basis[1], basis[2], basis[3] = -a * y, a * z, -a * x
    if count > 4:
        a = np.float32(1.0925484305920792)
        basis[4], basis[5], basis[7] = a * x * y, -a * y * z, -a * x * z
        basis[6] = np.float32(0.31539156525252005) * (TWO * z * z - x * x - y * y)
        basis[8] = np.float32(0.5462742152960396) * (x * x - y * y)
    if count > 9:
        a, b = np.float32(0.5900435899266435), np.float32(0.4570457994644658)
        xx, yy, zz = x * x, y * y, z * z
        three, four = np.float32(3.0), np.float32(4.0)
        basis[9], basis[15] = -a * y * (three * xx - yy), -a * x * (xx - three * yy)
        basis[10] = np.float32(2.890611442640554) * x * y * z
        basis[11], basis[13] = -b * y * (four * zz - xx - yy), -b * x * (four * zz - xx - yy)
        basis[12] = np.float32(0.3731763325901154) * z * (TWO * zz - three * xx - three * yy)
        basis[14] = np.float32(1.445305721320277) * z * (xx - yy)


@njit(inline="always")
def _basis_slope(x, y, z, count, g):
    """Sum over the basis of g times its gradient by x, y, z."""
    gx, gy, gz = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    if count > 1:
        a = np.float32(0.4886025119029199)
        gy -= a * g[1]
        gz += a * g[2]
        gx -= a * g[3]
    if count > 4:
        a = np.float32(1.0925484305920792)
        b = np.float32(2 * 0.31539156525252005) * g[6]
        c = np.float32(2 * 0.5462742152960396) * g[8]
        gx += a * (y * g[4] - z * g[7]) - b * x + c * x
        gy += a * (x * g[4] - z * g[5]) - b * y - c * y
        gz += -a * (y * g[5] + x * g[7]) + TWO * b * z
    if count > 9:
        a, b = np.float32(0.5900435899266435), np.float32(0.4570457994644658)
        c, d = np.float32(2.890611442640554) * g[10], np.float32(0.3731763325901154) * g[12]
        e = np.float32(1.445305721320277) * g[14]
        xx, yy, zz = x * x, y * y, z * z
        three, four, six, eight = np.float32(3.0), np.float32(4.0), np.float32(6.0), np.float32(8.0)
        gx += -six * a * x * y * g[9] + c * y * z + TWO * b * x * y * g[11] - six * d * x * z
        gx += -b * (four * zz - three * xx - yy) * g[13] + TWO * e * x * z - three * a * (xx - yy) * g[15]
        gy += -three * a * (xx - yy) * g[9] + c * x * z - b * (four * zz - xx - three * yy) * g[11] - six * d * y * z
        gy += TWO * b * x * y * g[13] - TWO * e * y * z + six * a * x * y * g[15]
        gz += c * x * y - eight * b * y * z * g[11] + d * (six * zz - three * xx - three * yy)
        gz += -eight * b * x * z * g[13] + e * (xx - yy)
    return gx, gy, gz


@njit(inline="always")
def _geometry(mean, quaternion, pose, lens, local, rotated, axes):
    """Fills `local [3]` (the centre in the camera's axes), `rotated [3, 3]` (own axes in the world) and `axes [3, 3]`
    (the same in the camera's); returns the slopes that the affine map is taken at."""
    for j in range(3):
        local[j] = np.float32(0.0)
        for i in range(3):
            local[j] += (mean[i] - pose[i, 3]) * pose[i, j]
    w, x, y, z = quaternion[0], quaternion[1], quaternion[2], quaternion[3]
    n = ONE / np.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w * n, x * n, y * n, z * n
    rotated[0, 0], rotated[0, 1], rotated[0, 2] = (
        ONE - TWO * (y * y + z * z),
        TWO * (x * y - w * z),
        TWO * (x * z + w * y),
    )
    rotated[1, 0], rotated[1, 1], rotated[1, 2] = (
        TWO * (x * y + w * z),
        ONE - TWO * (x * x + z * z),
        TWO * (y * z - w * x),
    )
    rotated[2, 0], rotated[2, 1], rotated[2, 2] = (
        TWO * (x * z - w * y),
        TWO * (y * z + w * x),
        ONE - TWO * (x * x + y * y),
    )
    for k in range(3):
        for j in range(3):
            axes[j, k] = pose[0, j] * rotated[0, k] + pose[1, j] * rotated[1, k] + pose[2, j] * rotated[2, k]
    slope_x = min(max(local[0] / local[2], lens[4]), lens[5])
    slope_y = min(max(local[1] / local[2], lens[6]), lens[7])
    return slope_x, slope_y


@njit(inline="always")
def _spread(axes, scale, zoom_x, zoom_y, slope_x, slope_y, a, b, c):
    """Fills `a` and `b` `[3]`, rows of the affine map from a unit ball to the picture, and their cross product `c`. Its
    square is the determinant before the low-pass; it comes from the axes, as a thin Gaussian's rows are parallel."""
    for k in range(3):
        a[k] = zoom_x * scale[k] * (axes[0, k] - slope_x * axes[2, k])
        b[k] = zoom_y * scale[k] * (axes[1, k] - slope_y * axes[2, k])
        face = scale[(k + 1) % 3] * scale[(k + 2) % 3]
        c[k] = zoom_x * zoom_y * face * (axes[2, k] + slope_x * axes[0, k] + slope_y * axes[1, k])


@njit(inline="always")
def _quaternion_backward(quaternion, g, out):
    """From a rotation matrix's gradient to that of the quaternion, whose length does not matter."""
    w, x, y, z = quaternion[0], quaternion[1], quaternion[2], quaternion[3]
    n = ONE / np.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w * n, x * n, y * n, z * n
    gw = TWO * (x * (g[2, 1] - g[1, 2]) + y * (g[0, 2] - g[2, 0]) + z * (g[1, 0] - g[0, 1]))
    gx = TWO * (y * (g[0, 1] + g[1, 0]) + z * (g[0, 2] + g[2, 0]) + w * (g[2, 1] - g[1, 2]))
    gx -= np.float32(4.0) * x * (g[1, 1] + g[2, 2])
    gy = TWO * (x * (g[0, 1] + g[1, 0]) + z * (g[1, 2] + g[2, 1]) + w * (g[0, 2] - g[2, 0]))
    gy -= np.float32(4.0) * y * (g[0, 0] + g[2, 2])
    gz = TWO * (x * (g[0, 2] + g[2, 0]) + y * (g[1, 2] + g[2, 1]) + w * (g[1, 0] - g[0, 1]))
    gz -= np.float32(4.0) * z * (g[0, 0] + g[1, 1])
    along = gw * w + gx * x + gy * y + gz * z
    out[0], out[1] = (gw - along * w) * n, (gx - along * x) * n
    out[2], out[3] = (gy - along * y) * n, (gz - along * z) * n


COMPILED = {"nogil": True, "boundscheck": False, "error_model": "numpy"}


@njit(inline="always")
def _color(direction, harmonics, basis, color):
    """Fills `color [3]`; returns whether it is a number."""
    terms = harmonics.shape[0]
    _basis(direction[0], direction[1], direction[2], terms, basis)
    finite = True
    for i in range(3):
        value = HALF
        for k in range(terms):
            value += basis[k] * harmonics[k, i]
        finite = finite and bool(abs(value) < MAX_FINITE)
        color[i] = max(value, np.float32(0.0))
    return finite


@njit(fastmath=FAST_MATH, **COMPILED)
def _project(
    means, quaternions, scales, opacities, harmonics, means2d, pose, lens, near, far, window,
    antialiased, low_pass, smallest, tile, record, tiles, first, last,
):  # fmt: skip
    left, top, width, height = window[0], window[1], window[2], window[3]
    local, direction, basis = np.empty(3, np.float32), np.empty(3, np.float32), np.empty(16, np.float32)
    rotated, axes = np.empty((3, 3), np.float32), np.empty((3, 3), np.float32)
    a, b, c = np.empty(3, np.float32), np.empty(3, np.float32), np.empty(3, np.float32)
    for n in range(first, last):
        tiles[n, 0], tiles[n, 1], tiles[n, 2], tiles[n, 3] = 0, 0, 0, 0
        row = record[n]
        row[RADIUS_X], row[RADIUS_Y] = np.float32(0.0), np.float32(0.0)
        slope_x, slope_y = _geometry(means[n], quaternions[n], pose, lens, local, rotated, axes)
        distance = np.sqrt(_dot(local, local))
        if not (local[2] > lens[8] and near <= distance <= far):
            continue
        zoom_x, zoom_y = lens[0] / local[2], lens[1] / local[2]
        _spread(axes, scales[n], zoom_x, zoom_y, slope_x, slope_y, a, b, c)
        xx, yy, sharp = _dot(a, a), _dot(b, b), _dot(c, c)
        blurred = sharp + low_pass * (xx + yy) + low_pass * low_pass
        xx += low_pass
        yy += low_pass
        opacity = opacities[n]
        if antialiased:
            opacity *= np.sqrt(max(sharp / blurred, MIN_COMPENSATION))
        reach = np.log(opacity / smallest)
        x, y = zoom_x * local[0] + lens[2] - left, zoom_y * local[1] + lens[3] - top
        if means2d.shape[0] > 0:
            x += means2d[n, 0]
            y += means2d[n, 1]
        radius_x, radius_y = np.sqrt(TWO * reach * xx), np.sqrt(TWO * reach * yy)
        if not (reach >= 0 and blurred < MAX_FINITE):
            continue
        if not (x + radius_x >= HALF and x - radius_x <= width - HALF):
            continue
        if not (y + radius_y >= HALF and y - radius_y <= height - HALF):
            continue
        for i in range(3):
            direction[i] = (means[n, i] - pose[i, 3]) / distance
        if not _color(direction, harmonics[n], basis, row[RED : RED + 3]):
            continue
        row[X], row[Y], row[OPACITY], row[REACH], row[DEPTH] = x, y, opacity, reach, local[2]
        row[INVERSE_VARIANCE_X], row[SHEAR], row[INVERSE_VARIANCE_Y] = HALF * yy / blurred, _dot(a, b) / yy, HALF / yy
        row[RADIUS_X], row[RADIUS_Y] = radius_x, radius_y
        tiles[n, 0] = max(x - radius_x - HALF, np.float32(0.0)) // tile[0]
        tiles[n, 1] = min(x + radius_x, width - ONE) // tile[0] + 1
        tiles[n, 2] = max(y - radius_y - HALF, np.float32(0.0)) // tile[1]
        tiles[n, 3] = min(y + radius_y, height - ONE) // tile[1] + 1


@njit(parallel=True, cache=True, **COMPILED)
def project(
    means, quaternions, scales, opacities, harmonics, means2d, pose, lens, near, far, window,
    antialiased, low_pass, smallest, tile, record, tiles, chunks,
):  # fmt: skip
    """Fills `record [N, RECORD]`, and `tiles [N, 4]` with the first and one past the last column and row of tiles that
    each Gaussian reaches; none for those that cannot be seen.

    Shapes: means, scales [N, 3]; quaternions [N, 4]; opacities [N]; harmonics [N, K, 3]; shifts [N, 2] or [0, 2];
    pose [3, 4]; lens: fx, fy, cx, cy, least and largest slope of x and of y, least depth; window: left, top, width,
    height; tile: width, height. All are float32.
    """
    count = means.shape[0]
    for chunk in prange(chunks):
        _project(
            means, quaternions, scales, opacities, harmonics, means2d, pose, lens, near, far, window,
            antialiased, low_pass, smallest, tile, record, tiles,
            chunk * count // chunks, (chunk + 1) * count // chunks,
        )  # fmt: skip


@njit(inline="always")
def _shape_backward(row, g, a, b, low_pass, g_a, g_b):
    """From the gradients of a record's shape to those of `a` and `b`. Returns g_a . a + g_b . b, which the depth needs:
    written out, because thin Gaussians would lose all digits in the sum."""
    lean, yy = row[SHEAR], HALF / row[INVERSE_VARIANCE_Y]
    across = -TWO * row[INVERSE_VARIANCE_X] * row[INVERSE_VARIANCE_X] * g[INVERSE_VARIANCE_X]
    tilt, down = g[SHEAR] / yy, -TWO * row[INVERSE_VARIANCE_Y] * row[INVERSE_VARIANCE_Y] * g[INVERSE_VARIANCE_Y]
    for k in range(3):
        rest = a[k] - lean * b[k]
        g_a[k] = TWO * across * rest + tilt * b[k]
        g_b[k] = (tilt - TWO * lean * across) * rest + (TWO * down - tilt * lean) * b[k]
    zooming = TWO * across * (HALF / row[INVERSE_VARIANCE_X] - low_pass) + TWO * down * (yy - low_pass)
    return zooming + TWO * low_pass * lean * (tilt - lean * across)


@njit(inline="always")
def _opacity_backward(opacity, g, a, b, c, low_pass, g_a, g_b):
    """Adds what the compensation of an antialiased Gaussian's opacity gives to `a` and `b`. Returns the gradient of the
    opacity, and g_a . a + g_b . b of what was added."""
    xx, yy, sharp = _dot(a, a), _dot(b, b), _dot(c, c)
    blurred = sharp + low_pass * (xx + yy) + low_pass * low_pass
    share = np.sqrt(max(sharp / blurred, MIN_COMPENSATION))
    if not sharp / blurred > MIN_COMPENSATION:
        return g * share, np.float32(0.0)
    g_ratio = g * opacity / share / blurred
    g_sharp, g_blur = g_ratio * (ONE - sharp / blurred), -g_ratio * sharp / blurred * low_pass
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        g_a[k] += g_sharp * (b[i] * c[j] - b[j] * c[i]) + g_blur * a[k]
        g_b[k] += g_sharp * (c[i] * a[j] - c[j] * a[i]) + g_blur * b[k]
    return g * share, TWO * g_sharp * sharp + g_blur * (xx + yy)


@njit(inline="always")
def _color_backward(mean, pose, harmonics, row, g, basis, g_basis, grad_harmonics, grad_mean):
    """From the colour's gradient to those of the coefficients and, by the direction, of the centre."""
    terms = harmonics.shape[0]
    dx, dy, dz = mean[0] - pose[0, 3], mean[1] - pose[1, 3], mean[2] - pose[2, 3]
    near = ONE / np.sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx * near, dy * near, dz * near
    _basis(dx, dy, dz, terms, basis)
    for k in range(terms):
        g_basis[k] = np.float32(0.0)
        for i in range(3):
            if row[RED + i] > 0:
                grad_harmonics[k, i] = g[i] * basis[k]
                g_basis[k] += g[i] * harmonics[k, i]
    gx, gy, gz = _basis_slope(dx, dy, dz, terms, g_basis)
    along = gx * dx + gy * dy + gz * dz
    grad_mean[0], grad_mean[1], grad_mean[2] = (
        (gx - along * dx) * near,
        (gy - along * dy) * near,
        (gz - along * dz) * near,
    )


@njit(inline="always")
def _place_backward(place, scale, pose, rotated, g_local, g_axes, grad_mean, grad_scale, g_rotated, grad_pose):
    """From the camera's axes to the world's: `place [3]` is the centre seen from the camera."""
    for i in range(3):
        grad_mean[i] += pose[i, 0] * g_local[0] + pose[i, 1] * g_local[1] + pose[i, 2] * g_local[2]
        grad_pose[i, 3] -= grad_mean[i]
        for j in range(3):
            grad_pose[i, j] += place[i] * g_local[j]
        for k in range(3):
            from_axes = np.float32(0.0)
            for j in range(3):
                grad_pose[i, j] += rotated[i, k] * scale[k] * g_axes[j, k]
                from_axes += pose[i, j] * g_axes[j, k]
            grad_scale[k] += rotated[i, k] * from_axes
            g_rotated[i, k] = scale[k] * from_axes


@njit(fastmath=FAST_MATH, **COMPILED)
def _project_backward(
    means, quaternions, scales, opacities, harmonics, pose, lens, antialiased, low_pass, record, tiles, offsets, slots,
    grad_means, grad_quaternions, grad_scales, grad_opacities, grad_harmonics, grad_extras, grad_means2d, grad_pose,
    first, last,
):  # fmt: skip
    local, place, g_local = np.empty(3, np.float32), np.empty(3, np.float32), np.empty(3, np.float32)
    rotated, axes = np.empty((3, 3), np.float32), np.empty((3, 3), np.float32)
    g_rotated, g_axes = np.empty((3, 3), np.float32), np.empty((3, 3), np.float32)
    basis, g_basis, g = np.empty(16, np.float32), np.empty(16, np.float32), np.empty(SUMS, np.float32)
    a, b, c = np.empty(3, np.float32), np.empty(3, np.float32), np.empty(3, np.float32)
    g_a, g_b = np.empty(3, np.float32), np.empty(3, np.float32)
    for n in range(first, last):
        begin, many = offsets[n], (tiles[n, 1] - tiles[n, 0]) * (tiles[n, 3] - tiles[n, 2])
        if many == 0:
            continue
        g[:] = np.float32(0.0)
        for s in range(begin, begin + many):
            for i in range(SUMS):
                g[i] += slots[s, i]
            for i in range(slots.shape[1] - SUMS):
                grad_extras[n, i] += slots[s, SUMS + i]
        grad_means2d[n, 0], grad_means2d[n, 1], grad_opacities[n] = g[X], g[Y], g[OPACITY]
        slope_x, slope_y = _geometry(means[n], quaternions[n], pose, lens, local, rotated, axes)
        x, y, z = local[0], local[1], local[2]
        zoom_x, zoom_y = lens[0] / z, lens[1] / z
        _spread(axes, scales[n], zoom_x, zoom_y, slope_x, slope_y, a, b, c)
        zooming = _shape_backward(record[n], g, a, b, low_pass, g_a, g_b)
        if antialiased:
            grad_opacities[n], more = _opacity_backward(opacities[n], g[OPACITY], a, b, c, low_pass, g_a, g_b)
            zooming += more
        # To the axes in the camera, to the depth, and to the slopes that the affine map was taken at.
        g_local[0], g_local[1] = g[X] * zoom_x, g[Y] * zoom_y
        g_local[2] = g[SUMS - 1] - (g_local[0] * x + g_local[1] * y + zooming) / z
        g_slope_x, g_slope_y = np.float32(0.0), np.float32(0.0)
        for k in range(3):
            g_axes[0, k], g_axes[1, k] = g_a[k] * zoom_x, g_b[k] * zoom_y
            g_axes[2, k] = -g_axes[0, k] * slope_x - g_axes[1, k] * slope_y
            g_slope_x -= g_axes[0, k] * scales[n, k] * axes[2, k]
            g_slope_y -= g_axes[1, k] * scales[n, k] * axes[2, k]
        if lens[4] < x / z < lens[5]:
            g_local[0] += g_slope_x / z
            g_local[2] -= g_slope_x * x / (z * z)
        if lens[6] < y / z < lens[7]:
            g_local[1] += g_slope_y / z
            g_local[2] -= g_slope_y * y / (z * z)
        for i in range(3):
            place[i] = means[n, i] - pose[i, 3]
        _color_backward(
            means[n], pose, harmonics[n], record[n], g[SUMS - 4 :], basis, g_basis, grad_harmonics[n], grad_means[n]
        )
        _place_backward(
            place, scales[n], pose, rotated, g_local, g_axes, grad_means[n], grad_scales[n], g_rotated, grad_pose
        )
        _quaternion_backward(quaternions[n], g_rotated, grad_quaternions[n])


@njit(parallel=True, cache=True, **COMPILED)
def project_backward(
    means, quaternions, scales, opacities, harmonics, pose, lens, antialiased, low_pass, record, tiles, offsets, slots,
    grad_means, grad_quaternions, grad_scales, grad_opacities, grad_harmonics, grad_extras, grad_means2d, grad_pose,
    chunks,
):  # fmt: skip
    """Adds up each Gaussian's `slots [P, SUMS + E]`, one for every tile that it reaches, and takes them back through
    `project`.

    `offsets [N]` says where a Gaussian's slots begin. All gradients must be zero on entry; grad_pose is [chunks, 3, 4]
    in float64, grad_extras [N, E], grad_shifts [N, 2].
    """
    count = means.shape[0]
    for chunk in prange(chunks):
        _project_backward(
            means, quaternions, scales, opacities, harmonics, pose, lens, antialiased, low_pass, record, tiles,
            offsets, slots, grad_means, grad_quaternions, grad_scales, grad_opacities, grad_harmonics, grad_extras,
            grad_means2d, grad_pose[chunk], chunk * count // chunks, (chunk + 1) * count // chunks,
        )  # fmt: skip
