"""Requests of a browser, and their pictures: one view, or several side by side."""

from __future__ import annotations

import math
import time as clock
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

TRUTH = "ground truth"


@dataclass(frozen=True)
class RenderRequest:
    """Everything that determines a picture.

    Attributes:
        view: the camera.
        window: size of the browser's window [pixels].
        time: in the data set's unit.
        channel: colours, depth, opacity or motion.
        columns: indices of the sources that are shown.
        truth: the ground truth is shown beside.
        camera_lock: the data set's camera that the view is locked to; None: free.
        versions: versions of all sources.
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
        """One picture fills the window, so that overlays are in the right places."""
        return len(self.columns) == 1 and not self.truth


class ViewRenderer:
    """Renders requests in a given size, and measures how long that takes."""

    def __init__(self, source: Sequence[ViewerSource], resolution: AdaptiveResolution) -> None:
        self.sources, self.resolution = source, resolution
        self.colours = ChannelColorizer()

    def gaussians(self, request: RenderRequest) -> Gaussians | None:
        """The scene of a request as Gaussians, which the browser can splat itself; None where it cannot."""
        if not request.alone or request.channel != "rgb":
            return None
        return as_gaussians(self.sources[request.columns[0]].cached_scene(request.time))

    def render(self, request: RenderRequest, size: Size, *, preview: bool) -> Iterator[np.ndarray | None]:
        """Yields None until the picture `[H, W, 3]` uint8 is ready.

        Args:
            size: of the rendering, with the window's aspect ratio.
            preview: render in one piece and coarsely, while the view moves; otherwise None is yielded about once per
                frame's time, so that the caller can stop.
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
        times = [request.time, request.time + source.step] if request.channel == "motion" else [request.time]
        for shown_time in times:
            for result in self._render_view(source, camera, shown_time, preview):
                if result is None:
                    yield None
                else:
                    results.append(result)
        yield self.colours.picture(request.channel, *results)

    def _render_view(
        self, source: ViewerSource, camera: Camera, time: float, preview: bool
    ) -> Iterator[ImageResult | None]:
        started = clock.perf_counter()
        lines = self._band(camera, preview)
        for result in render_in_bands(lambda c: source.render_view(c, time, preview=preview), camera, lines):
            if result is None:
                self.resolution.measured(lines * camera.width, clock.perf_counter() - started, moving=False)
                yield None
                started = clock.perf_counter()
                continue
            if preview:
                self.resolution.measured(camera.width * camera.height, clock.perf_counter() - started)
            yield result

    def _band(self, camera: Camera, preview: bool) -> int:
        """Number of lines that are rendered at once."""
        cost = self.resolution.static_seconds_per_pixel or self.resolution.seconds_per_pixel
        if preview or cost is None:
            return camera.height
        return max(int(1 / (self.resolution.rate * cost * camera.width)), 8)

    def _camera(self, request: RenderRequest, source: ViewerSource, size: Size) -> Camera:
        """The camera of the view; exactly that of the data set where pictures are compared."""
        if request.camera_lock is not None and not request.alone:
            locked = next(
                (f.camera for f in self.sources[request.columns[0]].frames if f.camera_id == request.camera_lock), None
            )
            if locked is not None:
                near, far = source.reference.near, source.reference.far
                return replace(locked.resize(*fit_size(size, (locked.width, locked.height))), near=near, far=far)
        # A narrower column keeps the horizontal field of view of the window, and shows more above and below.
        narrower = max(request.window[0] / request.window[1] / (size[0] / size[1]), 1.0)
        fov = 2 * math.atan(math.tan(request.view.fov / 2) * narrower)
        return replace(request.view, fov=fov).camera(size, source.reference)

    def captured(self, request: RenderRequest, source: ViewerSource) -> Frame | None:
        """The captured frame of the locked camera at the requested time, if there is one."""
        if request.camera_lock is None or not source.captured:
            return None
        camera_frames = [f for f in source.frames if f.camera_id == request.camera_lock]
        return frame_at(camera_frames, request.time, source.frames)

    def _truth(self, request: RenderRequest) -> tuple[str, np.ndarray | None]:
        first = self.sources[request.columns[0]]
        if not first.captured:
            return f"{TRUTH}: not captured from this initial condition", None
        if request.camera_lock is None:
            return f"{TRUTH}: lock the view to a camera to see it", None
        frame = self.captured(request, first)
        return (f"{TRUTH}: not captured at this time", None) if frame is None else (TRUTH, to_bytes(frame.image()))


def _plain(size: Size) -> np.ndarray:
    return np.full((size[1], size[0], 3), PAPER, np.uint8)


def splat_arrays(gaussians: Gaussians) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gaussians as viser takes them: centres `[N, 3]`, covariances `[N, 3, 3]`, colours `[N, 3]` and opacities `[N, 1]`
    in 0..1.

    Colours are those of degree 0: the browser has no harmonics. Gaussians that are not finite are left out.
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
