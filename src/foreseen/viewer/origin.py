"""Which web pages may connect: the viewer's own, and none from elsewhere that is open in the same browser."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit


def is_own_origin(origin: str | None, requested: str | None, listening: str) -> bool:
    """Whether it is the viewer's own page that connects, or no page at all.

    Args:
        origin: the header `Origin`, where the page is from; None: no browser asks.
        asked: the header `Host`, the address that was connected to.
        listening: the host that is listened on.
    """
    if origin is None:
        return True
    try:
        page = urlsplit(origin)
        name = page.hostname or ""
    except ValueError:
        return False
    if page.netloc.lower() != (requested or "").lower():
        return False
    # Somebody else's name can be made to lead here (DNS rebinding); then both headers are that name.
    return _is_address(name) or name in ("localhost", listening.lower(), socket.gethostname().lower())


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
