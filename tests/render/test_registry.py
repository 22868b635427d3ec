"""Whole pictures: chunks, the memory bound, and scenes that nothing renders."""

import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.render import ImageResult, Renderer, as_gaussians, preview, register, render, render_rays, renderer_for
from foreseen.render.registry import _RENDERERS
from foreseen.render.renderers.radiance_field import QUADRATURE_BYTES
from foreseen.scenes import RadianceField


def camera(width: int = 7, height: int = 5) -> Camera:
    return Camera(torch.eye(4), 10.0, 10.0, width / 2, height / 2, width, height, near=1.0, far=3.0)


def ball(x: Tensor, directions: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
    inside = (x - torch.tensor([0.0, 0.0, 2.0])).norm(dim=-1) < 0.4
    return 20.0 * inside, (x * 0.2 + 0.5).clamp(0, 1)


def scene(**options: int) -> RadianceField:
    return RadianceField(ball, 1.0, 3.0, (1.0, 1.0, 1.0), ball, options)


def rays_per_chunk(field: RadianceField, memory_mb: float) -> int:
    return renderer_for(type(field)).rays_per_chunk(field, memory_mb)  # type: ignore[attr-defined]


def test_chunks_change_nothing() -> None:
    options = {"samples": 16, "importance_samples": 8, "bytes_per_sample": 1024}
    whole = render(scene(**options), camera())
    one_ray = 24 * (1024 + QUADRATURE_BYTES) / 2**20
    for rays in (1, 4, 34):
        assert rays_per_chunk(scene(**options), rays * one_ray) == rays
        parts = render(scene(**options), camera(), memory_mb=rays * one_ray)
        assert torch.equal(parts.rgb, whole.rgb)
        assert torch.equal(parts.depth, whole.depth) and torch.equal(parts.opacity, whole.opacity)


def test_picture_has_the_cameras_size_and_rows_run_down() -> None:
    image = render(scene(samples=64), camera())
    assert image.rgb.shape == (5, 7, 3) and image.depth.shape == image.opacity.shape == (5, 7)
    assert image.opacity[2, 3] > 0.99 and image.opacity[0, 0] == 0
    assert image.rgb[3, 3, 1] > image.rgb[1, 3, 1], "y points down, and green grows with y"
    assert 1.5 < image.depth[2, 3] < 1.8
    assert not image.rgb.requires_grad


def test_chunk_size_is_the_bound_divided_by_a_rays_bytes() -> None:
    small = scene(samples=10, importance_samples=6, bytes_per_sample=744)
    assert rays_per_chunk(small, 1) == 2**20 // (16 * 1000)
    assert rays_per_chunk(scene(samples=64, importance_samples=128), 256) == 165


def test_a_bound_that_holds_no_ray_is_refused() -> None:
    with pytest.raises(UserError, match=r"memory_mb = 0.1 does not hold one ray; give at least 0\.52"):
        render(scene(samples=64), camera(), memory_mb=0.1)


def test_an_unknown_scene_is_named() -> None:
    @dataclass
    class Fog:
        density: float

    message = (
        "no renderer for a scene of type Fog; there is one for ComposedField, Gaussians, ImageGaussians, RadianceField"
    )
    with pytest.raises(TypeError, match=message):
        render(Fog(1.0), camera())
    with pytest.raises(TypeError, match=message):
        render_rays(Fog(1.0), camera().rays(torch.zeros(1, 2)))


@dataclass(frozen=True)
class Gradient:
    """A scene of another package: brighter to the right."""

    brightness: Tensor


class GradientRenderer(Renderer[Gradient]):
    def render(self, scene: Gradient, camera: Camera, *, memory_mb: float, device: torch.device | str) -> ImageResult:
        ramp = scene.brightness * torch.linspace(0, 1, camera.width).expand(camera.height, -1)
        return ImageResult(ramp[..., None].expand(-1, -1, 3), torch.zeros_like(ramp), torch.ones_like(ramp))


def test_another_package_registers_a_scene_type(monkeypatch: pytest.MonkeyPatch) -> None:
    class SteepGradient(Gradient):
        pass

    monkeypatch.setattr("foreseen.render.registry._RENDERERS", dict(_RENDERERS))
    register(Gradient, GradientRenderer())
    for kind in (Gradient, SteepGradient):
        own = kind(torch.tensor(0.5, requires_grad=True))
        image = render(own, camera())
        assert image.rgb.shape == (5, 7, 3)
        image.rgb.sum().backward()
        assert own.brightness.grad is not None and own.brightness.grad > 0
        assert preview(own, 4) is own and as_gaussians(own) is None
        with pytest.raises(TypeError, match="rendered as whole pictures, not by rays"):
            render_rays(own, camera().rays(torch.zeros(1, 2)))


def test_gradients_flow_through_chunks_and_stop_where_the_caller_says_so() -> None:
    level = torch.tensor(0.3, requires_grad=True)

    def query(x: Tensor, directions: Tensor, ray: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        density, color = ball(x, directions, ray)
        return density + level, color, {"place": x, "level": level.expand(len(x))}

    field = RadianceField(query, 1.0, 3.0, (1.0, 1.0, 1.0), options={"samples": 16, "bytes_per_sample": 1024})
    gradients = []
    for memory_mb in (256.0, 3 * 16 * (1024 + QUADRATURE_BYTES) / 2**20):
        image = render(field, camera(), memory_mb=memory_mb)
        assert image.channels["place"].shape == (5, 7, 3) and image.channels["level"].shape == (5, 7, 1)
        gradients.append(torch.autograd.grad(image.rgb.sum() + image.channels["place"].sum(), level)[0])
    torch.testing.assert_close(*gradients)
    with torch.no_grad():
        image = render(field, camera())
    assert not any(x.requires_grad for x in (image.rgb, image.depth, image.opacity, *image.channels.values()))


MEASURE = """
import torch
from torch import nn
from foreseen.geometry.cameras import Camera
from foreseen.render import render
from foreseen.scenes import RadianceField
torch.set_num_threads(1)
net = nn.Sequential(nn.Linear(90, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
def query(x, directions, ray):
    h = net(torch.cat([x] * 30, dim=-1))
    return h[:, 0].relu(), h[:, 1:4].sigmoid()
scene = RadianceField(query, 1.0, 3.0, (1.0, 1.0, 1.0), query, {"samples": 64, "importance_samples": 64})
camera = lambda n: Camera(torch.eye(4), 10.0, 10.0, n / 2, n / 2, n, n, near=1.0, far=3.0)
# Not getrusage: its peak is inherited from the process that started this one.
peak = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
torch.set_grad_enabled(False)
render(scene, camera(2))
before = peak()
for bound in (48, 4096):
    render(scene, camera(28), memory_mb=bound)
    print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is on Linux only")
def test_the_bound_holds_for_a_real_network() -> None:
    """A process's peak memory grows by no more than the bound, and by far more where the bound is loose."""
    command = [sys.executable, "-c", MEASURE]
    bounded, loose = map(float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert bounded < 48
    assert loose > 96, "the measurement does not see the renderer's memory"
