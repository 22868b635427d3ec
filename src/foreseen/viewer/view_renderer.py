"""What a browser is to show, and its picture: one view, or several things beside one another."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from foreseen.data.types import Frame
from foreseen.export.clip_frames import frame_at
from foreseen.export.compose import PAPER, to_bytes
from foreseen.geometry.cameras import Camera
from foreseen.render import ImageResult, as_gaussians
from foreseen.scenes.gaussians import Gaussians
from foreseen.viewer.cameras import ViewerCamera
from foreseen.viewer.channels import Channel, ChannelColorizer, render_in_bands
from foreseen.viewer.layout import column_size, fit_size, match_height, side_by_side
from foreseen.viewer.resolution import AdaptiveResolution, Size
from foreseen.viewer.source import ViewerSource

TRUTH = "truth"


@dataclass(frozen=True)
class RenderRequest:
    """All that decides how a picture looks.

    Attributes:
        view: from where.
        window: the browser's, in pixels.
        time: a moment.
        channel: what is shown of it.
        columns: which of the things that are shown.
        truth: what was filmed is put beside.
        standing: the data set's camera whose place was taken, None anywhere else.
        versions: of all things that are shown.
    """

    view: ViewerCamera
    window: Size
    time: float
    channel: Channel
    columns: tuple[int, ...]
    truth: bool
    camera_lock: str | None
    versions: tuple[int, ...]

    @property
    def alone(self) -> bool:
        """One picture fills the window, and what the browser draws lies in it as it should."""
        return len(self.columns) == 1 and not self.truth


class ViewRenderer:
    """Paints what is wanted, in a size that it is told, and measures how long that takes."""

    def __init__(self, source: Sequence[ViewerSource], resolution: AdaptiveResolution) -> None:
        self.sources, self.resolution = source, resolution
        self.colours = ChannelColorizer()

    def gaussians(self, request: RenderRequest) -> Gaussians | None:
        """What is wanted, where it is Gaussians and nothing else: what the browser can splat itself."""
        if not request.alone or request.channel != "rgb":
            return None
        return as_gaussians(self.sources[request.columns[0]].cached_scene(request.time))

    def render(self, request: RenderRequest, size: Size, *, preview: bool) -> Iterator[np.ndarray | None]:
        """None while it is at it, then the picture `[H, W, 3]` uint8.

        Args:
            size: of what is rendered, in the window's form.
            steadily: in one go and as a preview: things move; otherwise None comes after each frame's time, so that one
                can stop it.
        """
        if request.alone:
            picture = None
            for picture in self._column(request, request.columns[0], size, preview):
                if picture is None:
                    yield None
            yield _plain(size) if picture is None else picture
            return
        panels: list[tuple[str, np.ndarray | None]] = []
        count = len(request.columns) + request.truth
        for index in request.columns:
            picture = None
            for picture in self._column(request, index, column_size(size, count), preview):
                if picture is None:
                    yield None
            panels.append((self.sources[index].name, picture))
        if request.truth:
            panels.append(self._truth(request))
        yield side_by_side(panels, self.resolution.finest(request.window))

    def _column(self, request: RenderRequest, index: int, size: Size, preview: bool) -> Iterator[np.ndarray | None]:
        source = self.sources[index]
        if not source.renders:
            frame = self.captured(request, source)
            yield _plain(size) if frame is None else match_height(to_bytes(frame.image()), size)
            return
        camera = self._camera(request, source, size)
        results: list[ImageResult] = []
        ahead = [request.time, request.time + source.step] if request.channel == "motion" else [request.time]
        for moment in ahead:
            for result in self._render_view(source, camera, moment, preview):
                if result is None:
                    yield None
                else:
                    results.append(result)
        yield self.colours.picture(request.channel, *results)

    def _render_view(
        self, source: ViewerSource, camera: Camera, moment: float, preview: bool
    ) -> Iterator[ImageResult | None]:
        spent = time.perf_counter()
        lines = self._band(camera, preview)
        for result in render_in_bands(lambda c: source.render_view(c, moment, preview=preview), camera, lines):
            if result is None:
                self.resolution.measured(lines * camera.width, time.perf_counter() - spent, moving=False)
                yield None
                spent = time.perf_counter()
                continue
            if preview:
                self.resolution.measured(camera.width * camera.height, time.perf_counter() - spent)
            yield result

    def _band(self, camera: Camera, preview: bool) -> int:
        """Lines that are rendered in one go."""
        cost = self.resolution.static_seconds_per_pixel or self.resolution.seconds_per_pixel
        if preview or cost is None:
            return camera.height
        return max(int(1 / (self.resolution.rate * cost * camera.width)), 8)

    def _camera(self, request: RenderRequest, source: ViewerSource, size: Size) -> Camera:
        """Where one stands, exactly as the data's camera where pictures are compared."""
        if request.camera_lock is not None and not request.alone:
            taken = next(
                (f.camera for f in self.sources[request.columns[0]].frames if f.camera_id == request.camera_lock), None
            )
            if taken is not None:
                own = source.reference
                return replace(taken.resize(*fit_size(size, (taken.width, taken.height))), near=own.near, far=own.far)
        # A narrower column sees as far to the sides as the window would, and more above and below.
        narrower = max(request.window[0] / request.window[1] / (size[0] / size[1]), 1.0)
        fov = 2 * math.atan(math.tan(request.view.fov / 2) * narrower)
        return replace(request.view, fov=fov).camera(size, source.reference)

    def captured(self, request: RenderRequest, source: ViewerSource) -> Frame | None:
        """What the camera in whose place one stands saw at the wanted time."""
        if request.camera_lock is None or not source.captured:
            return None
        own = [f for f in source.frames if f.camera_id == request.camera_lock]
        return frame_at(own, request.time, source.frames)

    def _truth(self, request: RenderRequest) -> tuple[str, np.ndarray | None]:
        first = self.sources[request.columns[0]]
        if not first.captured:
            return f"{TRUTH}: not filmed, it begins as you said", None
        if request.camera_lock is None:
            return f"{TRUTH}: stand in a camera to see it", None
        frame = self.captured(request, first)
        return (f"{TRUTH}: not filmed then", None) if frame is None else (TRUTH, to_bytes(frame.image()))


def _plain(size: Size) -> np.ndarray:
    return np.full((size[1], size[0], 3), PAPER, np.uint8)


def splat_arrays(gaussians: Gaussians) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As viser takes them: centres `[N, 3]`, covariances `[N, 3, 3]`, colours `[N, 3]` and opacities `[N, 1]` in 0..1.

    Colours are those of degree 0: the browser knows no harmonics. What is not finite is left out.
    """
    from scipy.spatial.transform import Rotation

    means, rotations, scales, opacities = (
        x.detach().cpu().double().numpy()
        for x in (gaussians.means, gaussians.quaternions, gaussians.scales, gaussians.opacities)
    )
    colours = 0.5 + 0.28209479177387814 * gaussians.harmonics[:, 0].detach().cpu().double().numpy()
    good = np.isfinite(np.concatenate([means, rotations, scales, opacities[:, None], colours], -1)).all(-1)
    good &= np.linalg.norm(rotations, axis=-1) > 0
    axes = Rotation.from_quat(rotations[good], scalar_first=True).as_matrix() * scales[good][:, None, :]
    return (
        means[good].astype(np.float32),
        (axes @ axes.transpose(0, 2, 1)).astype(np.float32),
        np.clip(colours[good], 0, 1).astype(np.float32),
        np.clip(opacities[good][:, None], 0, 1).astype(np.float32),
    )
