"""What the browser draws over the picture: cameras, trajectories, the ensemble, handles, Gaussians."""

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
from foreseen.viewer.source import ViewerSource
from foreseen.viewer.view_renderer import splat_arrays

ROOT = "/over"
MAX_FRUSTUMS = 48
"""Largest number of frustums: more would hide the scene. Of more cameras an even selection is shown."""
THUMBNAIL_HEIGHT = 72
"""Height of the pictures on frustums, in pixels."""
FRUSTUM = 0.12
"""Size of a frustum, as a share of its distance from what it looks at."""
HANDLE = 0.12
"""Size of a handle, as a share of the scene's extent."""
DOT = 0.01
"""Size of a dot, as a share of the distance from the first camera to its target."""
ENSEMBLE_TIMES = 64
"""Number of times that the lines of an ensemble are drawn through."""


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
        """Shows or hides all overlays: in a divided window they would be in the wrong places."""
        if self.root.visible != visible:
            self.root.visible = visible

    # --- cameras

    def set_cameras(self, source: ViewerSource, time: float, on_click: Callable[[str], None], visible: bool) -> None:
        """Adds frustums of the data's cameras; their pictures at `time` are loaded later."""
        for handle, _ in self.frustums.values():
            handle.remove()
        self.frustums, self._pictures = {}, {}
        if not visible:
            return
        by_id = {f.camera_id: f for f in reversed(source.frames)}
        ids = list(by_id)[::-1]
        selection = np.linspace(0, len(ids) - 1, min(len(ids), MAX_FRUSTUMS)).round().astype(int)
        for camera_id in (ids[i] for i in selection):
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
        """Changes the pictures of frustums whose camera has another picture at `time`."""
        for camera_id, (handle, before) in list(self.frustums.items()):
            frame = self._frame(source, camera_id, time)
            if frame is not None and frame.image_path != before.image_path:
                self.frustums[camera_id] = (handle, frame)
                self._pictures[camera_id] = frame

    def load_picture(self) -> bool:
        """Loads one picture onto its frustum. Returns whether there was one to load.

        Raises:
            UserError: it cannot be read, raised once for each file; the frustum stays empty.
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
        """Hides the frustum that the view is locked to: it would cover the view."""
        for camera_id, (handle, _) in self.frustums.items():
            if handle.visible == (camera_id == camera_lock):
                handle.visible = camera_id != camera_lock

    @staticmethod
    def _frame(source: ViewerSource, camera_id: str, time: float) -> Frame | None:
        return frame_at([f for f in source.frames if f.camera_id == camera_id], time, source.frames)

    # --- paths

    def set_path(self, source: ViewerSource, visible: bool) -> None:
        """Shows the true trajectories of the bodies, where they are known."""
        self._remove("path")
        if visible and source.truth is not None and len(source.truth.times) > 1:
            positions = source.truth.positions.transpose(1, 0, 2)
            segments = np.stack([positions[:, :-1], positions[:, 1:]], axis=2).reshape(-1, 2, 3)
            self._dots["path"] = self.scene.add_line_segments(
                f"{ROOT}/path", segments.astype(np.float32), INK, thickness=2.0, thickness_units="screen"
            )

    def set_ensemble(self, source: ViewerSource, visible: bool) -> bool:
        """Shows the trajectories of the ensemble from the end of the observed window. Returns whether there are
        several."""
        self._remove("ensemble")
        self._remove("now")
        self._ensemble = None
        line = source.timeline
        times = np.linspace(min(line.observed_until, line.end), line.end, ENSEMBLE_TIMES)
        ensemble = source.ensemble(times.tolist()) if visible else None
        if ensemble is None or len(ensemble) < 2:
            return False
        self._ensemble, self._times = ensemble, times
        paths = ensemble.permute(0, 2, 1, 3).flatten(0, 1).numpy()
        segments = np.stack([paths[:, :-1], paths[:, 1:]], axis=2).reshape(-1, 2, 3)
        self._dots["ensemble"] = self.scene.add_line_segments(
            f"{ROOT}/ensemble", segments.astype(np.float32), FORECAST, thickness=2.0, thickness_units="screen"
        )
        return True

    def update_ensemble(self, source: ViewerSource, time: float) -> None:
        """Shows dots at the ensemble's positions at `time`."""
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
        """Shows a handle at each body's initial position. `on_move` is called with the body, the position, and whether
        the handle is still held."""
        for body in self.handles.keys() - positions.keys():
            self.handles.pop(body).remove()
        for body, position in positions.items():
            if body in self.handles:
                self.handles[body].position = position
                continue
            axes = {k.axis for k in source.state_controls if k.body == body and not k.velocity}
            handle = self.scene.add_transform_controls(
                f"{ROOT}/initial-{body}",
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
        """Sends Gaussians for the browser to splat, or removes them."""
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
    """The frame's picture, made small after it is read, so that only one size is cached."""
    import cv2

    picture = to_bytes(frame.image())
    height = min(THUMBNAIL_HEIGHT, picture.shape[0])
    width = max(round(picture.shape[1] * height / picture.shape[0]), 1)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))


def initial_positions(
    source: ViewerSource, values: Sequence[float], predicted: np.ndarray | None
) -> dict[int, np.ndarray]:
    """The initial position of each body with state controls: `predicted` `[K, 3]` where the forecast has it, else the
    controls' values, and the middle of the bounds along other axes."""
    positions: dict[int, np.ndarray] = {}
    for control, value in zip(source.state_controls, values):
        if predicted is not None and control.body < len(predicted):
            positions[control.body] = np.array(predicted[control.body], dtype=float)
        elif not control.velocity:
            positions.setdefault(control.body, source.bounds.double().mean(0).numpy())[control.axis] = value
    return positions
