"""Numba kernels from Gaussians in space to Gaussians on the picture, colours included, and back.

`foreseen.render.splat` calls them; `project_reference` of `foreseen.render.splat_reference` is their twin. A Gaussian on the
picture is a row of `RECORD` numbers, in which the power of its density at (dx, dy) pixels from its centre is

    power = sharp_x (dx - lean dy)^2 + sharp_y dy^2

with lean = xy / yy, sharp_y = 1 / (2 yy), sharp_x = yy / (2 det): sums of squares lose no digits, and a row of pixels knows
where the Gaussian begins and ends by one square root.
"""

import numpy as np
from numba import njit, prange

RECORD = 16
X, Y, SHARP_X, LEAN, SHARP_Y, OPACITY, REACH, RED, GREEN, BLUE, DEPTH, RADIUS_X, RADIUS_Y = range(13)
"""Columns of a record. REACH is the power at which alpha falls to its smallest."""
SUMS = 10
"""Gradients to X .. OPACITY, RED .. DEPTH, in this order; those to extra channels follow."""
LARGEST = np.float32(1e30)
"""A comparison with it is false for what is not a number, and for what is infinite."""
LOOSE = {"contract", "reassoc", "nsz", "arcp", "afn"}
"""Fast arithmetic that still knows what is not a number."""

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
def _geometry(mean, quaternion, scale, pose, lens, local, turned, axes):
    """Fills `local [3]` (the centre in the camera's axes), `turned [3, 3]` (own axes in the world) and `axes [3, 3]`
    (the same in the camera's); returns the slopes that the affine map is taken at."""
    for j in range(3):
        local[j] = np.float32(0.0)
        for i in range(3):
            local[j] += (mean[i] - pose[i, 3]) * pose[i, j]
    w, x, y, z = quaternion[0], quaternion[1], quaternion[2], quaternion[3]
    n = ONE / np.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w * n, x * n, y * n, z * n
    turned[0, 0], turned[0, 1], turned[0, 2] = ONE - TWO * (y * y + z * z), TWO * (x * y - w * z), TWO * (x * z + w * y)
    turned[1, 0], turned[1, 1], turned[1, 2] = TWO * (x * y + w * z), ONE - TWO * (x * x + z * z), TWO * (y * z - w * x)
    turned[2, 0], turned[2, 1], turned[2, 2] = TWO * (x * z - w * y), TWO * (y * z + w * x), ONE - TWO * (x * x + y * y)
    for k in range(3):
        for j in range(3):
            axes[j, k] = pose[0, j] * turned[0, k] + pose[1, j] * turned[1, k] + pose[2, j] * turned[2, k]
    slope_x = min(max(local[0] / local[2], lens[4]), lens[5])
    slope_y = min(max(local[1] / local[2], lens[6]), lens[7])
    return slope_x, slope_y


@njit(inline="always")
def _spread(axes, scale, zoom_x, zoom_y, slope_x, slope_y, a, b, c):
    """Fills `a` and `b` `[3]`, rows of the affine map from a unit ball to the picture, and their cross product `c`, whose
    square is the determinant before the low-pass: from the axes, because thin Gaussians have nearly parallel rows."""
    for k in range(3):
        a[k] = zoom_x * scale[k] * (axes[0, k] - slope_x * axes[2, k])
        b[k] = zoom_y * scale[k] * (axes[1, k] - slope_y * axes[2, k])
        face = scale[(k + 1) % 3] * scale[(k + 2) % 3]
        c[k] = zoom_x * zoom_y * face * (axes[2, k] + slope_x * axes[0, k] + slope_y * axes[1, k])


