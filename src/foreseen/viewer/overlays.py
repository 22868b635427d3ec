"""What the browser draws into the picture itself: cameras, paths, possible futures, handles, Gaussians."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import viser
from torch import Tensor

from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.export.clip_frames import frame_at
from foreseen.export.compose import FORECAST, INK, OBSERVED, to_bytes
from foreseen.scenes.gaussians import Gaussians
from foreseen.viewer.cameras import view_of
from foreseen.viewer.sources import ViewerSource
from foreseen.viewer.view_renderer import splat_arrays

ROOT = "/over"
MAX_FRUSTUMS = 48
"""More frustums than that hide what they look at; then some are left out, evenly."""
THUMBNAIL_HEIGHT = 72
"""Height of the pictures on frustums, in pixels."""
FRUSTUM = 0.12
"""Size of a frustum, as a share of its distance from what it looks at."""
HANDLE = 0.12
"""Size of a handle, as a share of the scene's extent."""
DOT = 0.01
"""Size of a dot, as a share of the way from the first camera to what it looks at."""
ENSEMBLE_TIMES = 64
"""Possible futures are drawn through so many times."""


class Overlays:
    """The nodes of one browser's scene."""

    def __init__(self, client: viser.ClientHandle) -> None:
        self.scene = client.scene
        self.root = client.scene.add_frame(ROOT, show_axes=False)
        self.frustums: dict[str, tuple[viser.CameraFrustumHandle, Frame]] = {}
        self._pictures: dict[str, Frame] = {}
        self._unreadable: set[Path] = set()
        self.handles: dict[int, viser.TransformControlsHandle] = {}
        self._splats: viser.GaussianSplatHandle | None = None
        self._ensemble: Tensor | None = None
        self._times = np.empty(0)
        self._dots: dict[str, Any] = {}

    def show(self, visible: bool) -> None:
        """All of it, or nothing: in a divided window it would lie in the wrong places."""
        if self.root.visible != visible:
            self.root.visible = visible

    # --- cameras

    def set_cameras(self, source: ViewerSource, time: float, on_click: Callable[[str], None], visible: bool) -> None:
        """Frustums of the data's cameras; what they saw at `time` is loaded later."""
        for handle, _ in self.frustums.values():
            handle.remove()
        self.frustums, self._pictures = {}, {}
        if not visible:
            return
        by_id = {f.camera_id: f for f in reversed(source.frames)}
        ids = list(by_id)[::-1]
        some = np.linspace(0, len(ids) - 1, min(len(ids), MAX_FRUSTUMS)).round().astype(int)
        for camera_id in (ids[i] for i in some):
            frame = self._frame(source, camera_id, time) or by_id[camera_id]
            view = view_of(frame.camera)
            distance = max(float(np.linalg.norm(source.target - np.array(view.position))), 1e-6)
            handle = self.scene.add_camera_frustum(
                f"{ROOT}/camera-{len(self.frustums)}",
                fov=view.fov,
                aspect=frame.camera.width / frame.camera.height,
                scale=FRUSTUM * distance,
                thickness=1.5,
                thickness_units="screen",
                color=OBSERVED,
                image=None,
                wxyz=np.array(view.wxyz),
                position=np.array(view.position),
                cast_shadow=False,
                receive_shadow=False,
            )
            handle.on_click(partial(_clicked, on_click, camera_id))
            self.frustums[camera_id] = (handle, frame)
            self._pictures[camera_id] = frame

    def update_cameras(self, source: ViewerSource, time: float) -> None:
        """Those frustums whose camera has seen another picture by now are to show it."""
        for camera_id, (handle, before) in list(self.frustums.items()):
            frame = self._frame(source, camera_id, time)
            if frame is not None and frame.image_path != before.image_path:
                self.frustums[camera_id] = (handle, frame)
                self._pictures[camera_id] = frame

    def load_picture(self) -> bool:
        """Puts one picture more on its frustum. Returns whether there was one to load.

        Raises:
            UserError: it cannot be read, which is told once for each file; the frustum stays without.
        """
        if not self._pictures:
            return False
        camera_id = next(iter(self._pictures))
        frame, (handle, _) = self._pictures.pop(camera_id), self.frustums[camera_id]
        try:
            handle.image = None if frame.image_path in self._unreadable else thumbnail(frame)
        except UserError:
            handle.image = None
            self._unreadable.add(frame.image_path)
            raise
        return True

    def hide_camera(self, camera_lock: str | None) -> None:
        """The frustum that one stands in would hide what is seen from there."""
        for camera_id, (handle, _) in self.frustums.items():
            if handle.visible == (camera_id == camera_lock):
                handle.visible = camera_id != camera_lock

    @staticmethod
    def _frame(source: ViewerSource, camera_id: str, time: float) -> Frame | None:
        return frame_at([f for f in source.frames if f.camera_id == camera_id], time, source.frames)

    # --- paths

    def set_path(self, source: ViewerSource, visible: bool) -> None:
        """The exact paths of the bodies, where they are known."""
        self._remove("path")
        if visible and source.truth is not None and len(source.truth.times) > 1:
            positions = source.truth.positions.transpose(1, 0, 2)
            segments = np.stack([positions[:, :-1], positions[:, 1:]], axis=2).reshape(-1, 2, 3)
            self._dots["path"] = self.scene.add_line_segments(
                f"{ROOT}/path", segments.astype(np.float32), INK, thickness=2.0, thickness_units="screen"
            )

    def set_ensemble(self, source: ViewerSource, visible: bool) -> bool:
        """Lines along all futures from where the observed part ends. Returns whether there is more than one."""
        self._remove("futures")
        self._remove("now")
        self._ensemble = None
        line = source.timeline
        times = np.linspace(min(line.observed_until, line.end), line.end, ENSEMBLE_TIMES)
        found = source.ensemble(times.tolist()) if visible else None
        if found is None or len(found) < 2:
            return False
        self._ensemble, self._times = found, times
        paths = found.permute(0, 2, 1, 3).flatten(0, 1).numpy()
        segments = np.stack([paths[:, :-1], paths[:, 1:]], axis=2).reshape(-1, 2, 3)
        self._dots["futures"] = self.scene.add_line_segments(
            f"{ROOT}/futures", segments.astype(np.float32), FORECAST, thickness=2.0, thickness_units="screen"
        )
        return True

    def update_ensemble(self, source: ViewerSource, time: float) -> None:
        """Dots where the parts may be now."""
        self._remove("now")
        if self._ensemble is None or not source.timeline.is_forecast(time):
            return
        position = float(np.interp(time, self._times, np.arange(len(self._times))))
        low = int(position)
        high = min(low + 1, len(self._times) - 1)
        points = (1 - position + low) * self._ensemble[:, low] + (position - low) * self._ensemble[:, high]
        self._dots["now"] = self.scene.add_point_cloud(
            f"{ROOT}/now",
            points.flatten(0, 1).float().numpy(),
            INK,
            point_size=DOT * float(np.linalg.norm(source.reference.position.double().numpy() - source.target)),
            point_shape="circle",
            precision="float32",
        )

    def _remove(self, name: str) -> None:
        if name in self._dots:
            self._dots.pop(name).remove()

    # --- handles

    def set_handles(
        self,
        source: ViewerSource,
        positions: dict[int, np.ndarray],
        on_move: Callable[[int, Sequence[float], bool], None],
    ) -> None:
        """A handle where each body of `positions` begins. `on_move` is told the body, the place, and whether the handle
        is held."""
        for body in self.handles.keys() - positions.keys():
            self.handles.pop(body).remove()
        for body, position in positions.items():
            if body in self.handles:
                self.handles[body].position = position
                continue
            axes = {k.axis for k in source.state_controls if k.body == body and not k.velocity}
            handle = self.scene.add_transform_controls(
                f"{ROOT}/begin-{body}",
                scale=HANDLE * source.extent,
                active_axes=(0 in axes, 1 in axes, 2 in axes),
                disable_rotations=True,
                disable_sliders=len(axes) < 2,
                depth_test=False,
                position=position,
            )
            self.handles[body] = handle
            self._listen(handle, body, on_move)

    @staticmethod
    def _listen(
        handle: viser.TransformControlsHandle, body: int, on_move: Callable[[int, Sequence[float], bool], None]
    ) -> None:
        @handle.on_update
        def _(event: viser.TransformControlsEvent) -> None:
            if np.isfinite(event.target.position).all():  # a browser can send anything
                on_move(body, [float(x) for x in event.target.position], event.phase != "end")

    # --- Gaussians

    def set_splats(self, gaussians: Gaussians | None) -> None:
        """Gaussians for the browser to splat, or none."""
        if gaussians is None:
            if self._splats is not None:
                self._splats.remove()  # hidden ones would be sorted and drawn all the same
            self._splats = None
            return
        self._splats = self.scene.add_gaussian_splats("/gaussians", *splat_arrays(gaussians))


def _clicked(act: Callable[[str], None], camera_id: str, event: object) -> None:
    del event
    act(camera_id)


def thumbnail(frame: Frame) -> np.ndarray:
    """The frame's picture, small: shrunk after it is read, so that pictures of one size are kept in memory."""
    import cv2

    picture = to_bytes(frame.image())
    height = min(THUMBNAIL_HEIGHT, picture.shape[0])
    width = max(round(picture.shape[1] * height / picture.shape[0]), 1)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))


def initial_positions(source: ViewerSource, values: Sequence[float], found: np.ndarray | None) -> dict[int, np.ndarray]:
    """Where each body with knobs begins: `found` `[K, 3]` where the forecast tells, else as the knobs say, and in the
    middle along other axes."""
    positions: dict[int, np.ndarray] = {}
    for knob, value in zip(source.state_controls, values):
        if found is not None and knob.body < len(found):
            positions[knob.body] = np.array(found[knob.body], dtype=float)
        elif not knob.velocity:
            positions.setdefault(knob.body, source.bounds.double().mean(0).numpy())[knob.axis] = value
    return positions
