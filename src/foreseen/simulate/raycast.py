"""Pictures of a stage with exact masks, depth and flow, without OpenGL."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foreseen.geometry.cameras import Camera
from foreseen.simulate.kernel_tables import CALM, DEPTHS, DISTANCE, POINT
from foreseen.simulate.packing import pack
from foreseen.simulate.raycast_kernels import draw, fill_backdrop
from foreseen.simulate.scene import Poses, Stage


@dataclass(frozen=True)
class RenderedFrame:
    """What a camera sees at one time.

    Attributes:
        rgba: `[H, W, 4]` float32 in 0..1, sRGB, straight alpha; alpha is 0 where nothing is hit.
        mask: `[H, W]` uint8 instance at the pixel's centre: 0 for static solids, b + 1 for body b.
        depth: `[H, W]` float32 along z [scene units], 0 where nothing is hit.
        flow: `[H, W, 2]` float32 [pixels] (x, y) that the seen point moves by until the next pose.
    """

    rgba: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    flow: np.ndarray

    def image(self, alpha: bool) -> np.ndarray:
        """uint8 `[H, W, 4]`, or `[H, W, 3]` without the alpha."""
        return np.round(self.rgba[..., : 4 if alpha else 3] * 255).astype(np.uint8)


def _lens(camera: Camera) -> np.ndarray:
    """A camera in the kernels' form."""
    pose = camera.camera_to_world[:3].double().numpy().ravel()
    return np.concatenate([pose, [camera.fx, camera.fy, camera.cx, camera.cy]])


@dataclass(frozen=True)
class Backdrop:
    """The static solids in front of one camera, traced once for all its pictures.

    Attributes:
        rays: `[H, W, samples^2 + 1, DEPTHS]` float32, see `foreseen.simulate.kernel_tables`: 16 MB at 160 pixels and
            3 samples.
        static_pixels: `[H, W, CALM]` float32.
    """

    rays: np.ndarray
    static_pixels: np.ndarray

    @property
    def points(self) -> np.ndarray:
        """`[N, 3]` points that rays hit [scene units]."""
        return self.rays[..., POINT : POINT + 3][np.isfinite(self.rays[..., DISTANCE])]

    @property
    def distances(self) -> np.ndarray:
        """`[N]` distances of `points` from the camera."""
        return self.rays[..., DISTANCE][np.isfinite(self.rays[..., DISTANCE])]


def backdrop(stage: Stage, camera: Camera, samples: int = 3) -> Backdrop:
    """Trace the static solids, with `samples` squared rays per pixel and one through its centre."""
    rays = np.zeros((camera.height, camera.width, samples * samples + 1, DEPTHS), np.float32)
    static_pixels = np.zeros((camera.height, camera.width, CALM), np.float32)
    fill_backdrop(*pack(stage, None), _lens(camera), stage.light.light_params(), samples, rays, static_pixels)
    return Backdrop(rays, static_pixels)


def cast(
    stage: Stage,
    camera: Camera,
    now: Poses | None,
    after: Poses | None = None,
    samples: int = 3,
    still: Backdrop | None = None,
) -> RenderedFrame:
    """Render a stage with `samples` squared rays per pixel. Runs on one thread without the interpreter's lock.

    Args:
        now: poses of the moving bodies; None leaves them out.
        after: their poses at the next frame, for the flow; None: the flow is 0.
        still: the `backdrop` of the same stage, camera and samples; None computes it.
    """
    rgba, truth = np.zeros((2, camera.height, camera.width, 4), np.float32)
    traced = still or backdrop(stage, camera, samples)
    first, light_params = len(stage.static), stage.light.light_params()
    draw(
        *pack(stage, now, after),
        first,
        _lens(camera),
        light_params,
        samples,
        traced.rays,
        traced.static_pixels,
        rgba,
        truth,
    )
    return RenderedFrame(rgba, truth[..., 0].astype(np.uint8), truth[..., 1].copy(), truth[..., 2:].copy())