@njit(parallel=True, fastmath=LOOSE, cache=True, nogil=True, boundscheck=False, error_model="numpy")
def project(
    means, quaternions, scales, opacities, harmonics, shifts, pose, lens, near, far, left, top, width, height,
    antialiased, low_pass, smallest, tile_width, tile_height, record, tiles, chunks,
):  # fmt: skip
    """Fills `record [N, RECORD]`, and `tiles [N, 4]` with the first and one past the last tile that each Gaussian reaches
    (columns, rows); none for those that cannot be seen.

    Shapes: means, scales [N, 3]; quaternions [N, 4]; opacities [N]; harmonics [N, K, 3]; shifts [N, 2] or [0, 2];
    pose [3, 4]; lens: fx, fy, cx, cy, and the least and largest slope of x and of y.
    """
    count, terms = means.shape[0], harmonics.shape[1]
    for chunk in prange(chunks):
        local, turned, axes = np.empty(3, np.float32), np.empty((3, 3), np.float32), np.empty((3, 3), np.float32)
        a, b, c, basis = (
            np.empty(3, np.float32),
            np.empty(3, np.float32),
            np.empty(3, np.float32),
            np.empty(16, np.float32),
        )
        for n in range(chunk * count // chunks, (chunk + 1) * count // chunks):
            tiles[n, 0], tiles[n, 1], tiles[n, 2], tiles[n, 3] = 0, 0, 0, 0
            row = record[n]
            row[RADIUS_X], row[RADIUS_Y] = np.float32(0.0), np.float32(0.0)
            sx, sy = _geometry(means[n], quaternions[n], scales[n], pose, lens, local, turned, axes)
            distance = np.sqrt(local[0] * local[0] + local[1] * local[1] + local[2] * local[2])
            if not (local[2] > lens[8] and near <= distance <= far):
                continue
            zoom_x, zoom_y = lens[0] / local[2], lens[1] / local[2]
            _spread(axes, scales[n], zoom_x, zoom_y, sx, sy, a, b, c)
            xx, xy, yy, sharp = _dot(a, a), _dot(a, b), _dot(b, b), _dot(c, c)
            blurred = sharp + low_pass * (xx + yy) + low_pass * low_pass
            xx += low_pass
            yy += low_pass
            opacity = opacities[n]
            if antialiased:
                opacity *= np.sqrt(max(sharp / blurred, np.float32(1e-12)))
            reach = np.log(opacity / smallest)
            x, y = lens[0] * local[0] / local[2] + lens[2] - left, lens[1] * local[1] / local[2] + lens[3] - top
            if shifts.shape[0] > 0:
                x += shifts[n, 0]
                y += shifts[n, 1]
            radius_x, radius_y = np.sqrt(TWO * reach * xx), np.sqrt(TWO * reach * yy)
            if not (reach >= 0 and x + radius_x >= HALF and x - radius_x <= width - HALF):
                continue
            if not (y + radius_y >= HALF and y - radius_y <= height - HALF):
                continue
            if not blurred < LARGEST:
                continue
            dx, dy, dz = means[n, 0] - pose[0, 3], means[n, 1] - pose[1, 3], means[n, 2] - pose[2, 3]
            _basis(dx / distance, dy / distance, dz / distance, terms, basis)
            finite = True
            for i in range(3):
                color = HALF
                for k in range(terms):
                    color += basis[k] * harmonics[n, k, i]
                finite = finite and abs(color) < LARGEST
                row[RED + i] = max(color, np.float32(0.0))
            if not finite:
                continue
            row[X], row[Y], row[OPACITY], row[REACH], row[DEPTH] = x, y, opacity, reach, local[2]
            row[SHARP_X], row[LEAN], row[SHARP_Y] = HALF * yy / blurred, xy / yy, HALF / yy
            row[RADIUS_X], row[RADIUS_Y] = radius_x, radius_y
            tiles[n, 0] = max(x - radius_x - HALF, np.float32(0.0)) // tile_width
            tiles[n, 1] = min(x + radius_x, width - ONE) // tile_width + 1
            tiles[n, 2] = max(y - radius_y - HALF, np.float32(0.0)) // tile_height
            tiles[n, 3] = min(y + radius_y, height - ONE) // tile_height + 1


@njit(parallel=True, fastmath=LOOSE, cache=True, nogil=True, boundscheck=False, error_model="numpy")
def project_backward(
    means, quaternions, scales, opacities, harmonics, pose, lens, antialiased, low_pass, record, tiles, offsets, slots,
    grad_means, grad_quaternions, grad_scales, grad_opacities, grad_harmonics, grad_extras, grad_shifts, grad_pose, chunks,
):  # fmt: skip
    """Adds up each Gaussian's `slots [P, SUMS + E]`, one for every tile it reaches, and takes them back through `project`.

    `offsets [N]` says where a Gaussian's slots begin. All gradients must be zero on entry; grad_pose is [chunks, 3, 4],
    grad_extras [N, E], grad_shifts [N, 2].
    """
    count, terms, channels = means.shape[0], harmonics.shape[1], slots.shape[1] - SUMS
    zero = np.float32(0.0)
    for chunk in prange(chunks):
        local, turned, axes = np.empty(3, np.float32), np.empty((3, 3), np.float32), np.empty((3, 3), np.float32)
        basis, g_basis, g = np.empty(16, np.float32), np.empty(16, np.float32), np.empty(SUMS, np.float32)
        g_local, g_axes, g_turned = np.empty(3, np.float32), np.empty((3, 3), np.float32), np.empty((3, 3), np.float32)
        a, b, c = np.empty(3, np.float32), np.empty(3, np.float32), np.empty(3, np.float32)
        g_a, g_b = np.empty(3, np.float32), np.empty(3, np.float32)
        own_pose = np.zeros((3, 4), np.float64)
        for n in range(chunk * count // chunks, (chunk + 1) * count // chunks):
            begin, many = offsets[n], (tiles[n, 1] - tiles[n, 0]) * (tiles[n, 3] - tiles[n, 2])
            if many == 0:
                continue
            for i in range(SUMS):
                g[i] = zero
            for s in range(begin, begin + many):
                for i in range(SUMS):
                    g[i] += slots[s, i]
                for i in range(channels):
                    grad_extras[n, i] += slots[s, SUMS + i]
            grad_shifts[n, 0], grad_shifts[n, 1] = g[0], g[1]
            row = record[n]
            sx, sy = _geometry(means[n], quaternions[n], scales[n], pose, lens, local, turned, axes)
            zoom_x, zoom_y = lens[0] / local[2], lens[1] / local[2]
            _spread(axes, scales[n], zoom_x, zoom_y, sx, sy, a, b, c)
            # From the record's shape to a and b. Their sums with a and b, which the depth needs, are written out: thin
            # Gaussians would lose all digits in them.
            lean, yy = row[LEAN], HALF / row[SHARP_Y]
            across = -TWO * row[SHARP_X] * row[SHARP_X] * g[SHARP_X]
            tilt, down = g[LEAN] / yy, -TWO * row[SHARP_Y] * row[SHARP_Y] * g[SHARP_Y]
            for k in range(3):
                rest = a[k] - lean * b[k]
                g_a[k] = TWO * across * rest + tilt * b[k]
                g_b[k] = (tilt - TWO * lean * across) * rest + (TWO * down - tilt * lean) * b[k]
            zooming = TWO * across * (HALF / row[SHARP_X] - low_pass) + TWO * down * (yy - low_pass)
            zooming += TWO * low_pass * lean * (tilt - lean * across)
            grad_opacities[n] = g[OPACITY]
            if antialiased:
                xx, yy, sharp = _dot(a, a), _dot(b, b), _dot(c, c)
                blurred = sharp + low_pass * (xx + yy) + low_pass * low_pass
                share = np.sqrt(max(sharp / blurred, np.float32(1e-12)))
                grad_opacities[n] *= share
                if sharp / blurred > np.float32(1e-12):
                    g_ratio = g[OPACITY] * opacities[n] / share / blurred
                    g_sharp, g_blur = g_ratio * (ONE - sharp / blurred), -g_ratio * sharp / blurred * low_pass
                    for k in range(3):
                        i, j = (k + 1) % 3, (k + 2) % 3
                        g_a[k] += g_sharp * (b[i] * c[j] - b[j] * c[i]) + g_blur * a[k]
                        g_b[k] += g_sharp * (c[i] * a[j] - c[j] * a[i]) + g_blur * b[k]
                    zooming += TWO * g_sharp * sharp + g_blur * (xx + yy)
            # From a and b to the axes in the camera, and to the depth and the slopes that they were seen at.
            x, y, z = local[0], local[1], local[2]
            g_local[0], g_local[1] = g[0] * zoom_x, g[1] * zoom_y
            g_local[2] = g[9] - (g_local[0] * x + g_local[1] * y + zooming) / z
            g_sx, g_sy = zero, zero
            for k in range(3):
                g_axes[0, k], g_axes[1, k] = g_a[k] * zoom_x, g_b[k] * zoom_y
                g_axes[2, k] = -g_axes[0, k] * sx - g_axes[1, k] * sy
                g_sx -= g_axes[0, k] * scales[n, k] * axes[2, k]
                g_sy -= g_axes[1, k] * scales[n, k] * axes[2, k]
            if lens[4] < x / z < lens[5]:
                g_local[0] += g_sx / z
                g_local[2] -= g_sx * x / (z * z)
            if lens[6] < y / z < lens[7]:
                g_local[1] += g_sy / z
                g_local[2] -= g_sy * y / (z * z)
            # Colour: coefficients, and the direction, which moves with the centre and the camera.
            dx, dy, dz = means[n, 0] - pose[0, 3], means[n, 1] - pose[1, 3], means[n, 2] - pose[2, 3]
            distance = np.sqrt(dx * dx + dy * dy + dz * dz)
            dx, dy, dz = dx / distance, dy / distance, dz / distance
            _basis(dx, dy, dz, terms, basis)
            for k in range(terms):
                g_basis[k] = zero
                for i in range(3):
                    if row[RED + i] > 0:
                        grad_harmonics[n, k, i] = g[6 + i] * basis[k]
                        g_basis[k] += g[6 + i] * harmonics[n, k, i]
            gx, gy, gz = _basis_slope(dx, dy, dz, terms, g_basis)
            along = gx * dx + gy * dy + gz * dz
            g_mean = ((gx - along * dx) / distance, (gy - along * dy) / distance, (gz - along * dz) / distance)
            for i in range(3):
                from_centre = pose[i, 0] * g_local[0] + pose[i, 1] * g_local[1] + pose[i, 2] * g_local[2]
                grad_means[n, i] = g_mean[i] + from_centre
                own_pose[i, 3] -= grad_means[n, i]
                for j in range(3):
                    own_pose[i, j] += (means[n, i] - pose[i, 3]) * g_local[j]
                for k in range(3):
                    from_axes = zero
                    for j in range(3):
                        own_pose[i, j] += turned[i, k] * scales[n, k] * g_axes[j, k]
                        from_axes += pose[i, j] * g_axes[j, k]
                    grad_scales[n, k] += turned[i, k] * from_axes
                    g_turned[i, k] = scales[n, k] * from_axes
            _quaternion_backward(quaternions[n], g_turned, grad_quaternions[n])
        grad_pose[chunk] = own_pose


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
