"""Splatting: the compiled kernels against their definition, the definition against finite differences and axioms."""

import dataclasses
import math

import pytest
import torch

from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.geometry.ndc import NDC
from foreseen.geometry.rotations import rotation_matrix
from foreseen.render import render, render_rays
from foreseen.render.harmonics import harmonics_basis
from foreseen.render.splat import splat
from foreseen.scenes import Gaussians

LEAVES = ("means", "quaternions", "scales", "opacities", "harmonics", "extras")


def camera(width=53, height=37, focal=50.0, pose=None, near=0.0, far=100.0) -> Camera:
    pose = torch.eye(4) if pose is None else pose
    return Camera(pose, focal, 1.1 * focal, width / 2 + 1.5, height / 2 - 2.0, width, height, near, far)


def rotated(seed=3) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    pose = torch.eye(4)
    pose[:3, :3] = rotation_matrix(torch.randn(3, generator=g) * 0.2)
    pose[:3, 3] = torch.randn(3, generator=g) * 0.2
    return pose


def scene(count=120, seed=0, degree=1, extras=2, size=0.15, **more) -> Gaussians:
    """Before, beside, behind and on the camera, from dust to far wider than the picture."""
    g = torch.Generator().manual_seed(seed)
    means = torch.randn(count, 3, generator=g) * torch.tensor([1.2, 1.0, 1.5]) + torch.tensor([0.0, 0.0, 2.5])
    return Gaussians(
        means=means,
        quaternions=torch.randn(count, 4, generator=g),
        scales=torch.exp(torch.randn(count, 3, generator=g) * 0.9) * size,
        opacities=torch.sigmoid(2 * torch.randn(count, generator=g)),
        harmonics=torch.randn(count, (degree + 1) ** 2, 3, generator=g) * 0.6,
        background=(0.2, 0.5, 0.9),
        extras=torch.randn(count, extras, generator=g) if extras else None,
        **more,
    )


def leaves(s: Gaussians, dtype: torch.dtype) -> Gaussians:
    fields = {k: getattr(s, k) for k in LEAVES if getattr(s, k) is not None}
    return dataclasses.replace(s, **{k: v.detach().to(dtype).clone().requires_grad_() for k, v in fields.items()})


def pictures(result):
    found = [result.rgb, result.depth, result.opacity]
    return found if result.extras is None else [*found, result.extras]


def weighed(result, seed=5):
    g = torch.Generator().manual_seed(seed)
    return sum((torch.randn(x.shape, generator=g).to(x) * x).sum() for x in pictures(result))


def differentiate(s: Gaussians, view: Camera, dtype: torch.dtype, window=None):
    """The result, and every gradient by name."""
    s = leaves(s, dtype)
    pose = view.camera_to_world.to(dtype).clone().requires_grad_()
    result = splat(s, dataclasses.replace(view, camera_to_world=pose), window)
    weighed(result).backward()
    grads = {k: getattr(s, k).grad for k in LEAVES if getattr(s, k) is not None}
    return result, {**grads, "pose": pose.grad, "means2d": result.means2d.grad}


def assert_parity(s: Gaussians, view: Camera, window=None, atol=1e-5) -> None:
    fast, fast_grads = differentiate(s, view, torch.float32, window)
    slow, slow_grads = differentiate(s, view, torch.float64, window)
    assert torch.equal(fast.visible, slow.visible)
    torch.testing.assert_close(fast.radii.double(), slow.radii, rtol=1e-4, atol=1e-3)
    for a, b in zip(pictures(fast), pictures(slow)):
        scale = max(float(b.detach().abs().max()), 1.0) if b.numel() else 1.0
        torch.testing.assert_close(a.double(), b, rtol=0, atol=atol * scale)
    for name, slow_grad in slow_grads.items():
        scale = float(slow_grad.abs().max()) if slow_grad.numel() else 0.0
        torch.testing.assert_close(
            fast_grads[name].double(),
            slow_grad,
            rtol=0,
            atol=20 * atol * scale + 1e-7,
            msg=lambda m, n=name: f"{n}: {m}",
        )


@pytest.mark.parametrize("seed", range(4))
def test_kernels_and_definition_agree_forward_and_backward(seed):
    assert_parity(scene(seed=seed, antialiased=seed % 2 == 1), camera(pose=rotated(seed)))


@pytest.mark.parametrize("degree", [0, 2, 3])
@pytest.mark.parametrize("extras", [0, 5])
def test_every_degree_and_number_of_channels(degree, extras):
    assert_parity(scene(60, degree=degree, extras=extras), camera(pose=rotated()))


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 31), (65, 3), (130, 33), (3, 50)])
def test_any_shape_of_picture(size):
    assert_parity(scene(80), camera(*size))


