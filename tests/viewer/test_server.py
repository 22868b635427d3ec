"""Browsers come and go, and where they may come from."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from foreseen.errors import UserError
from foreseen.export.compose import Timeline
from foreseen.viewer.origin import is_own_origin

pytest.importorskip("viser", reason="viser comes with the extra [view]")

from foreseen.viewer.server import Viewer, free_port
from foreseen.viewer.source import ViewerSource
from visitor import Visitor, serving, wait


class Nothing(ViewerSource):
    """Nothing to see."""

    def __init__(self) -> None:
        self.name, self.bounds = "nothing", torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
        self._set_timeline(Timeline(0.0, 2.0, 1.0, "s"))

    def scene(self, time: float) -> None:
        del time


def arrived(viewer: Viewer, visitor: Visitor) -> None:
    visitor.render_view()
    wait(lambda: viewer._new_clients)


def disconnected(viewer: Viewer) -> None:
    wait(lambda: not viewer._server.get_clients())


@pytest.mark.filterwarnings("ignore:Queued a")  # for somebody who has left
def test_who_leaves_while_the_session_begins_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Nothing()) as viewer:
        visitor = Visitor(viewer.address)
        arrived(viewer, visitor)
        begin = viewer._begin

        def slowly(client: object) -> bool:
            visitor.leave()
            disconnected(viewer)
            return begin(client)  # type: ignore[arg-type]

        monkeypatch.setattr(viewer, "_begin", slowly)
        assert viewer._members() == [] and viewer.sessions == []


def test_for_who_has_left_no_session_begins() -> None:
    with serving(Nothing()) as viewer:
        visitor = Visitor(viewer.address)
        arrived(viewer, visitor)
        visitor.leave()
        disconnected(viewer)
        viewer._first, viewer._make = None, lambda: pytest.fail("made for nobody")  # type: ignore[method-assign]
        assert viewer._members() == [] and not viewer._new_clients


def test_what_goes_wrong_for_a_new_browser_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Nothing()) as viewer:
        viewer._first, viewer._make = None, lambda: 1 / 0  # type: ignore[assignment, method-assign]
        visitor = Visitor(viewer.address)
        arrived(viewer, visitor)
        assert viewer._members() == []
        assert "the viewer: ZeroDivisionError: division by zero" in capsys.readouterr().err
        viewer._make = lambda: [Nothing()]  # type: ignore[method-assign]
        other = Visitor(viewer.address)
        arrived(viewer, other)
        assert len(viewer._members()) == 1
        visitor.leave()
        other.leave()


def test_a_warning_is_printed_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Nothing()) as viewer:
        visitor = Visitor(viewer.address)
        arrived(viewer, visitor)
        (key,) = viewer._members()
        monkeypatch.setattr(viewer.sessions[0], "step", lambda: 1 / 0)
        assert not any(viewer._step(key) for _ in range(5))
        assert capsys.readouterr().err.count("division by zero") == 1
        visitor.leave()


@pytest.mark.parametrize(
    ("origin", "requested", "listening", "own"),
    [
        (None, "localhost:8080", "127.0.0.1", True),  # no browser
        ("http://localhost:8080", "localhost:8080", "127.0.0.1", True),
        ("http://LocalHost:8080", "localhost:8080", "127.0.0.1", True),
        ("http://127.0.0.1:9000", "127.0.0.1:9000", "127.0.0.1", True),  # a tunnel's other port
        ("http://[::1]:8080", "[::1]:8080", "::1", True),
        ("http://192.168.0.7:8080", "192.168.0.7:8080", "0.0.0.0", True),
        ("http://lab.example:8080", "lab.example:8080", "lab.example", True),
        (f"http://{socket.gethostname()}:8080", f"{socket.gethostname()}:8080", "0.0.0.0", True),
        ("http://evil.example", "127.0.0.1:8080", "127.0.0.1", False),
        ("http://localhost:3000", "localhost:8080", "127.0.0.1", False),  # another page of this machine
        ("http://evil.example:8080", "evil.example:8080", "127.0.0.1", False),  # a name that leads here
        ("http://evil.example:8080", "evil.example:8080", "0.0.0.0", False),
        ("null", "127.0.0.1:8080", "127.0.0.1", False),
        ("http://[", "127.0.0.1:8080", "127.0.0.1", False),
        ("http://127.0.0.1:8080", None, "127.0.0.1", False),
    ],
)
def test_pages_from_elsewhere_are_told_apart(
    origin: str | None, requested: str | None, listening: str, own: bool
) -> None:
    assert is_own_origin(origin, requested, listening) == own


def test_a_page_from_elsewhere_is_sent_away(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Nothing()) as viewer:
        for _ in range(2):
            other = Visitor(viewer.address, "http://evil.example")
            other.render_view()
            disconnected(viewer)
            wait(lambda: not viewer._server._websock_server._live_connections)
            other.leave()
        assert viewer._members() == [] and not viewer._new_clients
        assert capsys.readouterr().err.count("a page of http://evil.example was refused") == 1
        own = Visitor(viewer.address, viewer.address)
        arrived(viewer, own)
        assert len(viewer._members()) == 1
        own.leave()


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield


def test_ports_in_use() -> None:
    with taken(65534):
        assert free_port("127.0.0.1", 65534) == 65535
        with taken(65535), pytest.raises(UserError, match=r"--port 65534: it is in use, and so are those after it"):
            Viewer(lambda: [Nothing()], "test", "127.0.0.1", 65534)
    assert free_port("127.0.0.1", 0) == 0
    with pytest.raises(UserError, match=r"--host 203\.0\.113\.7: cannot listen there"):
        free_port("203.0.113.7", 8080)


def test_an_address_of_colons_stands_in_brackets() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    viewer = Viewer(lambda: [Nothing()], "test", "::1", 18600)
    assert viewer.address.startswith("http://[::1]:186")
    viewer.run(lambda: True)
