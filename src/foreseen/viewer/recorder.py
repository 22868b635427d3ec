"""Recording of camera paths: view by view, or continuously."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from foreseen.errors import UserError
from foreseen.export.camera_path import MAX_SECONDS, MAX_VIEWS, CameraKeyframe, CameraPath, encode_path
from foreseen.viewer.cameras import ViewerCamera

RECORD_INTERVAL = 1 / 20
"""Seconds between the views of a recording."""
JUMP_SECONDS = 1e-6
"""Duration [s] of a jump to an earlier time in a recording: no frame of a clip falls inside."""
FULL_MESSAGE = (
    f"A path lasts at most {MAX_SECONDS:g} s and has at most {MAX_VIEWS:,} views: save it, and start another one."
)


class PathRecorder:
    """Views with their times. `between`: time [s] from one added view to the next."""

    def __init__(self) -> None:
        self.between = 2.0
        self.views: list[CameraKeyframe] = []
        self._since: float | None = None
        self._aspect = 1.0

    @property
    def recording(self) -> bool:
        """Views are recorded continuously."""
        return self._since is not None

    @property
    def seconds(self) -> float:
        """Duration of the clip."""
        return self.views[-1].at if self.views else 0.0

    def add(self, view: ViewerCamera, time: float, aspect: float) -> None:
        """Appends a view. Raises `UserError` where the path is full."""
        at = self.seconds + self.between if self.views else 0.0
        if self._is_full(at):
            raise UserError(FULL_MESSAGE)
        self._add(at, view, time, aspect)

    def toggle(self, now: float) -> None:
        """Starts recording at the end of the path, or stops; `now` in seconds of any clock."""
        start = self.seconds + (RECORD_INTERVAL if self.views else 0.0)
        self._since = None if self.recording else now - start

    def tick(self, now: float, view: ViewerCamera, time: float, aspect: float) -> bool:
        """Records the current view, if it is time to. Returns whether it was recorded."""
        if self._since is None:
            return False
        at = now - self._since
        if self.views and at < self.seconds + RECORD_INTERVAL - 1e-9:
            return False
        if self._is_full(at):
            self._since = None
            return False
        if self.views and time < self.views[-1].time:
            self._add(at - JUMP_SECONDS, view, self.views[-1].time, aspect)
        self._add(at, view, time, aspect)
        return True

    def clear(self) -> None:
        """Removes all views."""
        self.views, self._since = [], None

    def encode(self) -> bytes:
        """The content of a file. Raises `UserError` where nothing was recorded."""
        if not self.views:
            raise UserError("the path has no views yet: add one, or record.")
        return encode_path(CameraPath(tuple(self.views), self._aspect))

    def _is_full(self, at: float) -> bool:
        return at > MAX_SECONDS or len(self.views) + 1 >= MAX_VIEWS  # a jump needs two

    def _add(self, at: float, view: ViewerCamera, time: float, aspect: float) -> None:
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_quat(view.wxyz, scalar_first=True).as_matrix()
        pose[:3, 3] = view.position
        self.views.append(CameraKeyframe(at, time, float(np.degrees(view.fov)), pose))
        self._aspect = aspect