def one(mean, scale=0.2, opacity=0.7, quaternion=(1.0, 0.0, 0.0, 0.0), color=(0.9, 0.1, 0.4), **more) -> Gaussians:
    scales = torch.tensor([scale]) if isinstance(scale, tuple) else torch.full((1, 3), scale)
    shade = (torch.tensor([[color]]) - 0.5) / 0.28209479177387814
    fields = {"background": (0.0, 0.0, 0.0), **more}
    return Gaussians(torch.tensor([mean]), torch.tensor([quaternion]), scales, torch.tensor([opacity]), shade, **fields)


def test_one_gaussian_is_the_density_that_it_should_be():
    """A round one on the optical axis: variance (f s / z)^2 and the low-pass; alpha at a pixel's centre."""
    view = Camera(torch.eye(4), 40.0, 40.0, 10.5, 8.5, 21, 17, 0.0, 9.0)
    with torch.no_grad():
        result = splat(one((0.0, 0.0, 2.0)), view)
    variance = (40 * 0.2 / 2) ** 2 + 0.3
    for x, y in ((10, 8), (14, 8), (10, 3), (16, 13)):
        alpha = 0.7 * math.exp(-((x - 10) ** 2 + (y - 8) ** 2) / (2 * variance))
        assert float(result.opacity[y, x]) == pytest.approx(alpha, rel=1e-4)
        assert float(result.rgb[y, x, 0]) == pytest.approx(0.9 * alpha, rel=1e-4)
        ray = math.sqrt(1 + ((x - 10) / 40) ** 2 + ((y - 8) / 40) ** 2)
        assert float(result.depth[y, x]) == pytest.approx(2.0 * ray * alpha, rel=1e-4)


def test_what_is_nearer_covers_what_is_farther_whatever_their_order():
    near, far = one((0.0, 0.0, 2.0), opacity=1.0, color=(1.0, 0.0, 0.0)), one((0.0, 0.0, 3.0), color=(0.0, 1.0, 0.0))
    view = camera()
    for pair in ((near, far), (far, near)):
        joined = {k: torch.cat([getattr(s, k) for s in pair]) for k in LEAVES[:-1]}
        rgb = splat(dataclasses.replace(near, **joined), view).rgb
        x, y = int(view.cx), int(view.cy)
        assert rgb[y, x, 0] > 0.97 and rgb[y, x, 1] < 0.02


@pytest.mark.parametrize(
    "mean", [(0.0, 0.0, -2.0), (0.0, 0.0, 0.0), (0.1, 0.1, 0.009), (0.0, 0.0, 0.2), (30.0, 0.0, 2.0)]
)
def test_what_is_not_before_the_camera_is_not_seen(mean):
    s, view = one(mean, background=(0.3, 0.6, 0.1)), camera(near=0.5)
    result = splat(s, view)
    assert not result.visible.any() and not result.opacity.any()
    assert torch.equal(result.rgb, torch.tensor(s.background).expand(37, 53, 3))
    assert_parity(s, view)


@pytest.mark.parametrize("scale", [(50.0, 50.0, 50.0), (1e-7, 1e-7, 1e-7), (4.0, 1e-3, 1e-3), (2e-3, 2e-3, 6.0)])
@pytest.mark.parametrize("antialiased", [False, True])
def test_huge_tiny_and_thin_ones(scale, antialiased):
    """Also across the camera's plane, and turned."""
    for mean in ((0.0, 0.0, 1.0), (0.4, -0.3, 0.05)):
        s = one(mean, scale, quaternion=(0.9, 0.3, -0.4, 0.2), antialiased=antialiased)
        assert_parity(s, camera(), atol=1e-4)


def test_antialiasing_keeps_what_a_small_gaussian_gives():
    """A tenth as wide gives a hundredth as much, though it is smaller than a pixel."""
    view = camera(focal=40.0)
    with torch.no_grad():
        wide, small = (splat(one((0.0, 0.0, 2.0), s, antialiased=True), view).opacity.sum() for s in (0.1, 0.01))
    assert float(small / wide) == pytest.approx(0.01, rel=0.2)


def test_bounds_of_the_camera():
    s = scene(200, seed=1)
    distance = s.means.norm(dim=-1)
    seen = splat(s, camera(near=1.5, far=3.0)).visible
    assert seen.any() and bool(((distance >= 1.5) & (distance <= 3.0))[seen].all())
    ndc = NDC.__new__(NDC)
    all_of_them = splat(s, dataclasses.replace(camera(near=0.0, far=1.0), ndc=ndc)).visible
    assert torch.equal(all_of_them, splat(s, camera()).visible)


