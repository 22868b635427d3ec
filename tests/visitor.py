"""A browser's side of the viewer's connection, without a browser."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
import viser
from viser._messages import GuiUpdateMessage, Message, ViewerCameraMessage
from websockets.sync.client import connect

from foreseen.viewer.server import Viewer
from foreseen.viewer.session import BrowserSession
from foreseen.viewer.source import ViewerSource

PATIENCE = 300.0


class Visitor:
    """Connects and says what a page says; `render_view` is the first thing that a page does."""

    def __init__(self, address: str, origin: str | None = None) -> None:
        self._open = ExitStack()
        self.socket = self._open.enter_context(
            connect(
                address.replace("http", "ws", 1),
                subprotocols=[f"viser-v{viser.__version__}"],  # type: ignore[list-item]
                origin=origin,  # type: ignore[arg-type]
                max_size=None,
                max_queue=None,
                open_timeout=PATIENCE,
                ping_interval=None,
            )
        )

    def render_view(self, **change: Any) -> None:
        """Says where it looks from."""
        place = {"wxyz": (1.0, 0.0, 0.0, 0.0), "position": (0.0, 0.0, -2.0), "fov": 0.8, "near": 0.01, "far": 100.0}
        window = {"image_height": 48, "image_width": 64, "look_at": (0.0, 0.0, 0.0), "up_direction": (0.0, -1.0, 0.0)}
        self._say(ViewerCameraMessage(**{**place, **window, **change}))  # type: ignore[arg-type]

    def set(self, handle: Any, value: Any) -> None:
        """Sets a control."""
        self._say(GuiUpdateMessage(handle._impl.uuid, {"value": value}))

    def leave(self) -> None:
        """Closes the page."""
        self._open.close()

    def _say(self, message: Message) -> None:
        fields = {"type": type(message).__name__, **dataclasses.asdict(message)}
        self.socket.send(msgspec.msgpack.encode(fields))


def wait(good: Any) -> None:
    """Until it is so."""
    end = time.monotonic() + PATIENCE
    while not good():
        assert time.monotonic() < end
        time.sleep(0.005)


@contextmanager
def serving(*shown: ViewerSource) -> Iterator[Viewer]:
    """A viewer that does what the test has it do, and nothing of its own accord."""
    viewer = Viewer(lambda: list(shown), "test", "127.0.0.1", 18500)
    try:
        yield viewer
    finally:
        viewer.run(lambda: True)


@contextmanager
def visited(*shown: ViewerSource) -> Iterator[tuple[BrowserSession, Visitor]]:
    """One visitor's session."""
    with serving(*shown) as viewer:
        visitor = Visitor(viewer.address)
        visitor.render_view()
        wait(lambda: viewer._members())
        (session,) = viewer.sessions
        yield session, visitor
        visitor.leave()
