"""Looking through one of the data set's cameras, until the view is moved."""

from __future__ import annotations

import time as clock
from typing import Protocol

import numpy as np
import viser

from foreseen.data.types import Frame
from foreseen.viewer.cameras import ViewerCamera, look_distance, view_of
from foreseen.viewer.controls import UNLOCKED_LABEL, ControlPanel, set_handle_value
from foreseen.viewer.player import Player
from foreseen.viewer.source import ViewerSource

CAMERA_MOVE_SECONDS = 1.0
"""Seconds that a browser may take to move its camera where the viewer told it."""


class LockSession(Protocol):
    """What a camera lock needs of its session."""

    client: viser.ClientHandle
    panel: ControlPanel
    player: Player

    @property
    def front(self) -> ViewerSource: ...
    def seek(self, time: float, slider: bool = False) -> None: ...


class CameraLock:
    """The camera that one session looks through, and the list that names it."""

    def __init__(self, session: LockSession) -> None:
        self.session = session
        self._locked: tuple[str, ViewerCamera, float] | None = None

    @property
    def free(self) -> bool:
        """The view is not locked to a camera."""
        return self._locked is None

    def current_camera(self, view: ViewerCamera) -> str | None:
        """The camera that the view is locked to; moving away unlocks it."""
        if self._locked is None:
            return None
        camera_id, camera_view, since = self._locked
        now = clock.monotonic()
        if view.near(camera_view, self.session.front.extent):
            self._locked = (camera_id, camera_view, now)
        elif now - since > CAMERA_MOVE_SECONDS:
            self.unlock()
            return None
        return camera_id

    def unlock(self) -> None:
        """Frees the view."""
        self._locked = None
        self.refresh()

    def refresh(self) -> None:
        """Lists the current cameras. Frees the view where its camera is no longer among them."""
        ids = self.session.panel.list_cameras(self.session.front)
        if self._locked is not None and self._locked[0] not in ids:
            self._locked = None
        set_handle_value(self.session.panel.camera_lock, UNLOCKED_LABEL if self._locked is None else self._locked[0])

    def lock_to(self, camera_id: str) -> None:
        """Looks through one of the cameras. A camera that captured at one time only also sets the time."""
        session = self.session
        frames = session.front.frames
        camera_frames = [f for f in frames if f.camera_id == camera_id]
        if not camera_frames:
            self._locked = None
            return
        frame = min(camera_frames, key=lambda f: abs(f.time - session.player.time))
        if len(camera_frames) == 1 and len({f.time for f in frames}) > 1:
            session.seek(frame.time, slider=True)
        self._go_to(frame)
        set_handle_value(session.panel.camera_lock, camera_id)

    def _go_to(self, frame: Frame) -> None:
        view, camera = view_of(frame.camera), self.session.client.camera
        forward = frame.camera.camera_to_world[:3, 2].double().numpy()
        position = np.array(view.position)
        distance = look_distance(frame.camera, self.session.front.target)
        with self.session.client.atomic():
            camera.position = position
            camera.up_direction = -frame.camera.camera_to_world[:3, 1].double().numpy()
            camera.look_at = position + distance * forward
            camera.fov = view.fov
        self._locked = (frame.camera_id, view, clock.monotonic())
