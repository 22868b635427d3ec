"""What somebody takes along from the browser: pictures, and camera paths with their times."""

from __future__ import annotations

import io
import threading
import time as clock
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from foreseen.viewer.panel import describe_path
from foreseen.viewer.recorder import FULL_MESSAGE, PathRecorder
from foreseen.viewer.resolution import Size
from foreseen.viewer.view_renderer import RenderRequest

if TYPE_CHECKING:
    from foreseen.viewer.session import BrowserSession

BROWSER_TIMEOUT = 60.0
"""Seconds that a browser may take to draw a picture."""


class Capture:
    """Pictures and paths of one session. All go to the browser as files: nothing is written on the server's side."""

    def __init__(self, session: BrowserSession) -> None:
        self.session = session
        self.recorder = PathRecorder()
        self._taken: list[tuple[str, Iterator[np.ndarray | None]]] = []

    def tick(self, now: float, request: RenderRequest) -> None:
        """What is looked at now, for a recording."""
        recording = self.recorder.recording
        if self.recorder.tick(now, request.view, request.time, request.window[0] / request.window[1]):
            self._update_path()
        elif recording and not self.recorder.recording:
            self.session.panel.record.label = "Record"
            self.session.show_message("The recording has ended", FULL_MESSAGE)

    def take_picture(self) -> None:
        """The picture in its finest form goes to the browser, as a file, once it is there."""
        request = self.session.request()
        if request is None:
            return
        name, size = f"foreseen-t{request.time:.3f}.png", self.session.resolution.finest(request.window)
        if self.session.in_browser:
            # The browser answers when it has drawn: waiting for it here would keep all others waiting.
            threading.Thread(target=self._fetch_picture, args=(name, request, size), daemon=True).start()
            return
        self._taken.append((name, self.session.painter.render(request, size, preview=False)))

    def continue_picture(self) -> bool:
        """Paints a piece of a picture that is taken. Returns whether there was one."""
        if not self._taken:
            return False
        name, work = self._taken.pop()
        picture = next(work)  # what goes wrong is not tried again
        if picture is None:
            self._taken.append((name, work))
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
        except (RuntimeError, TimeoutError):  # it has left, could not draw, or is too busy
            self.session.submit(
                lambda: self.session.show_message("No picture", "The browser did not draw it: try again.")
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
        """From one added view to the next."""
        self.recorder.between = float(seconds)

    def toggle_recording(self) -> None:
        """Records as one looks around and plays, or ends that."""
        self.recorder.toggle(clock.monotonic())
        self.session.panel.record.label = "Stop recording" if self.recorder.recording else "Record"

    def clear_path(self) -> None:
        """Forgets the path."""
        self.recorder.clear()
        self.session.panel.record.label = "Record"
        self._update_path()

    def save_path(self) -> None:
        """Sends the path to the browser, as a file. Raises `UserError` where it has no views."""
        self.session.client.send_file_download("camera-path.json", self.recorder.encode(), save_immediately=True)

    def _update_path(self) -> None:
        self.session.panel.path.content = describe_path(len(self.recorder.views), self.recorder.seconds)