def test_no_gaussians():
    s = scene(0)
    result, grads = differentiate(s, camera(), torch.float32)
    assert torch.equal(result.rgb.detach(), torch.tensor(s.background).expand(37, 53, 3))
    assert result.extras.shape == (37, 53, 2) and not result.extras.any() and result.radii.shape == (0, 2)
    assert not grads["pose"].any()


@pytest.mark.parametrize("window", [(0, 0, 53, 37), (5, 9, 20, 11), (52, 36, 1, 1), (31, 2, 22, 35)])
def test_a_window_has_the_pixels_of_the_whole(window):
    s, view = scene(150), camera(pose=rotated())
    whole, part = splat(s, view), splat(s, view, window)
    left, top, width, height = window
    for a, b in zip(pictures(whole), pictures(part)):
        torch.testing.assert_close(a[top : top + height, left : left + width], b, atol=2e-6, rtol=1e-5)
    assert_parity(s, view, window)


def test_a_pixel_that_is_full_shows_nothing_behind():
    """Twenty sheets that each take 0.95: after three of them the next would leave less than 1e-4 of the light."""
    s = one((0.0, 0.0, 2.0), scale=(900.0, 900.0, 1e-3), opacity=0.95)
    many = dataclasses.replace(s, **{k: getattr(s, k).repeat_interleave(20, 0) for k in LEAVES[:-1]})
    many.means[:, 2] += torch.linspace(0, 1, 20)
    result = splat(many, camera())
    torch.testing.assert_close(result.opacity, torch.full((37, 53), 1 - 0.05**3), atol=1e-6, rtol=0)
    assert_parity(many, camera())


def test_gradients_are_those_of_finite_differences():
    """Of the definition, in float64, along random directions: parity carries them to the kernels."""
    g = torch.Generator().manual_seed(11)
    s, view = scene(25, degree=3, antialiased=True), camera(24, 19, pose=rotated())
    _, grads = differentiate(s, view, torch.float64)
    for name in (*LEAVES, "pose"):
        exact = leaves(s, torch.float64)
        value = view.camera_to_world.double() if name == "pose" else getattr(exact, name).detach()
        step = torch.randn(value.shape, generator=g).double() * 1e-7
        if name == "pose":
            step[3] = 0

        def at(sign, name=name, value=value, step=step, exact=exact):
            moved = value + sign * step
            v = dataclasses.replace(view, camera_to_world=moved if name == "pose" else view.camera_to_world.double())
            with torch.no_grad():
                return float(
                    weighed(splat(exact if name == "pose" else dataclasses.replace(exact, **{name: moved}), v))
                )

        slope = (at(1) - at(-1)) / 2
        assert float((grads[name] * step).sum()) == pytest.approx(slope, rel=2e-3), name


def test_gradients_by_the_place_on_the_picture():
    """Norms are those of a picture two units wide and high, and 0 for what is not seen."""
    s, view = leaves(scene(80), torch.float32), camera()
    result = splat(s, view)
    with pytest.raises(RuntimeError, match="after backward"):
        result.screen_gradients(view)
    weighed(result).backward()
    norms = result.screen_gradients(view)
    expected = (result.means2d.grad * torch.tensor([53 / 2, 37 / 2])).norm(dim=-1)
    torch.testing.assert_close(norms, expected)
    assert norms[result.visible].max() > 0 and not norms[~result.visible].any()
    with torch.no_grad():
        assert splat(s, view).means2d is None


def test_values_that_are_no_numbers_are_not_drawn():
    s, view = scene(40), camera()
    bad = dataclasses.replace(s, means=s.means.clone(), scales=s.scales.clone(), harmonics=s.harmonics.clone())
    bad.means[3, 0], bad.scales[5, 1], bad.harmonics[7, 0, 1] = float("nan"), float("inf"), float("nan")
    keep = torch.ones(40, dtype=torch.bool)
    keep[[3, 5, 7]] = False
    good = dataclasses.replace(s, **{k: getattr(s, k)[keep] for k in LEAVES})
    for dtype in (torch.float32, torch.float64):
        a, _ = differentiate(bad, view, dtype)
        b, _ = differentiate(good, view, dtype)
        torch.testing.assert_close(a.rgb, b.rgb, rtol=0, atol=1e-6)
        assert torch.equal(a.visible[keep], b.visible) and not a.visible[~keep].any()


