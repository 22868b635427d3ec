"""In which of the data's cameras one stands."""

from __future__ import annotations

import time as clock
from typing import TYPE_CHECKING

import numpy as np

from foreseen.data.types import Frame
from foreseen.viewer.cameras import ViewerCamera, look_distance, view_of
from foreseen.viewer.panel import UNLOCKED_LABEL, set_handle_value

if TYPE_CHECKING:
    from foreseen.viewer.session import BrowserSession

CAMERA_MOVE_SECONDS = 1.0
"""Seconds that a browser may take to where it was told to stand."""


class CameraLock:
    """The place of one session's user, and the list that names it."""

    def __init__(self, session: BrowserSession) -> None:
        self.session = session
        self._place: tuple[str, ViewerCamera, float] | None = None

    @property
    def free(self) -> bool:
        """One stands in no camera."""
        return self._place is None

    def current_camera(self, view: ViewerCamera) -> str | None:
        """The camera in whose place one stands, until one moves away."""
        if self._place is None:
            return None
        camera_id, position, since = self._place
        now = clock.monotonic()
        if view.near(position, self.session.front.extent):
            self._place = (camera_id, position, now)
        elif now - since > CAMERA_MOVE_SECONDS:
            self.unlock()
            return None
        return camera_id

    def unlock(self) -> None:
        """One stands in no camera from now on."""
        self._place = None
        self.refresh()

    def refresh(self) -> None:
        """Lists the cameras that there are by now. Where one's own is not among them, one stands in none."""
        ids = self.session.panel.list_cameras(self.session.front)
        if self._place is not None and self._place[0] not in ids:
            self._place = None
        set_handle_value(self.session.panel.camera_lock, UNLOCKED_LABEL if self._place is None else self._place[0])

    def lock_to(self, camera_id: str) -> None:
        """Looks through one of the cameras; those that filmed at one time only take one to that time."""
        session = self.session
        frames = session.front.frames
        own = [f for f in frames if f.camera_id == camera_id]
        if not own:
            self._place = None
            return
        frame = min(own, key=lambda f: abs(f.time - session.player.time))
        if len(own) == 1 and len({f.time for f in frames}) > 1:
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
        self._place = (frame.camera_id, view, clock.monotonic())
