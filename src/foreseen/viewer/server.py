"""The server: browsers come and go, one thread renders for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial

import viser

from foreseen.errors import UserError
from foreseen.render import as_gaussians
from foreseen.viewer.cameras import look_distance, view_of
from foreseen.viewer.origin import is_own_origin
from foreseen.viewer.session import NOTICE_SECONDS, BrowserSession
from foreseen.viewer.source import ViewerSource

BUSY_SECONDS, IDLE_SECONDS = 0.002, 0.1
"""Seconds between two checks for work, while there is some and while there is none."""
MAX_PORTS = 1000
"""Number of ports that are tried."""


class Viewer:
    """Serves browsers until it is stopped.

    Args:
        make: returns the sources for a new browser; each browser has its own, as it has its own time and sequence.
        title: of the page.
        host, port: where to listen; where the port is taken, the next free one.

    Raises:
        UserError: that address cannot be listened on, or all ports are taken.
    """

    def __init__(self, make: Callable[[], Sequence[ViewerSource]], title: str, host: str, port: int) -> None:
        self._make = make
        self._first: Sequence[ViewerSource] | None = make()  # errors are raised before anybody connects
        self._wake = threading.Event()
        self._new_clients: dict[int, viser.ClientHandle] = {}
        self._sessions: dict[int, BrowserSession] = {}
        self._refused: set[str | None] = set()
        self._lock = threading.Lock()
        self._server = _listen(host, port, title)
        self._set_first_view(self._first[0])
        self._server.on_client_connect(self._connected)
        self._server.on_client_disconnect(self._disconnected)

    @property
    def address(self) -> str:
        """Address of the page, with the actual port."""
        host = self._server.get_host()
        name = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        return f"http://{name}:{self._server.get_port()}"

    @property
    def sessions(self) -> list[BrowserSession]:
        """Sessions of the connected browsers."""
        return list(self._sessions.values())

    def run(self, stop: Callable[[], object]) -> None:
        """Serves until `stop` returns something true, then closes the address."""
        try:
            self._warm_up()
            while not stop():
                self._wake.clear()
                busy = [self._step(key) for key in self._members()]
                self._wake.wait(BUSY_SECONDS if any(busy) else IDLE_SECONDS)
        finally:
            with contextlib.redirect_stdout(io.StringIO()):  # viser prints a line
                self._server.stop()

    def _warm_up(self) -> None:
        """Renders a small picture, so that kernels are compiled while the browser opens."""
        first = self._first[0] if self._first else None
        if first is not None and first.renders and as_gaussians(first.scene(first.timeline.start)) is None:
            with contextlib.suppress(UserError):
                first.render_view(first.reference.resize(16, 12), first.timeline.start)

    def _members(self) -> list[int]:
        """Ids of the connected browsers; begins the sessions of new ones."""
        with self._lock:
            new, self._new_clients = self._new_clients, {}
        for key, client in new.items():
            if key in self._server.get_clients():
                self._catch_errors(client, partial(self._begin, client))
        connected = self._server.get_clients()  # some may have left while a session began
        self._sessions = {key: session for key, session in self._sessions.items() if key in connected}
        return list(self._sessions)

    def _begin(self, client: viser.ClientHandle) -> bool:
        source, self._first = self._first or self._make(), None
        self._sessions[client.client_id] = BrowserSession(client, source, self._wake.set)
        return True

    def _step(self, key: int) -> bool:
        session = self._sessions[key]
        return self._catch_errors(session.client, session.step)

    def _catch_errors(self, client: viser.ClientHandle, act: Callable[[], bool]) -> bool:
        """Errors of one browser are shown there, and do not disturb others. Those of a browser that has left are
        ignored."""
        try:
            return act()
        except Exception as error:
            if client.client_id not in self._server.get_clients():
                return False
            text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            session = self._sessions.get(client.client_id)
            if session is None or session.is_new_warning(text):
                print(f"foreseen: warning: the viewer: {text}", file=sys.stderr, flush=True)
                client.add_notification("Something went wrong", text, auto_close_seconds=NOTICE_SECONDS)
            return False

    def _connected(self, client: viser.ClientHandle) -> None:
        if not self._admits(client):
            return
        with self._lock:
            self._new_clients[client.client_id] = client
        self._wake.set()

    def _admits(self, client: viser.ClientHandle) -> bool:
        """Whether the client is the viewer's own page; any other page is refused."""
        connection = self._server._websock_server._live_connections.get(client.client_id)
        if connection is None or connection.request is None:
            return False
        headers = connection.request.headers
        origin = headers.get("Origin")
        if is_own_origin(origin, headers.get("Host"), self._server.get_host()):
            return True
        asyncio.run_coroutine_threadsafe(connection.close(1008, "a page of another origin"), connection.loop)
        if origin not in self._refused:
            fix = "if it is the viewer's own, open it by its IP address, or give the name as --host"
            print(f"foreseen: warning: a page of {origin} was refused: {fix}.", file=sys.stderr, flush=True)
        self._refused.add(origin)
        return False

    def _disconnected(self, client: viser.ClientHandle) -> None:
        session = self._sessions.get(client.client_id)
        if session is not None:
            session.disconnected = True
        self._wake.set()

    def _set_first_view(self, first: ViewerSource) -> None:
        """Sets the first view of new browsers."""
        server, start = self._server, first.initial_camera
        view, forward = view_of(start), start.camera_to_world[:3, 2].double().numpy()
        server.scene.set_up_direction(tuple(float(x) for x in first.up))  # type: ignore[arg-type]
        server.initial_camera.position = view.position  # type: ignore[assignment]
        server.initial_camera.look_at = tuple(  # type: ignore[assignment]
            float(p + look_distance(start, first.target) * f) for p, f in zip(view.position, forward)
        )
        server.initial_camera.fov = view.fov
        server.initial_camera.near = 1e-3 * first.extent
        server.initial_camera.far = 1e2 * first.extent


def free_port(host: str, port: int) -> int:
    """The first free port from `port` on. Raises `UserError` where there is none, or no such host: viser would wait for
    ever."""
    for attempt in range(port, min(port + MAX_PORTS, 65536)):
        try:
            family = socket.getaddrinfo(host, attempt, type=socket.SOCK_STREAM)[0][0]
            socket.create_server((host, attempt), family=family).close()
            return attempt
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                reason = error.strerror
                raise UserError(f"--host {host}: cannot listen there ({reason}): give another one.") from None
    raise UserError(f"--port {port}: it is in use, and so are those after it: give another one.")


def _listen(host: str, port: int, title: str) -> viser.ViserServer:
    port = free_port(host, port)
    with contextlib.redirect_stdout(io.StringIO()):  # viser's banner: we print the actual address once
        server = viser.ViserServer(host=host, port=port, label=title, verbose=False)
    # A page must never be able to open a tunnel to the internet.
    server.request_share_url = _no_tunnel  # type: ignore[method-assign]
    server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False, control_width="medium")
    server.gui.main_panel.dock_right()
    server.scene.world_axes.visible = False
    # No object of the viewer is lit: shadows would only cost time.
    server.scene.configure_default_lights(enabled=False, cast_shadow=False)
    server.scene.configure_environment_map(None)
    return server


def _no_tunnel(verbose: bool = True) -> None:
    del verbose
