"""Pictures and camera paths that are saved from the browser."""

from __future__ import annotations

import io
import threading
import time as clock
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import viser
from PIL import Image

from foreseen.viewer.controls import ControlPanel
from foreseen.viewer.panel_text import describe_path
from foreseen.viewer.recorder import FULL_MESSAGE, PathRecorder
from foreseen.viewer.resolution import AdaptiveResolution, Size
from foreseen.viewer.view_renderer import RenderRequest, ViewRenderer

BROWSER_TIMEOUT = 60.0
"""Seconds to wait for a picture that the browser draws."""


class CaptureSession(Protocol):
    """What capturing needs of its session."""

    client: viser.ClientHandle
    panel: ControlPanel
    resolution: AdaptiveResolution
    renderer: ViewRenderer
    in_browser: bool
    disconnected: bool

    def request(self) -> RenderRequest | None: ...
    def submit(self, act: Callable[[], None]) -> None: ...
    def show_message(self, title: str, text: str) -> None: ...


class Capture:
    """Pictures and paths of one session. All are sent to the browser as files; the server writes nothing."""

    def __init__(self, session: CaptureSession) -> None:
        self.session = session
        self.recorder = PathRecorder()
        self._pending: list[tuple[str, Iterator[np.ndarray | None]]] = []

    def tick(self, now: float, request: RenderRequest) -> None:
        """Adds the current view to a running recording."""
        recording = self.recorder.recording
        if self.recorder.tick(now, request.view, request.time, request.window[0] / request.window[1]):
            self._update_path()
        elif recording and not self.recorder.recording:
            self.session.panel.record.label = "Record"
            self.session.show_message("The recording has ended", FULL_MESSAGE)

    def take_picture(self) -> None:
        """Sends the picture at full resolution to the browser, as a file, when it is rendered."""
        request = self.session.request()
        if request is None:
            return
        name, size = f"foreseen-t{request.time:.3f}.png", self.session.resolution.finest(request.window)
        if self.session.in_browser:
            # The browser answers after drawing: waiting for it here would block all other sessions.
            threading.Thread(target=self._fetch_picture, args=(name, request, size), daemon=True).start()
            return
        self._pending.append((name, self.session.renderer.render(request, size, preview=False)))

    def continue_picture(self) -> bool:
        """Renders a piece of a picture that was asked for. Returns whether there was one."""
        if not self._pending:
            return False
        name, work = self._pending.pop()
        picture = next(work)  # a picture that fails is not tried again
        if picture is None:
            self._pending.append((name, work))
        else:
            self._send_picture(name, picture)
        return True

    def _fetch_picture(self, name: str, request: RenderRequest, size: Size) -> None:
        view = request.view
        try:
            drawn = self.session.client.get_render(
                size[1],
                size[0],
                wxyz=np.array(view.wxyz),
                position=np.array(view.position),
                fov=view.fov,
                transport_format="png",
                timeout=BROWSER_TIMEOUT,
            )
        except (RuntimeError, TimeoutError):  # it has disconnected, could not draw, or is too busy
            self.session.submit(
                lambda: self.session.show_message("No picture", "The browser did not draw it. Try again.")
            )
            return
        self._send_picture(name, drawn[..., :3])

    def _send_picture(self, name: str, picture: np.ndarray) -> None:
        if self.session.disconnected:
            return
        content = io.BytesIO()
        Image.fromarray(picture).save(content, "PNG")
        self.session.client.send_file_download(name, content.getvalue(), save_immediately=True)

    def add_view(self) -> None:
        """Adds the view and its time to the path. Raises `UserError` where it is full."""
        request = self.session.request()
        if request is not None:
            self.recorder.add(request.view, request.time, request.window[0] / request.window[1])
            self._update_path()

    def set_seconds_between(self, seconds: float) -> None:
        """Sets the time from one added view to the next."""
        self.recorder.between = float(seconds)

    def toggle_recording(self) -> None:
        """Starts or stops recording the views."""
        self.recorder.toggle(clock.monotonic())
        self.session.panel.record.label = "Stop recording" if self.recorder.recording else "Record"

    def clear_path(self) -> None:
        """Removes all views of the path."""
        self.recorder.clear()
        self.session.panel.record.label = "Record"
        self._update_path()

    def save_path(self) -> None:
        """Sends the path to the browser, as a file. Raises `UserError` where it has no views."""
        self.session.client.send_file_download("camera-path.json", self.recorder.encode(), save_immediately=True)

    def _update_path(self) -> None:
        self.session.panel.path.content = describe_path(len(self.recorder.views), self.recorder.seconds)
