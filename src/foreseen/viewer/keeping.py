"""What somebody takes along from the browser: pictures, and camera paths with their times."""

from __future__ import annotations

import io
import threading
import time as clock
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from foreseen.viewer.painting import Wanted
from foreseen.viewer.panel import path_words
from foreseen.viewer.recorder import FULL, Recorder
from foreseen.viewer.resolution import Size

if TYPE_CHECKING:
    from foreseen.viewer.session import Session

ANSWER = 60.0
"""Seconds that a browser may take to draw a picture."""


class Keeping:
    """Pictures and paths of one session. All go to the browser as files: nothing is written on the server's side."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.recorder = Recorder()
        self._taken: list[tuple[str, Iterator[np.ndarray | None]]] = []

    def tick(self, now: float, want: Wanted) -> None:
        """What is looked at now, for a recording."""
        recording = self.recorder.recording
        if self.recorder.tick(now, want.view, want.time, want.window[0] / want.window[1]):
            self._tell_path()
        elif recording and not self.recorder.recording:
            self.session.panel.record.label = "Record"
            self.session.say("The recording has ended", FULL)

    def take_picture(self) -> None:
        """The picture in its finest form goes to the browser, as a file, once it is there."""
        want = self.session.wanted()
        if want is None:
            return
        name, size = f"foreseen-t{want.time:.3f}.png", self.session.resolution.finest(want.window)
        if self.session.in_browser:
            # The browser answers when it has drawn: waiting for it here would keep all others waiting.
            threading.Thread(target=self._fetch_picture, args=(name, want, size), daemon=True).start()
            return
        self._taken.append((name, self.session.painter.paint(want, size, steadily=False)))

    def paint_on(self) -> bool:
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

    def _fetch_picture(self, name: str, want: Wanted, size: Size) -> None:
        view = want.view
        try:
            drawn = self.session.client.get_render(
                size[1],
                size[0],
                wxyz=np.array(view.wxyz),
                position=np.array(view.position),
                fov=view.fov,
                transport_format="png",
                timeout=ANSWER,
            )
        except (RuntimeError, TimeoutError):  # it has left, could not draw, or is too busy
            self.session.tell(lambda: self.session.say("No picture", "The browser did not draw it: try again."))
            return
        self._send_picture(name, drawn[..., :3])

    def _send_picture(self, name: str, picture: np.ndarray) -> None:
        if self.session.gone:
            return
        content = io.BytesIO()
        Image.fromarray(picture).save(content, "PNG")
        self.session.client.send_file_download(name, content.getvalue(), save_immediately=True)

    def add_view(self) -> None:
        """Adds the view and its time to the path. Raises `UserError` where it is full."""
        want = self.session.wanted()
        if want is not None:
            self.recorder.add(want.view, want.time, want.window[0] / want.window[1])
            self._tell_path()

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
        self._tell_path()

    def save_path(self) -> None:
        """Sends the path to the browser, as a file. Raises `UserError` where it has no views."""
        self.session.client.send_file_download("camera-path.json", self.recorder.encode(), save_immediately=True)

    def _tell_path(self) -> None:
        self.session.panel.path.content = path_words(len(self.recorder.views), self.recorder.seconds)