def test_harmonics_are_orthonormal():
    """Over the sphere, by a quadrature that is exact for their products."""
    import numpy as np

    z, weights = np.polynomial.legendre.leggauss(8)
    phi = torch.arange(16).double() * (2 * math.pi / 16)
    height = torch.from_numpy(z)[:, None].expand(8, 16)
    radius = (1 - height.square()).sqrt()
    basis = harmonics_basis(torch.stack([radius * phi.cos(), radius * phi.sin(), height], -1), 16)
    products = torch.einsum("i,ijk,ijl->kl", torch.from_numpy(weights) * 2 * math.pi / 16, basis, basis)
    torch.testing.assert_close(products, torch.eye(16).double(), atol=1e-10, rtol=0)


def test_render_finds_the_renderer():
    s, view = scene(), camera()
    picture, result = render(s, view), splat(s, view)
    assert torch.equal(picture.rgb, result.rgb) and torch.equal(picture.opacity, result.opacity)
    assert torch.equal(picture.depth, result.depth) and not picture.rgb.requires_grad
    assert torch.equal(picture.channels["extras"], result.extras)
    with pytest.raises(TypeError, match="pictures, not by rays"):
        render_rays(s, view.rays(torch.zeros(1, 2)))


def test_extra_channels_of_a_picture_have_names_and_gradients():
    s, view = leaves(scene(extras=4), torch.float32), camera()
    named = dataclasses.replace(s, extra_names=(("flow", 3), ("blend", 1)))
    picture, result = render(named, view), splat(s, view)
    assert picture.channels["flow"].shape == (37, 53, 3) and picture.channels["blend"].shape == (37, 53, 1)
    assert torch.equal(torch.cat(list(picture.channels.values()), -1), result.extras)
    weights = torch.linspace(-1, 1, 37 * 53 * 4).reshape(37, 53, 4)
    made = torch.autograd.grad((torch.cat(list(picture.channels.values()), -1) * weights).sum(), [s.extras, s.means])
    expected = torch.autograd.grad((result.extras * weights).sum(), [s.extras, s.means])
    assert all(torch.equal(a, b) for a, b in zip(made, expected)) and made[0].abs().sum() > 0
    with pytest.raises(UserError, match="extras are"):
        render(dataclasses.replace(s, extra_names=(("flow", 3),)), view)


def test_cuda_without_gsplat_says_what_to_install(monkeypatch):
    import sys

    from foreseen.render.splat_cuda import splat_cuda

    monkeypatch.setitem(sys.modules, "gsplat", None)
    s = scene(3)
    with pytest.raises(UserError, match='pip install "gsplat'):
        splat_cuda(s, s.extras, camera(), (0, 0, 53, 37), None)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("window", [None, (5, 9, 20, 11)])
def test_gsplat_agrees_with_the_definition(window):
    """Where alpha stays below 0.99: gsplat cuts it elsewhere."""
    pytest.importorskip("gsplat")
    s, view = scene(seed=2, antialiased=True), camera(pose=rotated())
    s = dataclasses.replace(s, opacities=s.opacities * 0.9)
    there = dataclasses.replace(s, **{k: getattr(s, k).cuda() for k in LEAVES})
    found, grads = differentiate(there, view, torch.float32, window)
    slow, slow_grads = differentiate(s, view, torch.float64, window)
    for a, b in zip(pictures(found), pictures(slow)):
        torch.testing.assert_close(a.detach().cpu().double(), b.detach(), rtol=0, atol=1e-3)
    for name, grad in slow_grads.items():
        torch.testing.assert_close(grads[name].cpu().double(), grad, rtol=0, atol=5e-3 * float(grad.abs().max()))


@pytest.mark.parametrize(
    ("name", "cut", "words"),
    [
        ("harmonics", lambda x: torch.zeros(len(x), 25, 3), r"harmonics are \[3, 25, 3\], and must be \[3, 1, 3\] or"),
        ("scales", lambda x: x[:2], r"scales are \[2, 3\], and must be \[3, 3\]"),
        ("opacities", lambda x: x[:, None], r"opacities are \[3, 1\], and must be \[3\]"),
        ("extras", lambda x: x[:1], r"extras are \[1, 2\], and must be \[3, 2\]"),
        ("quaternions", lambda x: x.double(), r"quaternions are torch.float64"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(name, cut, words):
    """The kernels would read and write beside them."""
    s = scene(3)
    with pytest.raises(UserError, match=words):
        splat(dataclasses.replace(s, **{name: cut(getattr(s, name))}), camera())


@pytest.mark.parametrize(("channels", "wanted"), [(4, 4), (6, 8), (10, 16), (300, 512), (512, 512)])
def test_gsplat_is_given_as_many_channels_as_it_was_compiled_for(channels, wanted):
    from foreseen.render.splat_cuda import padded

    columns = torch.rand(7, channels)
    found = padded(columns)
    assert found.shape == (7, wanted) and torch.equal(found[:, :channels], columns)
    assert not found[:, channels:].any()
